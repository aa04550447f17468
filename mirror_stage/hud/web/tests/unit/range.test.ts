/** Ranges of time: in the address, in steps, in and out. */

import { describe, expect, test } from 'vitest';
import { between, isoOf, moved, rangeOf, saidOf, scaled, SPANS, stepOf, stretchOf, type Span } from '../../src/store/range';

const NOON = Date.parse('2026-11-24T12:00:00Z') / 1000;

describe('the range in the address', () => {
  test.each([
    [{}, { span: '1h' }],
    [{ range: '7d' }, { span: '7d' }],
    [{ range: '3y' }, { span: '1h' }],
    [{ range: 'toString' }, { span: '1h' }],
    [{ from: '2026-11-24T11:00:00Z', to: '2026-11-24T12:00:00Z' }, { from: NOON - 3600, to: NOON }],
    [{ from: '2026-11-24T12:00:00Z', to: '2026-11-24T11:00:00Z' }, { span: '1h' }],
    [{ from: '1970-01-01T00:00:00Z', to: '2026-11-24T11:00:00Z', range: '6h' }, { span: '6h' }],
    [{ from: 'yesterday', to: 'today' }, { span: '1h' }],
  ])('%j is %j', (said, range) => expect(rangeOf(said as Record<string, string>, '1h')).toEqual(range));

  test.each([[{ span: '1h' as Span }], [{ span: '24h' as Span }], [{ from: NOON - 90, to: NOON }]])('%j comes back from what it says', (range) => {
    const said = Object.fromEntries(Object.entries(saidOf(range, '1h')).filter(([, value]) => value !== null)) as Record<string, string>;
    expect(rangeOf(said, '1h')).toEqual(range);
  });

  test('the usual span is not said, so that the address stays short', () => {
    expect(Object.values(saidOf({ span: '1h' }, '1h'))).toEqual([null, null, null]);
  });
});

test.each(Object.keys(SPANS) as Span[])('%s has enough points to be read, and never more than asked for', (span) => {
  const stretch = stretchOf({ span }, NOON);
  const points = (stretch.to - stretch.from) / stepOf(stretch, 360);
  expect(stretch.to - stretch.from).toBe(SPANS[span]);
  expect(points).toBeLessThanOrEqual(360);
  expect(points).toBeGreaterThanOrEqual(150);
});

test('from a minute on a step is whole minutes, which is all that EGO keeps of what is old', () => {
  for (let hours = 6; hours < 20_000; hours = Math.ceil(hours * 1.7)) {
    expect(stepOf({ from: NOON - hours * 3600, to: NOON }, 360) % 60).toBe(0);
  }
});

describe('zoom', () => {
  test('a drag in either direction is the stretch between', () => {
    expect(between(NOON, NOON - 600)).toEqual({ from: NOON - 600, to: NOON });
  });
  test('a slip of the hand is no zoom, and nothing is shorter than a minute', () => {
    expect(between(NOON, NOON + 3)).toBeNull();
    expect(between(NOON, NOON + 30)).toEqual({ from: NOON - 15, to: NOON + 45 });
  });
  test('out is twice as long and ends by now', () => {
    expect(scaled({ from: NOON - 600, to: NOON }, 2, NOON)).toEqual({ from: NOON - 1200, to: NOON });
    expect(scaled({ from: NOON - 600, to: NOON }, 2, NOON + 1000)).toEqual({ from: NOON - 900, to: NOON + 300 });
  });
  test('later stops at now', () => {
    expect(moved({ from: NOON - 600, to: NOON }, 0.5, NOON + 60)).toEqual({ from: NOON - 540, to: NOON + 60 });
    expect(moved({ from: NOON - 600, to: NOON }, -0.5, NOON)).toEqual({ from: NOON - 900, to: NOON - 300 });
  });
});

test('an instant is said to the second', () => {
  expect(isoOf(NOON)).toBe('2026-11-24T12:00:00Z');
});
