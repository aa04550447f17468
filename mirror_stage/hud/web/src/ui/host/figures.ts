/** What the numbers of one host say: rates, extremes, orders, the line of a sparkline. Pure. */

import type { Disk, DiskForecast, HostDetail, Interface } from '../../net/openapi';

export interface Heat {
  readonly celsius: number;
  /** CPU, GPU, or the name of a sensor */
  readonly where: string;
  /** The metric whose rules say how bad it is; a sensor counts as the CPU's */
  readonly metric: 'cpuTemperature' | 'gpuTemperature';
}

/** The hottest of all that is measured; null where nothing is. */
export function hottest(detail: HostDetail): Heat | null {
  const { metrics, diagnostics } = detail;
  const all: (Omit<Heat, 'celsius'> & { celsius: number | null })[] = [
    { where: 'CPU', metric: 'cpuTemperature', celsius: metrics.cpuTemperature },
    { where: 'GPU', metric: 'gpuTemperature', celsius: metrics.gpuTemperature },
    ...Object.entries(diagnostics.temperatures ?? {}).map(([where, celsius]) => ({ where, metric: 'cpuTemperature' as const, celsius })),
  ];
  return all.reduce<Heat | null>(
    (most, { celsius, ...rest }) => (celsius !== null && (most === null || celsius > most.celsius) ? { celsius, ...rest } : most),
    null,
  );
}

export interface Flow {
  readonly rxGbps: number | null;
  readonly txGbps: number | null;
  /** The busier direction's share of the speed, 0 to 1 */
  readonly share: number | null;
}

const UNKNOWN_FLOW: Flow = { rxGbps: null, txGbps: null, share: null };

/** What flows through an interface between two reports; unknown where a counter is missing or began anew. */
export function flowOf(name: string, before: HostDetail | null, now: HostDetail): Flow {
  const [one, other] = [before, now].map((detail) => detail?.diagnostics.interfaces?.find((each) => each.name === name));
  const seconds = (Date.parse(now.reportedAt ?? '') - Date.parse(before?.reportedAt ?? '')) / 1000;
  if (!one || !other || !(seconds > 0)) return UNKNOWN_FLOW;
  const rate = (from: number | null, to: number | null): number | null =>
    from === null || to === null || to < from ? null : ((to - from) * 8) / seconds / 1e9;
  const rxGbps = rate(one.bytesRecv, other.bytesRecv);
  const txGbps = rate(one.bytesSent, other.bytesSent);
  const busier = rxGbps === null || txGbps === null ? null : Math.max(rxGbps, txGbps);
  const speed = (other.speedMbps ?? 0) / 1000;
  return { rxGbps, txGbps, share: busier === null || speed <= 0 ? null : Math.min(1, busier / speed) };
}

/** The interfaces in their order, each with what flows through it and how much went wrong. */
export function flowsOf(now: HostDetail, before: HostDetail | null): (Interface & { flow: Flow; errors: number; drops: number })[] {
  return byStanding(now.diagnostics.interfaces ?? []).map((each) => ({
    ...each,
    flow: flowOf(each.name, before, now),
    errors: (each.errIn ?? 0) + (each.errOut ?? 0),
    drops: (each.dropIn ?? 0) + (each.dropOut ?? 0),
  }));
}

/** The fullest first; those that do not say how full they are last. */
export function byFullness(disks: readonly Disk[]): Disk[] {
  return [...disks].sort((one, other) => (other.usedPercent ?? -1) - (one.usedPercent ?? -1) || one.mountpoint.localeCompare(other.mountpoint));
}

/** Up before down, the fast before the slow, by name. */
export function byStanding(interfaces: readonly Interface[]): Interface[] {
  return [...interfaces].sort(
    (one, other) => Number(other.isUp ?? 0) - Number(one.isUp ?? 0) || (other.speedMbps ?? 0) - (one.speedMbps ?? 0) || one.name.localeCompare(other.name),
  );
}

