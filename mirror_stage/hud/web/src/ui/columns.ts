/** The columns of the host table, one row each: what stands in it, how it sorts, how it is written to a file. */

import type { Dictionary } from '../i18n/en';
import type { Format } from '../i18n/format';
import type { Rule } from '../net/openapi';
import type { HostEntry } from '../net/wire';
import { STATES, urgencyOf } from '../store/status';
import type { Columns, Twin } from '../store/twin';

export interface Row {
  entry: HostEntry;
  columns: Columns;
  seat: number;
  now: number;
}

/** From which value EGO's rules call a host a warning: 0 nothing, 1 warning, 2 critical. Unknown rules judge nothing. */
export type Judge = (rule: string, value: number) => 0 | 1 | 2;

const CRITICAL_LOAD = 1; // of link_congestion, which is one rule with two severities

export function judgeOf(rules: readonly Rule[]): Judge {
  const byName = new Map(rules.map((rule) => [rule.name, rule]));
  return (name, value) => {
    const rule = byName.get(name);
    if (!rule || !(value >= rule.fireAt)) return 0;
    if (name === 'link_congestion') return value >= CRITICAL_LOAD ? 2 : 1;
    return rule.severity === 'critical' ? 2 : rule.severity === 'warning' ? 1 : 0;
  };
}

export interface Column {
  readonly id: string;
  label(t: Dictionary): string;
  readonly isNumber: boolean;
  /** rem; fixed, so that nothing moves while numbers do */
  readonly width: number;
  /** What it sorts by; NaN and '' come last either way */
  sortKey(row: Row): number | string;
  text(row: Row, t: Dictionary, f: Format): string;
  /** What a file gets: numbers unrounded, in the unit of `fileUnit` */
  fileValue(row: Row, t: Dictionary): string | number | null;
  readonly fileUnit?: string;
  /** The length of a bar beside the number, 0 to 1 */
  share?(row: Row): number;
  /** EGO's rule about this number */
  readonly rule?: string;
}

type Gauge = NumberColumn & keyof Dictionary['metrics'];
type NumberColumn = { [Name in keyof Columns]: Columns[Name] extends Float32Array | Float64Array ? Name : never }[keyof Columns];

const gauge = (
  id: Gauge,
  width: number,
  fileUnit: string,
  write: (value: number, f: Format) => string,
  more: Pick<Column, 'rule'> & { full?: number } = {},
): Column => {
  const { full, ...rest } = more;
  return {
    id,
    width,
    label: (t) => t.metrics[id],
    isNumber: true,
    sortKey: (row) => row.columns[id][row.seat] as number,
    text: (row, _t, f) => write(row.columns[id][row.seat] as number, f),
    fileValue: (row) => row.columns[id][row.seat] as number,
    fileUnit,
    ...(full === undefined ? {} : { share: (row: Row) => (row.columns[id][row.seat] as number) / full }),
    ...rest,
  };
};

type Field = 'ip' | 'rack' | 'room' | 'tier' | 'platform' | 'agentVersion' | 'uplink';

const field = (id: Field, width: number): Column => ({
  id,
  width,
  label: (t) => t.fields[id],
  isNumber: false,
  sortKey: (row) => row.entry[id] ?? '',
  text: (row) => row.entry[id] ?? '',
  fileValue: (row) => row.entry[id],
});

const throughput = (row: Row): number => (row.columns.rxGbps[row.seat] as number) + (row.columns.txGbps[row.seat] as number);
const age = (row: Row): number => (row.now - (row.columns.lastSeenAt[row.seat] as number)) / 1000;
const JUST_NOW_SECONDS = 3;

/** The host's name has its own column, always the first; all widths are the least, and grow alike. */
export const NAME: Column = {
  id: 'hostname',
  width: 8.5,
  label: (t) => t.fields.hostname,
  isNumber: false,
  sortKey: (row) => row.entry.displayName,
  text: (row) => row.entry.displayName,
  fileValue: (row) => row.entry.hostname,
};

