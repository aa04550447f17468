/**
 * Instants and what a clock on the wall shows, in the browser's zone. A clock that is put back shows an hour twice, one
 * that is put forward skips one; both may happen at midnight, and by half an hour. Pure but for the zone.
 */

const HOUR = 3_600;
const DAY = 24 * HOUR;
const MONTH = 30 * DAY;
const YEAR = 365 * DAY;

/** What a clock on the wall shows at an instant, as if it were UTC: seconds since 1970. */
function shownAt(seconds: number): number {
  return seconds - new Date(seconds * 1000).getTimezoneOffset() * 60;
}

/** Every instant at which the clock shows this: two in an hour that comes twice, none in one that is skipped. */
function instantsShowing(shown: number): number[] {
  const offsets = new Set([-DAY, 0, DAY].map((away) => shownAt(shown + away) - (shown + away)));
  return [...offsets].map((offset) => shown - offset).filter((instant) => shownAt(instant) === shown).sort((one, other) => one - other);
}

/** What `<input type="datetime-local">` holds for an instant. */
export function localOf(seconds: number): string {
  return new Date(shownAt(Math.round(seconds)) * 1000).toISOString().slice(0, 19);
}

/** Every instant of such a text, in order. A time that is skipped is taken as by the clock before; no time has none. */
export function instantsOf(local: string): number[] {
  const shown = Date.parse(`${local}Z`) / 1000;
  if (Number.isNaN(shown)) return [];
  const found = instantsShowing(shown);
  return found.length > 0 ? found : [Date.parse(local) / 1000];
}

/** Whether the clock shows this time twice. */
export function isRepeated(seconds: number): boolean {
  return instantsShowing(shownAt(Math.floor(seconds))).length > 1;
}

/** The ticks of an axis of time: where the clock shows whole steps. Of an hour that comes twice, longer steps take the first. */
export function ticksOf(from: number, to: number, step: number): number[] {
  const [first, last] = [Math.min(shownAt(from), shownAt(to)) - DAY, Math.max(shownAt(from), shownAt(to)) + DAY];
  const found = new Set<number>();
  for (const shown of wholeSteps(first, last, step)) {
    const instants = instantsShowing(shown);
    const isDay = shown % DAY === 0;
    if (instants.length === 0 && isDay) instants.push(Date.parse(new Date(shown * 1000).toISOString().slice(0, 19)) / 1000);
    for (const instant of step <= HOUR ? instants : instants.slice(0, 1)) if (instant >= from && instant <= to) found.add(instant);
  }
  return [...found].sort((one, other) => one - other);
}

function wholeSteps(first: number, last: number, step: number): number[] {
  if (step < MONTH) {
    const start = Math.floor(first / step) * step;
    return Array.from({ length: Math.ceil((last - start) / step) + 1 }, (_, place) => start + place * step);
  }
  const months = step < YEAR ? Math.round(step / MONTH) : Math.round(step / YEAR) * 12;
  const monthOf = (shown: number): number => new Date(shown * 1000).getUTCFullYear() * 12 + new Date(shown * 1000).getUTCMonth();
  const start = Math.floor(monthOf(first) / months) * months;
  return Array.from({ length: Math.floor((monthOf(last) - start) / months) + 1 }, (_, place) => Date.UTC(2000, start - 24_000 + place * months) / 1000);
}
