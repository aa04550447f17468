/** The scene's colours, all of them tokens of app.css, as a uniform: another theme writes other numbers into it. */

import { LOAD_STOPS, STATES } from '../store/status';

const STAGE = ['sky', 'horizon', 'floor', 'line', 'hair', 'body', 'gone', 'well', 'light', 'ink', 'figure'] as const;

/** The tokens, in the order of `uPalette` */
export const PALETTE = [...STAGE.map((name) => `stage-${name}`), 'accent', ...STATES, ...LOAD_STOPS.map((_, at) => `load-${at}`)];

export type Rgb = readonly [red: number, green: number, blue: number];

/** '#rrggbb' as three numbers from 0 to 1, in sRGB as on the screen: the shaders do not convert. */
export function rgb(hex: string): Rgb {
  const value = Number.parseInt(hex.slice(1), 16);
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}

/** 1: light surfaces, 0: dark ones. */
export function dayOf(floor: Rgb): 0 | 1 {
  return floor[1] > 0.5 ? 1 : 0;
}

const at = (token: string): string => `uPalette[${PALETTE.indexOf(token)}]`;

/** GLSL: `loadColour(float at)`, the ramp of link load and of every metric that is shown as a colour. */
function loadColourGlsl(): string {
  const lines = LOAD_STOPS.slice(1).map((stop, below) => {
    const from = LOAD_STOPS[below] as number;
    return `if (at < ${stop.toFixed(3)}) return mix(${at(`load-${below}`)}, ${at(`load-${below + 1}`)}, max(at - ${from.toFixed(3)}, 0.) / ${(stop - from).toFixed(3)});`;
  });
  return `vec3 loadColour(float at) { ${lines.join(' ')} return ${at(`load-${LOAD_STOPS.length - 1}`)}; }`;
}

/** `LIGHT` is added to what it falls on; on light surfaces it is shade, and taken away. `stateColour`: by the place in STATES. */
export const PALETTE_GLSL = [
  `uniform vec3 uPalette[${PALETTE.length}];`,
  'uniform float uDay;',
  ...STAGE.map((name) => `#define ${name.toUpperCase()} ${name === 'light' ? `(${at('stage-light')} * (1. - 2. * uDay))` : at(`stage-${name}`)}`),
  `#define ACCENT ${at('accent')}`,
  `vec3 stateColour(float state) { return uPalette[${PALETTE.indexOf('ok')} + int(state + .5)]; }`,
  loadColourGlsl(),
].join('\n');
