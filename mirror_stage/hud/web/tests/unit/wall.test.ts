/** What a screen on a wall does by itself. */

import { expect, test } from 'vitest';
import { reloadAt, shiftAfter } from '../../src/ui/wall';

test('the picture on a wall moves by a pixel and comes back', () => {
  const way = Array.from({ length: 5 }, (_, count) => shiftAfter(count));
  expect(way[4]).toEqual(way[0]);
  way.slice(1).forEach(([x, y], step) => expect(Math.abs(x - way[step]![0]) + Math.abs(y - way[step]![1])).toBe(1));
});

test('a wall that somebody touches reloads a minute after, and walls do not all reload at once', () => {
  expect(reloadAt(100_000, 0, 0)).toBe(100_000);
  expect(reloadAt(100_000, 90_000, 0)).toBe(150_000);
  expect(reloadAt(100_000, 0, 1)).toBeGreaterThan(reloadAt(100_000, 0, 0) + 10_000);
});
