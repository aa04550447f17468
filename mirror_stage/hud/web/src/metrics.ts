/**
 * The metrics of a host, one row each: what EGO calls it, how a value is written, and where the HUD shows it.
 *
 * Columns, charts, colours, search words, files and the browser's memory follow from the rows. A new metric is a row
 * here and its label in `en.ts` and `ko.ts`.
 */

import type { Metrics } from './net/openapi';

interface Unit {
  /** As a file writes it */
  readonly file: string;
  /** As a person reads it: the value times `times`, then `sign` */
  readonly times: number;
  readonly sign: string;
  /** The values at both ends of a bar */
  readonly bar?: readonly [number, number];
}

export const UNITS = {
  percent: { file: '%', times: 1, sign: '%', bar: [0, 100] },
  ratio: { file: '0-1', times: 100, sign: '%', bar: [0, 1] },
  celsius: { file: '°C', times: 1, sign: '°C', bar: [20, 100] },
  rate: { file: 'Gbit/s', times: 1, sign: 'Gbit/s' },
  bytes: { file: 'B', times: 1, sign: 'B' },
  byteRate: { file: 'B/s', times: 1e-6, sign: 'MB/s' },
  days: { file: 'd', times: 1, sign: 'd' },
  plain: { file: '', times: 1, sign: '' },
} as const satisfies Record<string, Unit>;

interface Row {
  readonly unit: keyof typeof UNITS;
  /** Digits after the point; 0 if nothing is said */
  readonly decimals?: number;
  /** The live twin has it in each host's `metrics`, under this name */
  readonly host?: keyof Metrics;
  /** The live twin has it in the link of each host, under the metric's own name */
  readonly link?: true;
  /** Each delta carries it */
  readonly delta?: true;
  /** The lower it is, the worse */
  readonly isWorstLow?: true;
  /** It is the sum of these */
  readonly sum?: readonly ['rxGbps', 'txGbps'];
  /** Its column in the host table: rem, and whether a bar stands beside the number */
  readonly column?: { readonly width: number; readonly decimals?: number; readonly bar?: true };
  /** A chart of the history; 'usual': shown until somebody chooses others */
  readonly chart?: 'usual' | 'more';
  /** Alerts about this other metric are marked in its chart, too */
  readonly marks?: 'utilization';
  /** Of a group of hosts the history shows the sum, not the mean */
  readonly adds?: true;
  /** The browser remembers 15 minutes of it */
  readonly memory?: true;
  /** The table says mean and worst of it over all hosts */
  readonly summary?: true;
  /** Hosts can be coloured by it: the word in the address, and its label if that is not the metric's own */
  readonly colour?: { readonly word: string; readonly label?: 'network' };
  /** The word of the search */
  readonly search?: string;
}

export const METRICS = {
  cpuLoad: { unit: 'percent', host: 'cpuLoad', delta: true, column: { width: 8.25, decimals: 1, bar: true }, chart: 'usual', memory: true, summary: true, colour: { word: 'cpu' }, search: 'cpu' },
  memoryUsedPercent: { unit: 'percent', host: 'memoryUsedPercent', delta: true, column: { width: 8.25, decimals: 1, bar: true }, chart: 'usual', memory: true, summary: true, colour: { word: 'memory' }, search: 'mem' },
  fullestDiskPercent: { unit: 'percent', host: 'fullestDiskPercent', delta: true, column: { width: 9, decimals: 1, bar: true }, chart: 'usual', memory: true, summary: true, colour: { word: 'disk' }, search: 'disk' },
  diskDaysToFull: { unit: 'days', decimals: 1, host: 'diskDaysToFull', isWorstLow: true, column: { width: 7 }, search: 'daystofull' },
  loadAverage: { unit: 'plain', decimals: 2, host: 'loadAverage', delta: true, column: { width: 5.5 }, chart: 'more', search: 'load' },
  cpuTemperature: { unit: 'celsius', host: 'cpuTemperature', delta: true, column: { width: 5.75 }, chart: 'usual', memory: true, summary: true, colour: { word: 'temperature' }, search: 'temp' },
  gpuTemperature: { unit: 'celsius', host: 'gpuTemperature', delta: true, column: { width: 7.5 }, chart: 'more', search: 'gpu' },
  network: { unit: 'rate', sum: ['rxGbps', 'txGbps'], column: { width: 6.5 }, search: 'net' },
  rxGbps: { unit: 'rate', link: true, delta: true, column: { width: 7.5 }, chart: 'usual', marks: 'utilization', adds: true, memory: true, search: 'rx' },
  txGbps: { unit: 'rate', link: true, delta: true, column: { width: 7.5 }, chart: 'usual', marks: 'utilization', adds: true, memory: true, search: 'tx' },
  utilization: { unit: 'ratio', link: true, delta: true, column: { width: 7.5, bar: true }, chart: 'more', summary: true, colour: { word: 'network', label: 'network' }, search: 'util' },
  diskReadBytesPerSecond: { unit: 'byteRate', host: 'diskReadBytesPerSecond', delta: true, column: { width: 7 }, chart: 'more', adds: true, search: 'read' },
  memoryTotalBytes: { unit: 'bytes', host: 'memoryTotalBytes', column: { width: 7 } },
  capacityGbps: { unit: 'rate', host: 'netCapacityGbps', column: { width: 7 } },
  swapUsedPercent: { unit: 'percent', chart: 'more' },
} as const satisfies Record<string, Row>;

