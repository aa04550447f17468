import { describe, expect, test } from 'vitest';
import type { Alert, HostDetail } from '../../src/net/openapi';
import { grouped, inUnit, ordered, stepsOf } from '../../src/store/alertlog';
import { Rules } from '../../src/store/rules';
import type { DiskForecast } from '../../src/net/openapi';
import { byFullness, byStanding, extentOf, flowOf, hottest, inOrder, joined, knownAt, shareText, sparkOf, fillsIn } from '../../src/ui/host/figures';

const nic = (bytesRecv: number | null, bytesSent: number | null) => ({
  name: 'eno1', bytesRecv, bytesSent, packetsSent: 0, packetsRecv: 0, errIn: 0, errOut: 0, dropIn: 0, dropOut: 0, speedMbps: 1000, isUp: true,
});
const detail = (second: number, bytesRecv: number | null, bytesSent: number | null = 0): HostDetail =>
  ({ reportedAt: new Date(second * 1000).toISOString(), metrics: { cpuTemperature: 50, gpuTemperature: null }, diagnostics: { interfaces: [nic(bytesRecv, bytesSent)], temperatures: { disk: 61 } } }) as unknown as HostDetail;

describe('the rate of an interface', () => {
  test.each([
    ['follows its counters', detail(0, 0), detail(2, 125_000_000), { rxGbps: 0.5, txGbps: 0, share: 0.5 }],
    ['is unknown after the first report', null, detail(2, 5), { rxGbps: null, txGbps: null, share: null }],
    ['is unknown when a counter began anew', detail(0, 100), detail(1, 5), { rxGbps: null, txGbps: 0, share: null }],
    ['is unknown within one report', detail(1, 5), detail(1, 5), { rxGbps: null, txGbps: null, share: null }],
    ['is unknown where a counter is missing', detail(0, null), detail(1, 5), { rxGbps: null, txGbps: 0, share: null }],
  ])('%s', (_what, before, now, expected) => {
    expect(flowOf('eno1', before, now)).toEqual(expected);
  });
});

test('the hottest place of all that are measured is named', () => {
  expect(hottest(detail(0, 0))).toEqual({ celsius: 61, where: 'disk', metric: 'cpuTemperature' });
});

test('disks stand by how full they are, the unknown last', () => {
  const disk = (mountpoint: string, usedPercent: number | null) => ({ mountpoint, usedPercent, device: null, fstype: null, totalBytes: null, usedBytes: null });
  expect(byFullness([disk('/a', null), disk('/b', 40), disk('/c', 90)]).map((one) => one.mountpoint)).toEqual(['/c', '/b', '/a']);
  expect(byStanding([{ ...nic(0, 0), name: 'down', isUp: false }, nic(0, 0)]).map((one) => one.name)).toEqual(['eno1', 'down']);
});

describe('a sparkline', () => {
  const frame = { from: 0, to: 100, floor: 0, ceiling: 10, width: 100, height: 10, patience: 20 };

  test('keeps a gap a gap, whether it is said or silent', () => {
    const { line } = sparkOf([[0, 10, 20, 30, 80, 90], [0, 5, null, null, 10, 10]], frame);
    expect(line).toBe('M0.0,10.0L10.0,5.0M80.0,0.0L90.0,0.0');
    expect(sparkOf([[0], [3]], frame).line).toContain('h0.1'); // one value is a dot, not nothing
    expect(sparkOf([[0, 10], [null, null]], frame)).toEqual({ line: '', area: '' });
  });

  test('begins with what EGO remembers and goes on with what was seen here', () => {
    expect(joined([[1, 2, 3], [10, 20, 30]], [[0, 2.5, 3], [null, 25, 31]])).toEqual([[1, 2, 2.5, 3], [10, 20, 25, 31]]);
    expect(joined(null, [[1], [2]])).toEqual([[1], [2]]);
    expect(extentOf([null, 3, -1])).toEqual({ least: -1, most: 3 });
    expect(extentOf([null])).toBeNull();
  });
});