export const COLUMNS: readonly Column[] = [
  {
    id: 'state',
    width: 5.75,
    label: (t) => t.fields.state,
    isNumber: false,
    sortKey: (row) => -urgencyOf(row.columns.state[row.seat] as number),
    text: (row, t) =>
      row.entry.isSynthetic ? t.virtual : t.states[STATES[row.columns.state[row.seat] as number] ?? 'ok'],
    fileValue: (row) => STATES[row.columns.state[row.seat] as number] ?? null,
  },
  {
    ...field('ip', 7.25),
    sortKey: (row) => (row.entry.ip ?? '').split('.').map((part) => part.padStart(3, '0')).join('.').replace(/^000$/, ''),
  },
  field('rack', 4.5),
  field('room', 6.5),
  field('tier', 6.5),
  gauge('cpuLoad', 8.25, '%', (value, f) => f.percent(value, 1), { full: 100, rule: 'cpu_load_high' }),
  gauge('memoryUsedPercent', 8.25, '%', (value, f) => f.percent(value, 1), { full: 100, rule: 'memory_high' }),
  gauge('loadAverage', 5.5, '', (value, f) => f.number(value, 2)),
  gauge('cpuTemperature', 5.75, '°C', (value, f) => f.celsius(value), { rule: 'cpu_temperature_high' }),
  gauge('gpuTemperature', 7.5, '°C', (value, f) => f.celsius(value), { rule: 'gpu_temperature_high' }),
  {
    id: 'network',
    width: 6.5,
    label: (t) => t.metrics.network,
    isNumber: true,
    sortKey: throughput,
    text: (row, _t, f) => f.rate(throughput(row)),
    fileValue: throughput,
    fileUnit: 'Gbit/s',
  },
  gauge('rxGbps', 7.5, 'Gbit/s', (value, f) => f.rate(value)),
  gauge('txGbps', 7.5, 'Gbit/s', (value, f) => f.rate(value)),
  gauge('utilization', 7.5, '0-1', (value, f) => f.ratio(value), { full: 1, rule: 'link_congestion' }),
  gauge('memoryTotalBytes', 7, 'B', (value, f) => f.bytes(value)),
  gauge('capacityGbps', 7, 'Gbit/s', (value, f) => f.rate(value)),
  field('platform', 10),
  field('agentVersion', 7),
  field('uplink', 8),
  {
    id: 'lastSeen',
    width: 5.5,
    label: (t) => t.fields.lastSeen,
    isNumber: true,
    sortKey: age,
    text: (row, t, f) => {
      const seconds = age(row);
      if (Number.isNaN(seconds)) return row.entry.isSynthetic ? '' : t.units.never;
      return seconds < JUST_NOW_SECONDS ? t.units.now : t.units.ago(f.age(seconds));
    },
    fileValue: age,
    fileUnit: 's',
  },
];

export const USUAL_SORT = 'state';

/** The seats that match, in the order that `sort` asks for ('-cpuLoad' downwards); equal ones keep the order of slots. */
export function sortedSeats(twin: Twin, mask: Uint8Array | null, sort: string, now: number): number[] {
  const isDown = sort.startsWith('-');
  const id = sort.replace(/^-/, '') || USUAL_SORT;
  const column = [NAME, ...COLUMNS].find((one) => one.id === id) ?? (COLUMNS[0] as Column);
  const keys: (number | string)[] = new Array(twin.end);
  const seats: number[] = [];
  for (let seat = 0; seat < twin.end; seat++) {
    const entry = twin.entries[seat];
    if (!entry || (mask && mask[seat] !== 1)) continue;
    keys[seat] = column.sortKey({ entry, columns: twin.columns, seat, now });
    seats.push(seat);
  }
  const way = isDown ? -1 : 1;
  const { slot } = twin.columns;
  return seats.sort((one, other) => {
    const left = keys[one] as number | string;
    const right = keys[other] as number | string;
    const isLeftUnknown = left === '' || Number.isNaN(left);
    const isRightUnknown = right === '' || Number.isNaN(right);
    if (isLeftUnknown !== isRightUnknown) return isLeftUnknown ? 1 : -1;
    const order = isLeftUnknown
      ? 0
      : typeof left === 'string'
        ? natural.compare(left, right as string)
        : left - (right as number);
    return order * way || (slot[one] as number) - (slot[other] as number);
  });
}

const natural = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