type Table = typeof METRICS;
export type Metric = keyof Table;
/** The metrics whose rows have a field */
type With<Field extends keyof Row> = { [Name in Metric]: Table[Name] extends Record<Field, unknown> ? Name : never }[Metric];

export type Gauge = With<'delta'>;
/** A metric with a column of its own in the live twin */
export type Live = With<'host' | 'delta'> | With<'host'> | With<'link'>;
/** A metric that the live twin has, or that follows from those it has */
export type Known = Live | With<'sum'>;
export type InTable = With<'column'>;
export type Charted = With<'chart'>;
export type Remembered = With<'memory'>;
export type Summed = With<'summary'>;
type Coloured = With<'colour'>;
export type ColourBy = 'status' | Table[Coloured]['colour']['word'];

export function isMetric(name: string): name is Metric {
  return Object.hasOwn(METRICS, name);
}

/** The row of a metric, with every field that a row may have. */
export const rowOf = (metric: Metric): Row => METRICS[metric];
export const unitOf = (metric: Metric): Unit => UNITS[METRICS[metric].unit];

const having = <Field extends keyof Row>(field: Field): readonly With<Field>[] =>
  (Object.keys(METRICS) as Metric[]).filter((metric) => field in METRICS[metric]) as With<Field>[];

export const GAUGES = having('delta');
export const OF_HOST = having('host');
export const OF_LINK = having('link');
export const LIVE: readonly Live[] = [...OF_HOST, ...OF_LINK];
export const IN_TABLE = having('column');
export const CHARTED = having('chart');
export const USUALLY_CHARTED = CHARTED.filter((metric) => METRICS[metric].chart === 'usual');
export const REMEMBERED = having('memory');
export const SUMMED = having('summary');
export const SEARCHED = having('search');

const coloured = having('colour');
export const COLOUR_BY: readonly ColourBy[] = ['status', ...coloured.map((metric) => METRICS[metric].colour.word)];
/** The metric that a bar shows; where the colour is the state's, that is CPU. */
export const COLOURED = Object.fromEntries([['status', 'cpuLoad'], ...coloured.map((metric) => [METRICS[metric].colour.word, metric])]) as Record<ColourBy, Coloured>;

/** Every metric that the live twin has or that follows from it. */
export const MEASURED: readonly Known[] = [...LIVE, 'network'];
/** What the flat plan can be coloured by: the choices of the world, then every other metric of the live twin. */
export type PaintBy = ColourBy | Live;
const otherwise = LIVE.filter((metric) => !(coloured as readonly Metric[]).includes(metric) && !rowOf(metric).isWorstLow); // a colour says: the more, the worse
export const PAINTED_BY: readonly PaintBy[] = [...COLOUR_BY, ...otherwise];

export function isColour(paintBy: PaintBy): paintBy is ColourBy {
  return (COLOUR_BY as readonly string[]).includes(paintBy);
}

/** The metric that a choice shows as colour; null: the state. */
export function paintedMetric(paintBy: PaintBy): Known | null {
  if (paintBy === 'status') return null;
  return isColour(paintBy) ? COLOURED[paintBy] : paintBy;
}

/** The value of a metric at a seat of the twin; NaN is unknown. */
export function valueAt(columns: Readonly<Record<Live, ArrayLike<number>>>, metric: Known, seat: number): number {
  const { sum } = rowOf(metric);
  return sum ? sum.reduce((all, one) => all + (columns[one][seat] as number), 0) : (columns[metric as Live][seat] as number);
}
