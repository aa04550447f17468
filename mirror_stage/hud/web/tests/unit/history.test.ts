/** The past as columns: gaps, groups, what the browser remembers, the file, the ticks. */

import { describe, expect, test } from 'vitest';
import type { Histories } from '../../src/net/openapi';
import { across, bridged, newest, ofGroup, ofGroups, ofHosts, ofMemory, summaryOf, summed, valueAt } from '../../src/store/history';
import { BEAT_MS, Rings } from '../../src/store/rings';
import { comparedIn, groupOf, membersOf, NAMED_MOST, questionOf, saidOfGroup } from '../../src/store/subject';
import { Twin } from '../../src/store/twin';
import { aloneIn, fileRows, lookOf, LINES_MOST, axisOf, timeTicks } from '../../src/ui/chart';
import { host, snapshot } from './frames';

describe('a gap stays a gap', () => {
  const times = [0, 5, 10, 15, 20, 25, 30, 35];
  test.each([
    ['a step without a sample is no gap', [1, null, 2, null, 3, null, null, null], [1, undefined, 2, undefined, 3, null, null, null]],
    ['silence is', [1, null, null, null, 2, 3, 4, 5], [1, null, null, null, 2, 3, 4, 5]],
    ['nothing before the first and after the last', [null, null, 1, null, 2, null, null, null], [null, null, 1, undefined, 2, null, null, null]],
    ['nothing at all', [null, null, null, null, null, null, null, null], [null, null, null, null, null, null, null, null]],
  ])('%s', (_what, values, expected) => expect(bridged(times, values, 15)).toEqual(expected));

  test('the value under the cursor is the last one of the line, never one from before a gap', () => {
    expect(valueAt([1, undefined, undefined], 2)).toBe(1);
    expect(valueAt([1, null, undefined], 2)).toBeNull();
    expect(valueAt([], 3)).toBeNull();
  });

  test('a sample alone between gaps gets a point', () => {
    expect(aloneIn([null, 1, null, 2, undefined, 3, null, 4], 0, 7)).toEqual([1, 7]);
  });
});

const answer: Histories = {
  from: '2026-11-24T12:00:00.000Z', to: '2026-11-24T12:02:00.000Z', stepSeconds: 60, resolution: '1m', unknownHosts: [],
  t: ['2026-11-24T12:00:00.000Z', '2026-11-24T12:01:00.000Z'],
  hosts: [
    { hostname: 'b', metrics: { cpuLoad: { avg: [10, null], min: [5, null], max: [90, null], count: [12, 0] } } },
    { hostname: 'a', metrics: { cpuLoad: { avg: [20, 30], min: [20, 30], max: [20, 30], count: [1, 1] } } },
  ],
};

