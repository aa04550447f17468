/** The five states must be told apart by people who see colours otherwise, and their words must be readable. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { COLOURS, LOAD_RAMP, STATES } from '../../src/store/status';
import { LINE_COLOURS } from '../../src/ui/chart';

type Rgb = [number, number, number];

/** Full dichromacy in linear light: Machado, Oliveira, Fernandes (2009), severity 1.0. */
const SIGHT: Record<string, Rgb[]> = {
  'usual sight': [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deuteranopia: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritanopia: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

function linear(hex: string): Rgb {
  return [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as Rgb;
}

function seen(rgb: Rgb, sight: Rgb[]): Rgb {
  return sight.map((row) => Math.min(1, Math.max(0, row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2]))) as Rgb;
}

/** CIE L*a*b*, D65. */
function lab([red, green, blue]: Rgb): Rgb {
  const bend = (t: number): number => (t > 216 / 24389 ? Math.cbrt(t) : (24389 / 27 * t + 16) / 116);
  const x = bend((0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047);
  const y = bend(0.2126729 * red + 0.7151522 * green + 0.072175 * blue);
  const z = bend((0.0193339 * red + 0.119192 * green + 0.9503041 * blue) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

function distance(one: Rgb, other: Rgb): number {
  return Math.hypot(one[0] - other[0], one[1] - other[1], one[2] - other[2]);
}

function contrast(one: string, other: string): number {
  const light = (hex: string): number => {
    const [red, green, blue] = linear(hex);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [high, low] = [light(one), light(other)].sort((a, b) => b - a) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

/** Critical and offline both call for somebody at once, so they may be alike; warning and critical come next. Their shapes differ most. */
const LEAST: Record<string, number> = { 'critical offline': 8, 'warning critical': 18 };
const pairs = STATES.flatMap((one, place) => STATES.slice(place + 1).map((other) => [one, other] as const));

describe.each(Object.entries(SIGHT))('with %s', (_name, sight) => {
  test.each(pairs)('%s and %s are different colours', (one, other) => {
    const apart = distance(lab(seen(linear(COLOURS[one]), sight)), lab(seen(linear(COLOURS[other]), sight)));
    expect(apart).toBeGreaterThan(LEAST[`${one} ${other}`] ?? 28);
  });

  test('the lines of the history are different colours', () => {
    const lines = LINE_COLOURS.map((colour) => lab(seen(linear(colour), sight)));
    lines.forEach((one, place) => lines.slice(place + 1).forEach((other) => expect(distance(one, other)).toBeGreaterThan(18)));
  });

  test('the load of a link grows more striking in every step', () => {
    const steps = LOAD_RAMP.map(([, colour]) => lab(seen(linear(colour), sight)));
    for (let at = 1; at < steps.length; at++) expect(distance(steps[at - 1] as Rgb, steps[at] as Rgb)).toBeGreaterThan(12);
  });
});

describe('the tokens', () => {
  const css = readFileSync(new URL('../../src/app.css', import.meta.url), 'utf8');
  const token = (name: string): string => new RegExp(`--${name}: (#[0-9a-f]{6});`).exec(css)?.[1] ?? '';

  test.each(STATES)('%s is the same hex in the style sheet and in the scene', (state) => {
    expect(token(state)).toBe(COLOURS[state]);
  });

  test.each(['ink', 'ink-soft', 'ink-faint', 'accent', 'ok', 'warning', 'critical-ink', 'stale', 'offline-ink', 'past'])(
    'text in --%s is readable on every surface',
    (ink) => {
      for (const surface of ['floor', 'ground', 'panel', 'raised', 'raised-hover']) {
        expect(contrast(token(ink), token(surface)), surface).toBeGreaterThanOrEqual(4.5);
      }
    },
  );

  test('the marks of every state stand out from the panel', () => {
    for (const state of STATES) expect(contrast(COLOURS[state], token('panel')), state).toBeGreaterThanOrEqual(3);
  });
});
