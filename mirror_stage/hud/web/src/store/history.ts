/**
 * The past as columns: what EGO answered about hosts or a group, or what this browser remembers of them, in one form.
 *
 * A value is a number, `null` where nothing is known (a gap in the line), or `undefined` where a step between two
 * samples was merely too short to hold one (the line goes on).
 */

import { CHARTED, REMEMBERED, rowOf, type Charted } from '../metrics';
import type { AvgColumns, Histories, MeanColumns } from '../net/openapi';
import type { Rings } from './rings';

export type Values = (number | null | undefined)[];

/** One host or one group: what it was on average, and how far it went. */
export interface Course {
  readonly mean: Values;
  readonly least: Values;
  readonly most: Values;
  /** Of a group: what 95 % of its hosts do not exceed */
  readonly p95: Values | null;
  /** Of a group: how many of its hosts the mean stands for */
  readonly heard: Values | null;
  /** Of a group: `mean` is the sum of its hosts, as of traffic */
  readonly isSum?: boolean;
}

export interface HistoryData {
  /** Seconds since 1970, rising */
  readonly times: readonly number[];
  readonly stepSeconds: number;
  readonly resolution: 'raw' | '1m' | '15m' | 'browser';
  /** The hosts asked for that EGO has never had */
  readonly unknown: readonly string[];
  /** Of groups that are compared: how many there are, if not all of them are in `series` */
  readonly groups?: number;
  readonly series: readonly { readonly name: string; readonly hosts: number; readonly courses: Readonly<Partial<Record<Charted, Course>>> }[];
}

/** The answer about hosts, in the order of `hostnames`. */
export function ofHosts(answer: Histories, hostnames: readonly string[], silenceSeconds: number): HistoryData {
  const found = new Map((answer.hosts ?? []).map((host) => [host.hostname, host.metrics]));
  return {
    ...headOf(answer),
    series: hostnames.flatMap((name) => {
      const metrics = found.get(name);
      return metrics ? [{ name, hosts: 1, courses: coursesOf(answer, metrics, silenceSeconds) }] : [];
    }),
  };
}

/** The answer about groups: the one that is called `group`, or the only one. */
export function ofGroup(answer: Histories, group: string | null, name: string, silenceSeconds: number): HistoryData {
  const groups = answer.groups ?? [];
  const one = groups.find((each) => each.group === group) ?? (groups.length === 1 ? groups[0] : undefined);
  return {
    ...headOf(answer),
    series: one ? [{ name, hosts: one.hosts, courses: coursesOf(answer, one.metrics, silenceSeconds) }] : [],
  };
}

/**
 * The answer about groups that are compared: a series each, in natural order. If there are more than `most`, those that had the
 * most of `metric`; `groups` says how many there are.
 */
export function ofGroups(answer: Histories, metric: Charted | undefined, most: number, silenceSeconds: number): HistoryData {
  const named = (answer.groups ?? []).filter(({ group }) => group !== null);
  const all = named.map(({ group, hosts, metrics }) => ({ name: group as string, hosts, courses: coursesOf(answer, metrics, silenceSeconds) }));
  const meanOf = ({ courses }: (typeof all)[number]): number => (metric && courses[metric] && summaryOf(courses[metric])?.mean) ?? -Infinity;
  const first = all.length > most ? [...all].sort((one, other) => meanOf(other) - meanOf(one)).slice(0, most) : all;
  const { compare } = new Intl.Collator(undefined, { numeric: true });
  return { ...headOf(answer), groups: all.length, series: first.sort((one, other) => compare(one.name, other.name)) };
}

/** What this browser remembers of some hosts: each by itself, or all as one group. */
export function ofMemory(rings: Rings, hosts: readonly { name: string; seat: number }[], group: string | null, since: number, beatSeconds: number): HistoryData {
  const all = hosts.map(({ name, seat }) => ({ name, kept: REMEMBERED.map((metric) => rings.series(seat, metric)) }));
  const whole = all[0]?.kept[0]?.[0] ?? [];
  const first = whole.findIndex((time) => time >= since);
  const times = first === -1 ? [] : whole.slice(first);
  const own = all.map(({ name, kept }) => ({
    name,
    columns: kept.map(([, values]) => values.slice(whole.length - times.length)),
  }));
  const course = (mean: Values, least: Values = mean, most: Values = mean, p95: Values | null = null): Course => ({ mean, least, most, p95, heard: null });
  const series =
    group === null
      ? own.map(({ name, columns }) => ({
          name,
          hosts: 1,
          courses: Object.fromEntries(REMEMBERED.map((metric, row) => [metric, course(columns[row] ?? [])])),
        }))
      : own.length === 0
        ? []
        : [{
            name: group,
            hosts: own.length,
            courses: Object.fromEntries(
              REMEMBERED.map((metric, row) => {
                const course = across(own.map(({ columns }) => columns[row] ?? []), times.length);
                return [metric, rowOf(metric).adds ? summed(course, times, 0) : course];
              }),
            ),
          }];
  return { times, stepSeconds: beatSeconds, resolution: 'browser', unknown: [], series };
}

