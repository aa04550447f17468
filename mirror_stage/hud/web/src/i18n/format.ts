/** Values as people read them, in one language. Pure: `index.svelte.ts` holds the language. */

import { rowOf, type Metric } from '../metrics';
import { isRepeated } from '../store/zone';
import type { Dictionary } from './en';

/** Shown for what is not known: never an invented number. */
export const UNKNOWN = '–';

export interface Format {
  /** 42.5; `digits` after the point, always that many */
  number(value: number | null | undefined, digits?: number): string;
  /** 42.5% of a value from 0 to 100 */
  percent(value: number | null | undefined, digits?: number): string;
  /** 42% of a value from 0 to 1 */
  ratio(value: number | null | undefined): string;
  celsius(value: number | null | undefined): string;
  /** A value of a metric in its unit */
  metric(metric: Metric, value: number | null | undefined, digits?: number): string;
  /** A rate given in Gbit/s, in the unit that suits it and the person's choice of bits or bytes */
  rate(gbps: number | null | undefined): string;
  /** Binary multiples: 15.6 GiB */
  bytes(value: number | null | undefined): string;
  /** 2.9 d */
  days(value: number | null | undefined, digits?: number): string;
  /** Decimal multiples, always of bytes: 15.6 MB/s */
  byteRate(value: number | null | undefined): string;
  /** A length of time in its two largest units, without one that is nothing: 3 d 4 h; 1 min */
  duration(seconds: number | null | undefined): string;
  /** A length of time in its largest unit, for ages: 12 s, 3 min */
  age(seconds: number | null | undefined): string;
  /** 14:03:27; with its zone in an hour that comes twice: 01:15:00 EDT */
  time(at: number | string | null | undefined): string;
  /** Tue, 24 Nov; with the year if it is not this one */
  date(at: number | string | null | undefined): string;
  /** Whether two instants show the same date */
  sameDay(one: number | string, other: number | string): boolean;
  /** 24 Nov, 14:03:27; with the year and the zone as above */
  dateTime(at: number | string | null | undefined): string;
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const RATE_UNITS = { bits: ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s'], bytes: ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s'] };

export function formatIn(language: string, words: Dictionary, rates: 'bits' | 'bytes', now = Date.now): Format {
  const byDigits = new Map<number, Intl.NumberFormat>();
  const byOptions = new Map<string, Intl.DateTimeFormat>();
  const clock: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
  const day: Intl.DateTimeFormatOptions = { month: 'short', day: 'numeric' };

  /** An instant in a form, with what is needed to tell it from another one: the year, the zone. */
  function moment(at: number | string | null | undefined, form: Intl.DateTimeFormatOptions): string {
    const instant = new Date(at ?? NaN);
    if (Number.isNaN(instant.getTime())) return UNKNOWN;
    const options = { ...form };
    if (form.day && instant.getFullYear() !== new Date(now()).getFullYear()) options.year = 'numeric';
    if (form.hour && isRepeated(instant.getTime() / 1000)) options.timeZoneName = 'short';
    const key = Object.keys(options).join();
    const formatter = byOptions.get(key) ?? new Intl.DateTimeFormat(language, options);
    byOptions.set(key, formatter);
    return formatter.format(instant);
  }

  function number(value: number | null | undefined, digits = 0): string {
    if (isUnknown(value)) return UNKNOWN;
    let formatter = byDigits.get(digits);
    if (!formatter) {
      formatter = new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
      byDigits.set(digits, formatter);
    }
    return formatter.format(value);
  }

  function scaled(value: number, step: number, units: readonly string[]): string {
    let size = 0;
    while (Math.abs(value) >= step && size < units.length - 1) {
      value /= step;
      size++;
    }
    const digits = size === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
    return `${number(value, digits)} ${units[size] ?? ''}`;
  }

  /** The two largest units of a length of time, without those that are nothing */
  function lengthOf(seconds: number): string[] {
    const whole = Math.max(0, Math.floor(seconds));
    const { units } = words;
    const parts = [
      [Math.floor(whole / 86_400), units.days],
      [Math.floor(whole / 3_600) % 24, units.hours],
      [Math.floor(whole / 60) % 60, units.minutes],
      [whole % 60, units.seconds],
    ] as const;
    const first = parts.findIndex(([amount]) => amount > 0);
    return first === -1 ? [] : parts.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => unit(number(amount)));
  }

  const known = (write: (value: number, digits: number) => string) => (value: number | null | undefined, digits = 0): string =>
    isUnknown(value) ? UNKNOWN : write(value, digits);
  /** How the values of each unit are written */
  const units = {
    percent: known((value, digits) => `${number(value, digits)}%`),
    ratio: known((value) => `${number(value * 100)}%`),
    celsius: known((value) => `${number(value)} °C`),
    rate: known((gbps) => scaled((gbps * 1e9) / (rates === 'bytes' ? 8 : 1), 1000, RATE_UNITS[rates])),
    bytes: known((value) => scaled(value, 1024, BYTE_UNITS)),
    byteRate: known((value) => scaled(value, 1000, RATE_UNITS.bytes)),
    days: known((value, digits) => words.units.days(number(value, digits))),
    plain: number,
  };

  return {
    ...units,
    number,
    metric: (metric, value, digits = rowOf(metric).decimals ?? 0) => units[rowOf(metric).unit](value, digits),
    duration: (seconds) => (isUnknown(seconds) ? UNKNOWN : lengthOf(seconds).join(' ') || words.units.seconds('0')),
    age: (seconds) => (isUnknown(seconds) ? UNKNOWN : (lengthOf(seconds)[0] ?? words.units.seconds('0'))),
    time: (at) => moment(at, clock),
    date: (at) => moment(at, { weekday: 'short', ...day }),
    sameDay: (one, other) => new Date(one).toDateString() === new Date(other).toDateString(),
    dateTime: (at) => moment(at, { ...day, ...clock }),
  };
}

function isUnknown(value: number | null | undefined): value is null | undefined {
  return value === null || value === undefined || !Number.isFinite(value);
}
