import { describe, expect, test } from 'vitest';
import { Quality } from '../../../src/scene/quality';

describe('quality', () => {
  /** Draw frames of `length` ms for `duration` ms, from `start`. */
  function run(quality: Quality, start: number, duration: number, length: number, cap = 60): number {
    let now = start;
    for (; now < start + duration; now += length) quality.frame(now, cap);
    return now;
  }

  test('goes down step by step while frames are slow, to its end', () => {
    const quality = new Quality(2);
    const ratios: number[] = [];
    let now = 0;
    for (let step = 0; step < 8; step++) {
      ratios.push(quality.level.pixelRatio);
      now = run(quality, now, 2_100, 30);
    }
    expect(ratios.slice(0, 3)).toEqual([2, 1.5, 1]);
    expect(quality.level).toEqual({ pixelRatio: 1, hasReflection: false, hasArcs: false, framesPerSecond: 30 });
    expect(quality.isReduced).toBe(true);
  });

  test('comes back slowly, and ever more slowly if it has to go down again', () => {
    const quality = new Quality(1);
    let now = run(quality, 0, 2_100, 30);
    expect(quality.level.hasReflection).toBe(false);
    now = run(quality, now, 15_000, 16.6);
    expect(quality.isReduced).toBe(true);
    now = run(quality, now, 15_000, 16.6);
    expect(quality.isReduced).toBe(false);
    now = run(quality, now, 2_100, 30);
    now = run(quality, now, 30_000, 16.6);
    expect(quality.isReduced).toBe(true);
    run(quality, now, 20_000, 16.6);
    expect(quality.isReduced).toBe(false);
  });

  test('does not take a cap or a pause for slowness', () => {
    const quality = new Quality(1);
    const now = run(quality, 0, 10_000, 33.3, 30);
    quality.pause();
    run(quality, now + 60_000, 10_000, 16.6);
    expect(quality.isReduced).toBe(false);
  });

  test('stays as it is when pinned', () => {
    const quality = new Quality(1, true);
    run(quality, 0, 20_000, 200);
    expect(quality.isReduced).toBe(false);
  });
});
