/** Stretches of time: which one the history shows, how finely it asks, and where a zoom leads. Pure. */

/** Seconds that each span reaches back. */
export const SPANS = { '15m': 900, '1h': 3_600, '6h': 21_600, '24h': 86_400, '7d': 604_800 } as const;
export type Span = keyof typeof SPANS;

/** Seconds since 1970. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** A span moves on with the clock; a stretch stays where it is. */
export type Range = { readonly span: Span } | Stretch;

export const LEAST_SECONDS = 60;
const MOST_SECONDS = 2 * 366 * 86_400;
const EARLIEST = Date.parse('2000-01-01T00:00:00Z') / 1000;

/** What EGO can be asked for: from a minute on it has whole minutes only. */
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800] as const;

/** The range that the address says: `from` and `to`, else `range`, else `usual`; nonsense is as if it were not there. */
export function rangeOf(said: Readonly<Record<string, string>>, usual: Span): Range {
  const from = Date.parse(said.from ?? '') / 1000;
  const to = Date.parse(said.to ?? '') / 1000;
  if (to - from >= 1 && from >= EARLIEST) return { from, to };
  return { span: Object.hasOwn(SPANS, said.range ?? '') ? (said.range as Span) : usual };
}

/** The same for the address; null: nothing is to be said. */
export function saidOf(range: Range, usual: Span): { range: string | null; from: string | null; to: string | null } {
  if ('span' in range) return { range: range.span === usual ? null : range.span, from: null, to: null };
  return { range: null, from: isoOf(range.from), to: isoOf(range.to) };
}

/** Where a range lies when it is `now`. */
export function stretchOf(range: Range, now: number): Stretch {
  return 'span' in range ? { from: now - SPANS[range.span], to: now } : range;
}

/** Seconds between two points, so that a stretch has at most `points` of them. */
export function stepOf({ from, to }: Stretch, points: number): number {
  const least = (to - from) / points;
  return STEPS.find((step) => step >= least) ?? (STEPS.at(-1) as number);
}

/** What lies between two instants, whichever comes first; null if that is too short to be meant. */
export function between(one: number, other: number): Stretch | null {
  const from = Math.floor(Math.min(one, other));
  const to = Math.ceil(Math.max(one, other));
  return to - from < LEAST_SECONDS / 4 ? null : around((from + to) / 2, Math.max(to - from, LEAST_SECONDS));
}

/** `factor` 2: twice as long, with the same middle; it ends by now. */
export function scaled(stretch: Stretch, factor: number, now: number): Stretch {
  const length = Math.min(Math.max((stretch.to - stretch.from) * factor, LEAST_SECONDS), MOST_SECONDS);
  return untilNow(around((stretch.from + stretch.to) / 2, length), now);
}

/** Moved by a part of its length, -0.5 back by half; it ends by now. */
export function moved(stretch: Stretch, part: number, now: number): Stretch {
  const way = Math.round((stretch.to - stretch.from) * part);
  return untilNow({ from: stretch.from + way, to: stretch.to + way }, now);
}

/** The text of an instant for the address, to the second. */
export function isoOf(seconds: number): string {
  return new Date(Math.round(seconds) * 1000).toISOString().replace('.000Z', 'Z');
}

function around(middle: number, length: number): Stretch {
  return { from: Math.round(middle - length / 2), to: Math.round(middle + length / 2) };
}

function untilNow(stretch: Stretch, now: number): Stretch {
  const over = Math.max(0, Math.ceil(stretch.to - now));
  return { from: Math.max(EARLIEST, stretch.from - over), to: stretch.to - over };
}
