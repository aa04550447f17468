/** The columns of the host table, one row each: what stands in it, how it sorts, how it is written to a file. */

import type { Dictionary } from '../i18n/en';
import type { Format } from '../i18n/format';
import { IN_TABLE, METRICS, UNITS, unitOf, valueAt, type InTable, type Metric } from '../metrics';
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
  /** The metric in it */
  readonly metric?: Metric;
}

/** The column of a metric: all of it follows from the metric's row. */
function metricColumn(id: InTable): Column {
  const { unit, column } = METRICS[id];
  const { width, decimals, bar }: { width: number; decimals?: number; bar?: true } = column;
  const [low, high] = bar ? (unitOf(id).bar ?? [0, 1]) : [0, 1];
  const read = (row: Row): number => valueAt(row.columns, id, row.seat);
  return {
    id,
    width,
    label: (t) => t.metrics[id],
    isNumber: true,
    sortKey: read,
    text: (row, _t, f) => f.metric(id, read(row), decimals),
    fileValue: read,
    fileUnit: UNITS[unit].file,
    ...(bar && { share: (row: Row) => (read(row) - low) / (high - low) }),
    metric: id,
  };
}

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
  ...IN_TABLE.map(metricColumn),
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
/** What a table can be sorted by */
export const SORTS: readonly string[] = [NAME, ...COLUMNS].map((column) => column.id);

/** The seats that match, in the order that `sort` asks for ('-cpuLoad' downwards); equal ones keep the order of slots. */
export function sortedSeats(twin: Twin, mask: Uint8Array | null, sort: string, now: number): number[] {
  const isDown = sort.startsWith('-');
  const id = sort.replace(/^-/, '') || USUAL_SORT;
  const column = [NAME, ...COLUMNS].find((one) => one.id === id) ?? (COLUMNS[0] as Column);
  const keys: (number | string)[] = new Array(twin.end);
  const isAlone = twin.size === 1; // EGO makes up a hub for hosts; without hosts there is nothing to show
  const seats: number[] = [];
  for (let seat = 0; seat < twin.end; seat++) {
    const entry = twin.entries[seat];
    if (!entry || (mask && mask[seat] !== 1) || (entry.isSynthetic && isAlone)) continue;
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
