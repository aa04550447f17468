/** What the screen of a back-test works out: where its marks stand on a time line, and which `for` is the rule's own. Pure. */

import type { BackTest } from '../net/openapi';

export type Mark = BackTest['marks'][number];

export interface Lane {
  readonly hostname: string;
  readonly marks: readonly Mark[];
}

/** A line for each host, the one with the most marks first; at most so many. */
export function lanesOf(marks: readonly Mark[], most: number): { lanes: Lane[]; left: number } {
  const byHost = new Map<string, Mark[]>();
  for (const mark of marks) byHost.set(mark.hostname, [...(byHost.get(mark.hostname) ?? []), mark]);
  const all = [...byHost].map(([hostname, its]): Lane => ({ hostname, marks: its }));
  all.sort((one, other) => other.marks.length - one.marks.length || one.hostname.localeCompare(other.hostname, 'en', { numeric: true }));
  return { lanes: all.slice(0, most), left: Math.max(0, all.length - most) };
}

/** Where an instant stands between two others, 0 to 1. */
export function shareOf(at: string, from: string, to: string): number {
  const [start, end] = [Date.parse(from), Date.parse(to)];
  return end > start ? Math.min(Math.max((Date.parse(at) - start) / (end - start), 0), 1) : 0;
}

/** Where a mark begins, and how long it is, as shares of the time line. */
export function spanOf(mark: Mark, from: string, to: string): { start: number; length: number } {
  const start = shareOf(mark.from, from, to);
  return { start, length: shareOf(mark.to ?? to, from, to) - start };
}

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** The seconds of a wait as a rule has it: `90s`, `3m`; NaN if it is none. */
export function secondsOf(wait: string): number {
  const [, amount, unit = ''] = /^(\d+)([smhd])$/.exec(wait.trim()) ?? [];
  return Number(amount) * (SECONDS[unit] ?? NaN);
}

/** A number that is known between two bounds: `14`, or `14–16` */
export function between(least: number, most: number, write: (value: number) => string): string {
  return least === most ? write(least) : `${write(least)}–${write(most)}`;
}