test('a disk that fills steadily is full in so many days; a full one is full; of others nothing is said', () => {
  const disk = (likelyDays: number | null, isSteady = true): DiskForecast =>
    ({ mountpoint: '/', usedBytes: 1, usableBytes: 2, isKnown: true, isSteady, earliestDays: 2, likelyDays, latestDays: null });
  expect(fillsIn(disk(3))).toEqual({ likely: 3, earliest: 2, latest: null });
  expect(fillsIn(disk(0, false))?.likely).toBe(0);
  for (const other of [disk(3, false), disk(null), disk(400), undefined]) expect(fillsIn(other)).toBeNull();
});

test('a group is acknowledged in one step only if nothing else is in it', () => {
  const alert = (id: string, groupId: string | null, ack: object | null = null): Alert => ({ id, groupId, ack }) as Alert;
  const [a, b, c, d, e] = [alert('a', 'g'), alert('b', 'g'), alert('c', 'h'), alert('d', null), alert('e', 'h', {})] as const;
  expect(stepsOf([a, b, d], [a, b, c, d, e])).toEqual({ groups: ['g'], ids: ['d'] });
  expect(stepsOf([a, c], [a, b, c, d, e])).toEqual({ groups: [], ids: ['a', 'c'] });
  expect(stepsOf([e], [c, e])).toEqual({ groups: [], ids: [] });
});

describe('alerts', () => {
  const alert = (id: string, severity: Alert['severity'], second: number, hostname = 'h', metric = 'cpu_load_high'): Alert =>
    ({ id, severity, hostname, metric, createdAt: `2025-11-01T00:00:0${second}.000Z` }) as Alert;
  const stateOf = (one: Alert): number => new Rules([]).stateOf(one);
  const some = [alert('old', 'warning', 1, 'a'), alert('new', 'warning', 5, 'b'), alert('worst', 'critical', 3, 'b', 'host_offline'), alert('note', 'info', 9, 'c', 'clock_skew'), alert('hot', 'critical', 2, 'a', 'disk_full')];
  const said = (by: 'none' | 'host' | 'rule'): [string, string[]][] => grouped(ordered(some, stateOf), by, stateOf).map((group) => [group.name, group.alerts.map((one) => one.id)]);

  test('stand by the state that they mean, then by age; a silence is less than a critical alert', () => {
    expect(said('none')).toEqual([['', ['hot', 'worst', 'new', 'old', 'note']]]);
  });

  test('are grouped by host or rule, the group with the worst first', () => {
    expect(said('host')).toEqual([['a', ['hot', 'old']], ['b', ['worst', 'new']], ['c', ['note']]]);
    expect(said('rule')).toEqual([['disk_full', ['hot']], ['host_offline', ['worst']], ['cpu_load_high', ['new', 'old']], ['clock_skew', ['note']]]);
    expect(grouped([], 'host', stateOf)).toEqual([]);
  });

  test('say ratios as percent', () => {
    expect(inUnit(0.9, 'ratio')).toEqual([90, '%']);
    expect(inUnit(85, '°C')).toEqual([85, '°C']);
  });
});

test('what has fired stands first, and a metric that is not usual comes with it', () => {
  expect(inOrder(['cpu', 'memory', 'swap', 'gpu'], ['cpu', 'memory'], ['swap', 'memory', 'silenceSeconds'])).toEqual(['memory', 'swap', 'cpu']);
});

test('a value counts until the next one, but no longer than a line is drawn', () => {
  const series = [[10, 20, 30], [1, null, 3]] as const;
  expect([9, 10, 15, 25, 30, 70].map((at) => knownAt(series, at, 30))).toEqual([null, 1, 1, 1, 3, null]);
});

test('availability is never rounded up', () => {
  const text = (share: number): string => shareText(share, (value, digits) => value.toFixed(digits));
  expect([1, 0.999999, 0.99, 0.5, 0].map(text)).toEqual(['100', '99.999', '99.000', '50.0', '0.0']);
});
