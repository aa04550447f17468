/** The columns of the host table, one row each: what stands in it, how it sorts, how it is written to a file. */

import type { Dictionary } from '../i18n/en';
import type { Format } from '../i18n/format';
import type { HostEntry } from '../net/wire';
import { STATES, urgencyOf } from '../store/status';
import type { Columns, Twin } from '../store/twin';

export interface Row {
  entry: HostEntry;
  columns: Columns;
  seat: number;
  now: number;
}

export interface Column {
  readonly id: string;
  label(t: Dictionary): string;
  readonly isNumber: boolean;
  /** What it sorts by; NaN and '' come last either way */
  sortKey(row: Row): number | string;
  text(row: Row, t: Dictionary, f: Format): string;
  /** What a file gets: numbers unrounded, in the unit of `fileUnit` */
  fileValue(row: Row, t: Dictionary): string | number | null;
  readonly fileUnit?: string;
  /** A bar from 0 to 1 behind the number */
  share?(row: Row): number;
}

type Gauge = 'cpuLoad' | 'memoryUsedPercent' | 'loadAverage' | 'cpuTemperature' | 'gpuTemperature' | 'utilization' | 'memoryTotalBytes' | 'capacityGbps' | 'rxGbps' | 'txGbps';

const gauge = (id: Gauge, write: (value: number, f: Format) => string, fileUnit: string, full?: number): Column => ({
  id,
  label: (t) => t.metrics[id],
  isNumber: true,
  sortKey: (row) => row.columns[id][row.seat] as number,
  text: (row, _t, f) => write(row.columns[id][row.seat] as number, f),
  fileValue: (row) => row.columns[id][row.seat] as number,
  fileUnit,
  ...(full === undefined ? {} : { share: (row: Row) => (row.columns[id][row.seat] as number) / full }),
});

type Field = 'ip' | 'rack' | 'room' | 'tier' | 'platform' | 'agentVersion' | 'uplink';

const field = (id: Field): Column => ({
  id,
  label: (t) => t.fields[id],
  isNumber: false,
  sortKey: (row) => row.entry[id] ?? '',
  text: (row) => row.entry[id] ?? '',
  fileValue: (row) => row.entry[id],
});

const throughput = (row: Row): number => (row.columns.rxGbps[row.seat] as number) + (row.columns.txGbps[row.seat] as number);
const age = (row: Row): number => (row.now - (row.columns.lastSeenAt[row.seat] as number)) / 1000;

/** The host's name has its own column, always the first. */
export const NAME: Column = {
  id: 'hostname',
  label: (t) => t.fields.hostname,
  isNumber: false,
  sortKey: (row) => row.entry.displayName,
  text: (row) => row.entry.displayName,
  fileValue: (row) => row.entry.hostname,
};

export const COLUMNS: readonly Column[] = [
  {
    id: 'state',
    label: (t) => t.fields.state,
    isNumber: false,
    sortKey: (row) => -urgencyOf(row.columns.state[row.seat] as number),
    text: (row, t) => t.states[STATES[row.columns.state[row.seat] as number] ?? 'ok'] + (row.entry.isSynthetic ? ` (${t.virtual})` : ''),
    fileValue: (row) => STATES[row.columns.state[row.seat] as number] ?? null,
  },
  {
    ...field('ip'),
    sortKey: (row) => (row.entry.ip ?? '').split('.').map((part) => part.padStart(3, '0')).join('.').replace(/^000$/, ''),
  },
  field('rack'),
  field('room'),
  field('tier'),
  gauge('cpuLoad', (value, f) => f.percent(value, 1), '%', 100),
  gauge('memoryUsedPercent', (value, f) => f.percent(value, 1), '%', 100),
  gauge('loadAverage', (value, f) => f.number(value, 2), ''),
  gauge('cpuTemperature', (value, f) => f.celsius(value), '°C'),
  gauge('gpuTemperature', (value, f) => f.celsius(value), '°C'),
  {
    id: 'network',
    label: (t) => t.metrics.network,
    isNumber: true,
    sortKey: throughput,
    text: (row, _t, f) => f.rate(throughput(row)),
    fileValue: throughput,
    fileUnit: 'Gbit/s',
  },
  gauge('rxGbps', (value, f) => f.rate(value), 'Gbit/s'),
  gauge('txGbps', (value, f) => f.rate(value), 'Gbit/s'),
  gauge('utilization', (value, f) => f.ratio(value), '0-1', 1),
  gauge('memoryTotalBytes', (value, f) => f.bytes(value), 'B'),
  gauge('capacityGbps', (value, f) => f.rate(value), 'Gbit/s'),
  field('platform'),
  field('agentVersion'),
  field('uplink'),
  {
    id: 'lastSeen',
    label: (t) => t.fields.lastSeen,
    isNumber: true,
    sortKey: age,
    text: (row, t, f) => {
      const seconds = age(row);
      return Number.isNaN(seconds) ? (row.entry.isSynthetic ? '' : t.units.never) : t.units.ago(f.age(seconds));
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
