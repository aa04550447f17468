/** The scene's colours. Those that mean something come from `store/status.ts`, as the style sheet's do; the rest is stage. */

import { COLOURS, LOAD_RAMP, STATES } from '../store/status';

/** What is lit by nothing but the stage itself. */
export const STAGE = {
  sky: '#04060a',
  horizon: '#0b1521',
  floor: '#070c14',
  line: '#3b6a9c',
  body: '#121d2c',
  light: '#9cc8f2',
  ink: '#a9c4e2',
  accent: '#7fd0ff',
} as const;

export type Rgb = readonly [red: number, green: number, blue: number];

/** '#rrggbb' as three numbers from 0 to 1, in sRGB as on the screen: the shaders do not convert. */
export function rgb(hex: string): Rgb {
  const value = Number.parseInt(hex.slice(1), 16);
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
}

function vec3(hex: string): string {
  return `vec3(${rgb(hex).map((part) => part.toFixed(4)).join(', ')})`;
}

/** GLSL: `stateColour(float state)`, the colour of a place in STATES. */
function stateColourGlsl(): string {
  const lines = STATES.slice(0, -1).map((state, code) => `if (state < ${code}.5) return ${vec3(COLOURS[state])};`);
  return `vec3 stateColour(float state) { ${lines.join(' ')} return ${vec3(COLOURS.offline)}; }`;
}

/** GLSL: `loadColour(float at)`, the ramp of link load and of every metric that is shown as a colour. */
function loadColourGlsl(): string {
  const [first, ...rest] = LOAD_RAMP;
  let [below, colour] = first!;
  const lines = rest.map(([at, next]) => {
    const line = `if (at < ${at.toFixed(3)}) return mix(${vec3(colour)}, ${vec3(next)}, max(at - ${below.toFixed(3)}, 0.) / ${(at - below).toFixed(3)});`;
    [below, colour] = [at, next];
    return line;
  });
  return `vec3 loadColour(float at) { ${lines.join(' ')} return ${vec3(colour)}; }`;
}

function stageGlsl(): string {
  return Object.entries(STAGE).map(([name, hex]) => `const vec3 ${name.toUpperCase()} = ${vec3(hex)};`).join('\n');
}

export const PALETTE_GLSL = [stageGlsl(), stateColourGlsl(), loadColourGlsl()].join('\n');
