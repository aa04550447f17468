/** The five states must be told apart by people who see colours otherwise, and their words must be readable. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { LOAD_STOPS, STATES } from '../../src/store/status';
import { LINES_MOST, lookOf } from '../../src/ui/chart';
import { inkOn } from '../../src/ui/flat/paint';

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

const css = readFileSync(new URL('../../src/app.css', import.meta.url), 'utf8');

/** What a token is in a theme. */
function token(name: string, theme: string): string {
  const [, said = ''] = new RegExp(`--${name}: (.+?);`).exec(css) ?? [];
  const [, light, dark] = /^light-dark\((.+), (.+)\)$/.exec(said) ?? [said, said, said];
  return (theme === 'light' ? light : dark) as string;
}

/** Critical and offline both call for somebody at once, so they may be alike; warning and critical come next. Their shapes differ most. */
const LEAST: Record<string, number> = { 'critical offline': 8, 'warning critical': 18 };
const pairs = STATES.flatMap((one, place) => STATES.slice(place + 1).map((other) => [one, other] as const));

const THEMES = ['dark', 'light'];
const seeing = THEMES.flatMap((theme) => Object.entries(SIGHT).map(([name, sight]) => ({ theme, name, sight })));

describe.each(seeing)('in the $theme theme with $name', ({ theme, sight }) => {
  const looks = (name: string): Rgb => lab(seen(linear(token(name, theme)), sight));

  test.each(pairs)('%s and %s are different colours', (one, other) => {
    expect(distance(looks(one), looks(other))).toBeGreaterThan(LEAST[`${one} ${other}`] ?? 28);
  });

  test('the lines of the history are different colours', () => {
    const lines = Array.from({ length: LINES_MOST / 2 }, (_, place) => looks(lookOf(place).colour));
    lines.forEach((one, place) => lines.slice(place + 1).forEach((other) => expect(distance(one, other)).toBeGreaterThan(18)));
  });

  test('the load of a link grows more striking in every step', () => {
    const steps = LOAD_STOPS.map((_, at) => looks(`load-${at}`));
    for (let at = 1; at < steps.length; at++) expect(distance(steps[at - 1] as Rgb, steps[at] as Rgb)).toBeGreaterThan(12);
  });
});

describe.each(THEMES)('the tokens of the %s theme', (theme) => {
  test.each(['ink', 'ink-soft', 'ink-faint', 'accent', 'ok-ink', 'warning-ink', 'critical-ink', 'stale', 'offline-ink', 'quiet-ink', 'past'])(
    'text in --%s is readable on every surface',
    (ink) => {
      for (const surface of ['floor', 'ground', 'panel', 'raised', 'raised-hover', 'chosen']) {
        expect(contrast(token(ink, theme), token(surface, theme)), surface).toBeGreaterThanOrEqual(4.5);
      }
    },
  );

  test.each([
    ['on-primary', 'primary'], ['on-primary', 'primary-hover'], ['alarm-ink', 'alarm'], ['alarm-ink', 'alarm-hover'], ['caution-ink', 'caution'],
    ['on-warning', 'warning'], ['on-critical', 'critical'], ['on-critical', 'offline'], ['on-critical', 'accent'],
  ])('text in --%s is readable on --%s', (ink, ground) => {
    expect(contrast(token(ink, theme), token(ground, theme))).toBeGreaterThanOrEqual(4.5);
  });

  test('the marks of every state and the lines of charts stand out from what is behind them', () => {
    for (const mark of [...STATES, 'quiet', ...Array.from({ length: LINES_MOST / 2 }, (_, place) => lookOf(place).colour)]) {
      for (const surface of ['floor', 'panel']) expect(contrast(token(mark, theme), token(surface, theme)), `${mark} on ${surface}`).toBeGreaterThanOrEqual(3);
    }
  });

  test('what is written on a cell of the flat plan is readable', () => {
    for (const colour of [...STATES, ...LOAD_STOPS.map((_, at) => `load-${at}`)]) {
      expect(contrast(inkOn(token(colour, theme)), token(colour, theme)), colour).toBeGreaterThanOrEqual(4.5);
    }
  });
});