export type Series = readonly [times: readonly number[], values: readonly (number | null)[]];

/** Points of the past before those of now: what is older than the first known time of `now` is put in front. */
export function joined(older: Series | null, now: Series): Series {
  if (!older) return now;
  const first = now[0].find((_, at) => now[1][at] !== null) ?? Infinity;
  const known = older[0].flatMap((time, at) => (time < first ? [[time, older[1][at] ?? null] as const] : []));
  const rest = now[0].flatMap((time, at) => (time >= first ? [[time, now[1][at] ?? null] as const] : []));
  const all = [...known, ...rest];
  return [all.map(([time]) => time), all.map(([, value]) => value)];
}

/** The value of a series at an instant, or the last one before it that is no older than `patience` seconds; null: unknown. */
export function knownAt([times, values]: Series, at: number, patience: number): number | null {
  const place = times.findLastIndex((time, here) => time <= at && values[here] !== null);
  return place >= 0 && at - (times[place] as number) <= patience ? (values[place] ?? null) : null;
}

/** Those of `all` that are fired or usual, the fired ones first. */
export function inOrder<Name extends string>(all: readonly Name[], usual: readonly Name[], fired: readonly string[]): Name[] {
  return [...all.filter((one) => fired.includes(one)), ...usual.filter((one) => !fired.includes(one))];
}

export interface Extent {
  readonly least: number;
  readonly most: number;
}

export function extentOf(values: readonly (number | null)[]): Extent | null {
  const known = values.filter((value): value is number => value !== null);
  return known.length === 0 ? null : { least: Math.min(...known), most: Math.max(...known) };
}

export interface Frame {
  readonly from: number;
  readonly to: number;
  readonly floor: number;
  readonly ceiling: number;
  readonly width: number;
  readonly height: number;
  /** Seconds without a value that still count as one line */
  readonly patience: number;
}

/** The line and the area below it as SVG paths. A gap stays a gap. */
export function sparkOf([times, values]: Series, frame: Frame): { line: string; area: string } {
  const { from, to, floor, ceiling, width, height, patience } = frame;
  const x = (time: number): string => (((time - from) / (to - from)) * width).toFixed(1);
  const y = (value: number): string => (height - ((Math.min(Math.max(value, floor), ceiling) - floor) / (ceiling - floor || 1)) * height).toFixed(1);
  const pieces: [number, number][][] = [];
  let last = -Infinity;
  times.forEach((time, at) => {
    const value = values[at] ?? null;
    if (value === null || time < from) return;
    if (time - last > patience) pieces.push([]);
    pieces.at(-1)?.push([time, value]);
    last = time;
  });
  const strokes = pieces.map((piece) => piece.map(([time, value]) => `${x(time)},${y(value)}`).join('L'));
  return {
    line: strokes.map((stroke) => `M${stroke}${stroke.includes('L') ? '' : 'h0.1'}`).join(''),
    area: pieces.map((piece, at) => `M${x((piece[0] as [number, number])[0])},${height}L${strokes[at]}L${x((piece.at(-1) as [number, number])[0])},${height}Z`).join(''),
  };
}

/** A share as percent, cut and never rounded up: what was offline for a second was not online all the time. */
export function shareText(share: number, percent: (value: number, digits: number) => string): string {
  const digits = share === 1 ? 0 : share >= 0.99 ? 3 : 1;
  return percent(Math.floor(share * 100 * 10 ** digits + 1e-6) / 10 ** digits, digits);
}

const DAYS_MOST = 365;

/** When a disk is full, if that is worth a word: it fills steadily, and is full within a year; null: it is not. */
export function fillsIn(disk: DiskForecast | undefined): { likely: number; earliest: number; latest: number | null } | null {
  const likely = disk?.likelyDays ?? null;
  if (!disk || likely === null || likely > DAYS_MOST || (!disk.isSteady && likely > 0)) return null;
  return { likely, earliest: disk.earliestDays ?? likely, latest: disk.latestDays };
}
