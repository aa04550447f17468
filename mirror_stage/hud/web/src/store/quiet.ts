/** Silences, maintenance and mute times: what a form holds, what EGO is sent, and how hours of the week are written. Pure but for the zone. */

import type { Incident } from './incidents';
import { instantsOf, localOf } from './zone';

export const QUIET_KINDS = ['silences', 'maintenance', 'mute-times'] as const;
export type QuietKind = (typeof QUIET_KINDS)[number];
export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

/** What a form holds, by field */
export type Values = Record<string, string | boolean | readonly string[]>;

export interface Hours {
  readonly weekdays: readonly string[];
  readonly from: string;
  readonly to: string;
  readonly zone: string;
}

/** One of the three, as EGO shows it: each has some of these. */
export interface Quiet extends Partial<Hours> {
  readonly id?: string;
  readonly name?: string;
  readonly state: 'waiting' | 'on' | 'over';
  readonly by: string;
  readonly where?: string | null;
  readonly rule?: string | null;
  readonly hostname?: string | null;
  readonly subject?: string | null;
  readonly upTo?: string;
  readonly beginsAt?: string;
  readonly endsAt?: string | null;
  readonly weekly?: Hours | null;
  readonly until?: string | null;
  readonly nextAt?: string | null;
  readonly note?: string;
}

export const idOf = (one: Quiet): string => one.id ?? one.name ?? '';

export const hoursOf = (one: Quiet): Hours | null => one.weekly ?? (one.weekdays ? (one as Hours) : null);

/** `Mon–Fri, Sun`; `names` begin with Monday. */
export function daysText(days: readonly string[], names: readonly string[]): string {
  const runs: number[][] = [];
  WEEKDAYS.forEach((day, place) => {
    if (!days.includes(day)) return;
    const last = runs.at(-1);
    if (last?.at(-1) === place - 1) last.push(place);
    else runs.push([place]);
  });
  return runs.flatMap((run) => (run.length > 2 ? [`${names[run[0] as number]}–${names[run.at(-1) as number]}`] : run.map((place) => names[place]))).join(', ');
}

/** Milliseconds of what `<input type="datetime-local">` holds, as EGO takes it; null if it is empty. */
export function instantOf(local: string): string | null {
  const [seconds] = instantsOf(local);
  return seconds === undefined ? null : new Date(seconds * 1000).toISOString();
}

const localAt = (at: string | null | undefined): string => (at ? localOf(Date.parse(at) / 1000).slice(0, 16) : '');

/** What the form of a new one holds, or that of one that is there. */
export function valuesOf(kind: QuietKind, zone: string, one?: Quiet): Values {
  const hours = one ? hoursOf(one) : null;
  const weekly = { weekdays: hours?.weekdays ?? [], from: hours?.from ?? '22:00', to: hours?.to ?? '07:00', zone: hours?.zone ?? zone };
  if (kind === 'mute-times') return { name: one?.name ?? '', ...weekly };
  const lasts = one?.endsAt ? 'until' : '3600';
  const begins = one && one.state === 'waiting' ? localAt(one.beginsAt) : '';
  const span = { where: one?.where ?? '', lasts, until: localAt(one?.endsAt), beginsAt: begins, note: one?.note ?? '', confirm: false };
  return kind === 'silences' ? { ...span, rule: one?.rule ?? '', upTo: one?.upTo ?? '' } : { ...span, isWeekly: hours !== null, ...weekly };
}

/** What EGO is sent. `one` is the one that is changed: of a silence of one alert the alert stays. */
export function bodyOf(kind: QuietKind, values: Values, one?: Quiet): Record<string, unknown> {
  const text = (name: string): string => String(values[name] ?? '').trim();
  const hours = { weekdays: values.weekdays, from: text('from'), to: text('to'), zone: text('zone') };
  if (kind === 'mute-times') return one ? hours : { name: text('name'), ...hours };
  const ends = values.lasts === 'until' || values.isWeekly ? { endsAt: instantOf(text('until')) } : { lastsSeconds: Number(values.lasts) };
  const span = { beginsAt: instantOf(text('beginsAt')), ...ends, note: text('note'), confirm: values.confirm === true };
  if (kind === 'maintenance') return { where: text('where'), weekly: values.isWeekly ? hours : null, ...span };
  const whom = one?.hostname ? { hostname: one.hostname, rule: one.rule, subject: one.subject } : { where: text('where'), rule: text('rule') || null };
  return { ...whom, upTo: text('upTo') || null, ...span };
}

const SELECTOR_MAX = 1_000;
const quoted = (value: string): string => (/[\s,"]/.test(value) ? `"${value.replaceAll('"', '?')}"` : value);

/** Whom a silence of an incident is for: its hosts by name, or, where these are too many to be written, its place. */
export function selectorOf({ kind, name, hostnames }: Pick<Incident, 'kind' | 'name' | 'hostnames'>): string {
  const named = `host:${hostnames.map(quoted).join(',')}`;
  if (named.length <= SELECTOR_MAX) return named;
  return kind === 'rack' || kind === 'room' ? `${kind}:${quoted(name)}` : '*';
}
