import { expect, test } from 'vitest';
import { changeOf, fleetOf, quantileOf } from '../../src/store/bench';
import { Twin } from '../../src/store/twin';

test('the made-up fleet is one that the twin understands, and every frame changes every host', () => {
  const twin = new Twin();
  twin.take(fleetOf(100, '2026-11-28T00:00:00Z'));
  const seen: number[] = [];
  twin.listen(({ touched }) => seen.push(touched.length));
  expect(twin.apply(changeOf(100, 2, '2026-11-28T00:00:01Z'))).not.toBe('gap');
  expect([twin.size, seen]).toEqual([100, [100]]);
  expect(twin.columns.cpuLoad[0]).toBe((7 + 26) % 100);
  expect(twin.columns.utilization[0]).toBeLessThanOrEqual(1);
});

test('a quantile is the value that so many do not exceed', () => {
  expect([quantileOf([3, 1, 2], 0.5), quantileOf([3, 1, 2], 0.99), quantileOf([], 0.5)]).toEqual([2, 3, null]);
});