test('hosts come in the order in which they were asked for, and the worst stays beside the mean', () => {
  const past = ofHosts(answer, ['a', 'gone', 'b'], 15);
  expect(past.series.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(past.series[1]?.courses.cpuLoad).toEqual({ mean: [10, null], least: [5, null], most: [90, null], p95: null, heard: null });
  expect(summaryOf(past.series[1]!.courses.cpuLoad!)).toEqual({ least: 5, mean: 10, most: 90 });
  expect(newest(past, ['cpuLoad'])).toBe(1);
  expect(newest(past, ['rxGbps'])).toBe(-1);
});

test('a group is the one that was asked for among its kind', () => {
  const columns = (value: number) => ({ cpuLoad: { mean: [value, value], min: [0, 0], max: [99, 99], p95: [95, 95], hosts: [3, 2] } });
  const groups = { ...answer, groupBy: 'room' as const, groups: [{ group: 'A', hosts: 2, metrics: columns(1) }, { group: 'B', hosts: 3, metrics: columns(2) }] };
  expect(ofGroup(groups, 'B', 'Room B', 15).series).toMatchObject([{ name: 'Room B', hosts: 3, courses: { cpuLoad: { mean: [2, 2], p95: [95, 95], heard: [3, 2] } } }]);
  expect(ofGroup(groups, 'C', 'Room C', 15).series).toEqual([]);
});

test('across hosts: the mean, the ends, and what 95 of 100 do not exceed; unknown is left out', () => {
  const columns = Array.from({ length: 20 }, (_, place) => [place + 1, place === 0 ? 7 : null, null]);
  expect(across(columns, 3)).toEqual({ mean: [10.5, 7, null], least: [1, 7, null], most: [20, 7, null], p95: [19, 7, null], heard: [20, 1, null] });
});

test('the names that EGO has never had go with the answer', () => {
  expect(ofHosts({ ...answer, unknownHosts: ['gone'] }, ['a', 'gone'], 15).unknown).toEqual(['gone']);
});

test('a mean that does not exist stands for no host', () => {
  const none = { cpuLoad: { mean: [1, null], min: [1, null], max: [1, null], p95: [1, null], hosts: [1, 0] } };
  const past = ofGroup({ ...answer, groupBy: 'all', groups: [{ group: null, hosts: 2, metrics: none }] }, null, 'all', 15);
  expect(past.series[0]?.courses.cpuLoad?.heard).toEqual([1, null]);
});

test('without a history the browser shows what it remembers, of hosts and of a group', () => {
  const twin = new Twin();
  const rings = new Rings(twin);
  twin.take(snapshot([host('a', 1), host('b', 2)]));
  for (const [beat, load] of [[0, 10], [1, 20], [2, 30]] as const) {
    twin.columns.cpuLoad[0] = load;
    twin.columns.cpuLoad[1] = load * 2;
    rings.beat(beat * BEAT_MS);
  }
  const hosts = membersOf(twin, groupOf(undefined), null);
  const single = ofMemory(rings, [{ name: 'a', seat: 0 }], null, 5, 5);
  expect(single.times).toEqual([5, 10]);
  expect(single.series[0]?.courses.cpuLoad?.mean).toEqual([20, 30]);
  const whole = ofMemory(rings, hosts, 'all', 0, 5);
  expect(whole.series[0]?.courses.cpuLoad).toMatchObject({ mean: [15, 30, 45], least: [10, 20, 30], most: [20, 40, 60] });
  expect(ofMemory(rings, [], 'none', 0, 5).series).toEqual([]);
});

describe('a group', () => {
  test.each([[undefined, 'all'], ['all', 'all'], ['match', 'match'], ['rack:R:1', 'rack'], ['rack:', 'all'], ['shelf:2', 'all']])('%j is %s, and says so again', (said, kind) => {
    const group = groupOf(said);
    expect(group.kind).toBe(kind);
    expect(groupOf(saidOfGroup(group) ?? undefined)).toEqual(group);
  });
  test('is asked for by the names of its hosts, a large one as a whole', () => {
    const names = Array.from({ length: NAMED_MOST + 1 }, (_, place) => `host-${place}`);
    expect(questionOf(groupOf('rack:R1'), names.slice(0, 3))).toEqual({ groupBy: 'all', hostnames: names.slice(0, 3) });
    expect(questionOf(groupOf('room:A'), names)).toEqual({ groupBy: 'room', hostnames: [] });
    expect(questionOf(groupOf('all'), names)).toEqual({ groupBy: 'all', hostnames: [] });
    expect(questionOf(groupOf('match'), names)?.hostnames).toHaveLength(NAMED_MOST);
    expect(questionOf(groupOf('rack:R9'), []), 'nobody is not everybody').toBeNull();
  });
});

test('the file has every number unrounded, and no line where nothing is known', () => {
  const past = ofHosts(answer, ['a', 'b'], 15);
  const rows = fileRows(past.times, past.series, ['cpuLoad'], () => 'CPU', ['Time', 'Host']);
  expect(rows).toEqual([
    ['Time', 'Host', 'CPU [%]', 'CPU min [%]', 'CPU max [%]'],
    ['2026-11-24T12:00:00Z', 'a', 20, 20, 20],
    ['2026-11-24T12:00:00Z', 'b', 10, 5, 90],
    ['2026-11-24T12:01:00Z', 'a', 30, 30, 30],
  ]);
});

test('ticks of time name the day where it changes', () => {
  const midnight = new Date(2026, 10, 25).getTime() / 1000;
  expect(timeTicks([midnight - 3600, midnight, midnight + 3600], 3600, 'en', midnight * 1000)).toEqual(['23:00', 'Nov 25', '01:00']);
  expect(timeTicks([midnight, midnight + 43_200], 43_200, 'en', midnight * 1000)).toEqual(['Nov 25', '12:00']);
  expect(timeTicks([midnight - 30, midnight - 15], 15, 'en', midnight * 1000)).toEqual(['23:59:30', '23:59:45']);
});

test('scales begin at nothing where nothing is what they count, and hold all that is known', () => {
  expect(axisOf('cpuLoad')(3, 40)).toEqual([0, 100]);
  expect(axisOf('cpuLoad')(3, 140)).toEqual([0, 140]);
  expect(axisOf('rxGbps')(0, 0)).toEqual([0, 1]);
  const [low, high] = axisOf('cpuTemperature')(41, 66);
  expect(low).toBeLessThan(41);
  expect(high).toBeGreaterThan(66);
});

test('no two lines look the same', () => {
  const looks = Array.from({ length: LINES_MOST }, (_, place) => JSON.stringify(lookOf(place)));
  expect(new Set(looks).size).toBe(LINES_MOST);
});

test('the sum of a group is steady although some of its hosts have no sample in a short step', () => {
  const times = [0, 15, 30, 45, 120];
  const course = { mean: [20, 10, 20, 30, 20], least: [], most: [], p95: [], heard: [2, 1, 2, 1, 2] };
  const { mean, isSum, p95 } = summed(course, times, 15);
  expect([isSum, p95]).toEqual([true, null]);
  mean.forEach((value) => expect(Math.abs((value as number) - 40)).toBeLessThan(8));
  expect(summed(course, times, 0).mean).toEqual([40, 10, 40, 30, 40]);
  expect(summed({ ...course, mean: [null, 10, undefined, null, null] }, times, 15).mean).toEqual([null, 10, undefined, null, null]);
});

test('groups that are compared have a line each, in natural order; of many those with the most', () => {
  const mean = (value: number) => ({ mean: [value], min: [value], max: [value], p95: [value], hosts: [2] });
  const answer = {
    from: '', to: '', stepSeconds: 60, resolution: 'raw', t: ['2026-11-28T12:00:00Z'], unknownHosts: [], groupBy: 'rack',
    groups: [['R10', 5], ['R2', 50], [null, 99], ['R1', 20]].map(([group, value]) => ({ group, hosts: 2, metrics: { cpuLoad: mean(value as number) } })),
  } as unknown as Histories;
  expect(ofGroups(answer, 'cpuLoad', 8, 15).series.map(({ name }) => name)).toEqual(['R1', 'R2', 'R10']);
  const two = ofGroups(answer, 'cpuLoad', 2, 15);
  expect([two.groups, two.series.map(({ name }) => name)]).toEqual([3, ['R1', 'R2']]);
});

test('each rack by itself is said in the address, and asked for as a whole', () => {
  const each = groupOf('each:rack');
  expect([comparedIn(each), saidOfGroup(each), questionOf(each, ['web-1'])]).toEqual(['rack', 'each:rack', { groupBy: 'rack', hostnames: [] }]);
  expect(groupOf('each:colour').kind).toBe('all');
  expect(comparedIn(groupOf('rack:each'))).toBeNull();
});