/** Mean (in 4 bytes, as its values), least, most, the 95th of 100 and the number of hosts, at each of `length` instants; null where no host was heard. */
export function across(columns: readonly Values[], length: number): Course {
  const [mean, least, most, p95, counts]: Values[] = [[], [], [], [], []];
  for (let place = 0; place < length; place++) {
    const heard = columns.map((column) => column[place]).filter((value): value is number => typeof value === 'number').sort((one, other) => one - other);
    const isKnown = heard.length > 0;
    mean?.push(isKnown ? Math.fround(heard.reduce((sum, value) => sum + value, 0) / heard.length) : null);
    least?.push(isKnown ? (heard[0] as number) : null);
    most?.push(isKnown ? (heard.at(-1) as number) : null);
    p95?.push(isKnown ? (heard[Math.ceil(heard.length * 0.95) - 1] as number) : null);
    counts?.push(heard.length || null);
  }
  return { mean: mean as Values, least: least as Values, most: most as Values, p95: p95 as Values, heard: counts as Values };
}

/**
 * The sum of a group's hosts instead of their mean. What each of them has at the least or at the most says nothing about it.
 *
 * In a short step some hosts have two samples and some none, so the mean is taken over the steps that lie up to
 * `reachSeconds` before and after, and the hosts are those of the step among them that heard the most.
 */
export function summed({ mean, heard }: Course, times: readonly number[], reachSeconds: number): Course {
  let [first, end] = [0, 0];
  const sum = mean.map((value, place) => {
    if (typeof value !== 'number') return value;
    const at = times[place] as number;
    while ((times[first] as number) < at - reachSeconds) first++;
    while (end < times.length && (times[end] as number) <= at + reachSeconds) end++;
    let [all, weight, hosts] = [0, 0, 0];
    for (let near = first; near < end; near++) {
      const [one, count] = [mean[near], heard?.[near]];
      if (typeof one !== 'number' || typeof count !== 'number') continue;
      all += one * count;
      weight += count;
      hosts = Math.max(hosts, count);
    }
    return weight > 0 ? (all / weight) * hosts : null;
  });
  return { mean: sum, least: sum, most: sum, p95: null, heard, isSum: true };
}

/** Whether anything is known at all. */
export function hasValues({ mean }: Course): boolean {
  return mean.some((value) => typeof value === 'number');
}

/**
 * The values with what is no gap taken out: where two samples lie no further apart than a host may be silent, the
 * empty steps between them are `undefined`. With steps of 5 s and samples each 10 s every other step is empty.
 */
export function bridged(times: readonly number[], values: readonly (number | null)[], silenceSeconds: number): Values {
  const whole: Values = [...values];
  let known = -1;
  for (let place = 0; place < whole.length; place++) {
    if (whole[place] === null) continue;
    const isNear = known >= 0 && (times[place] as number) - (times[known] as number) <= silenceSeconds;
    if (isNear) whole.fill(undefined, known + 1, place);
    known = place;
  }
  return whole;
}

/** The last value that is known, at or before `place`, but no further back than the line is drawn. */
export function valueAt(values: Values, place: number): number | null {
  for (let at = Math.min(place, values.length - 1); at >= 0; at--) {
    const value = values[at];
    if (value === null) return null;
    if (value !== undefined) return value;
  }
  return null;
}

/** Least, mean and most of all that is known; null if nothing is. */
export function summaryOf(course: Course): { least: number; mean: number; most: number } | null {
  const known = (values: Values): number[] => values.filter((value): value is number => typeof value === 'number');
  const means = known(course.mean);
  if (means.length === 0) return null;
  return {
    least: known(course.least).reduce((one, other) => Math.min(one, other), Infinity),
    mean: means.reduce((sum, value) => sum + value, 0) / means.length,
    most: known(course.most).reduce((one, other) => Math.max(one, other), -Infinity),
  };
}

/** Where the newest known value of any series stands; -1 if there is none. */
export function newest(data: HistoryData, metrics: readonly Charted[]): number {
  let place = -1;
  for (const { courses } of data.series) {
    for (const metric of metrics) {
      const mean = courses[metric]?.mean ?? [];
      place = Math.max(place, mean.findLastIndex((value) => typeof value === 'number'));
    }
  }
  return place;
}

function headOf(answer: Histories): Omit<HistoryData, 'series'> {
  return { times: answer.t.map((at) => Date.parse(at) / 1000), stepSeconds: answer.stepSeconds, resolution: answer.resolution, unknown: answer.unknownHosts };
}

function coursesOf(answer: Histories, metrics: Readonly<Record<string, AvgColumns | MeanColumns>>, silenceSeconds: number): Partial<Record<Charted, Course>> {
  const times = answer.t.map((at) => Date.parse(at) / 1000);
  const most = Math.max(silenceSeconds, answer.stepSeconds);
  const column = (values: readonly (number | null)[]): Values => bridged(times, values, most);
  return Object.fromEntries(
    CHARTED.filter((metric) => metric in metrics).map((metric) => {
      const columns = metrics[metric] as AvgColumns | MeanColumns;
      const spread = { least: column(columns.min), most: column(columns.max) };
      if ('avg' in columns) return [metric, { mean: column(columns.avg), ...spread, p95: null, heard: null }];
      const course = { mean: column(columns.mean), ...spread, p95: column(columns.p95), heard: column(columns.hosts.map((count) => count || null)) };
      return [metric, rowOf(metric).adds ? summed(course, times, silenceSeconds) : course];
    }),
  );
}
