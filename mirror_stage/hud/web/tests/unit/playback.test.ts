/** The clock of the replay and its strip. */

import { describe, expect, test } from 'vitest';
import type { Timeline } from '../../src/net/openapi';
import { advanced, barsOf, bucketAt, LIVE_WITHIN_MS, nextSpeed, SPEEDS, stepMsOf, stepped } from '../../src/store/playback';
import { isoOf } from '../../src/store/range';

const NOON = Date.parse('2026-11-24T12:00:00Z') / 1000;

describe('the clock of the replay', () => {
  const now = NOON * 1000;
  test.each(SPEEDS)('goes %d times as fast', (speed) => {
    expect(advanced(now - 3_600_000, 500, speed, now)).toBe(now - 3_600_000 + 500 * speed);
  });
  test('that catches up with now is live again', () => {
    expect(advanced(now - 20_000, 1_000, 60, now)).toBeNull();
  });
  test('steps along whole buckets, not before the strip, and from the last one to now', () => {
    const step = stepMsOf(3_600);
    expect(step).toBe(30_000);
    expect(stepped(now - 100_000, 1, step, 0, now)).toBe(now - 90_000);
    expect(stepped(now - 90_000, 1, step, 0, now)).toBe(now - 60_000);
    expect(stepped(now - 90_000, -1, step, 0, now)).toBe(now - 120_000);
    expect(stepped(now - 90_000, -1, step, now - 100_000, now)).toBe(now - 100_000);
    expect(stepped(now - 30_000, 1, step, 0, now)).toBeNull();
  });
  test.each([0, 1_000, 2_000, 3_000, 4_000, 29_000])('leads from now into the past, %d ms after a step of the grid', (since) => {
    const back = stepped(now + since, -1, 30_000, 0, now + since);
    expect(back).toBe(since > LIVE_WITHIN_MS ? now : now - 30_000);
  });
  test('has speeds that go round', () => {
    expect(SPEEDS.map(nextSpeed)).toEqual([...SPEEDS.slice(1), SPEEDS[0]]);
  });
});

function timeline(critical: number[], warning: number[]): Timeline {
  const none = critical.map(() => 0);
  const counts = { info: none, warning, critical };
  return {
    from: isoOf(NOON), to: isoOf(NOON + 60 * critical.length), bucketSeconds: 60, t: critical.map((_, place) => isoOf(NOON + place * 60)),
    alerts: { fired: counts, active: counts, resolved: counts }, commands: { created: none, finished: none, failed: none }, hosts: { online: none },
  };
}

describe('the strip', () => {
  test('one alert beside a hundred can be seen, and the worst lies at the bottom', () => {
    const [few, many, none] = barsOf(timeline([1, 0, 0], [0, 100, 0]));
    expect(few?.critical).toBeCloseTo(0.08);
    expect(many?.warning).toBeCloseTo(0.8);
    expect([none?.critical, none?.warning, none?.info]).toEqual([0, 0, 0]);
  });
  test('knows which bucket a moment lies in', () => {
    const three = timeline([0, 0, 0], [0, 0, 0]);
    expect(bucketAt(three, NOON * 1000 + 59_999)).toBe(0);
    expect(bucketAt(three, NOON * 1000 + 60_000)).toBe(1);
    expect(bucketAt(three, NOON * 1000 - 1)).toBe(-1);
    expect(bucketAt(three, NOON * 1000 + 180_000)).toBe(-1);
  });
});
