import { expect, test } from 'vitest';
import { changesOf, countsOf, kindsOf } from '../../src/store/diff';
import type { Diff } from '../../src/net/openapi';

const place = (rack: string | null, x = 0, uplink: string | null = 'hub'): Diff['moved'][number]['before'] => ({ rack, uplink, position: { x, y: 0, z: 0 } });

const diff: Diff = {
  from: '2026-11-28T03:00:00Z', to: '2026-11-28T04:00:00Z', resolutions: ['raw', 'raw'], thresholds: {},
  came: ['new-1'], went: ['old-1'],
  moved: [
    { hostname: 'a', before: place('R1'), after: place('R2', 4) },
    { hostname: 'b', before: place('R1'), after: place('R1', 4) },
  ],
  status: [{ hostname: 'a', before: 'online', after: 'offline' }],
  metrics: [{ hostname: 'c', metric: 'cpuLoad', before: 10, after: 90, change: 80 }, { hostname: 'c', metric: 'utilization', before: 0, after: 1, change: 1 }],
};

test('every difference is one row, and a place is told only where the rack stayed', () => {
  expect(changesOf(diff).map(({ kind, hostname, what }) => [kind, hostname, what])).toEqual([
    ['came', 'new-1', null], ['went', 'old-1', null], ['moved', 'a', 'rack'], ['moved', 'b', 'position'],
    ['changed', 'a', 'status'], ['changed', 'c', 'cpuLoad'], ['changed', 'c', 'utilization'],
  ]);
});

test('a host has the mark of the first that it did, and counts once for each', () => {
  const changes = changesOf(diff);
  expect([...kindsOf(changes)]).toEqual([['new-1', 'came'], ['old-1', 'went'], ['a', 'moved'], ['b', 'moved'], ['c', 'changed']]);
  expect(countsOf(changes)).toEqual({ came: 1, went: 1, moved: 2, changed: 2 });
});

test('a metric of a newer EGO that this page does not know is no row', () => {
  const metrics = [{ hostname: 'c', metric: 'zeal', before: 1, after: 2, change: 1 }] as unknown as Diff['metrics'];
  expect(changesOf({ ...diff, came: [], went: [], moved: [], status: [], metrics })).toEqual([]);
});
