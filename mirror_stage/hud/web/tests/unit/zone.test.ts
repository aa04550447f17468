/** Clocks on walls: hours that come twice, hours and midnights that are skipped, halves and quarters, in several zones. */

import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';

const own = process.env.TZ;
const at = (text: string): number => Date.parse(text) / 1000;
const HOUR = 3600;
const DAY = 24 * HOUR;

afterAll(() => {
  if (own === undefined) delete process.env.TZ;
  else process.env.TZ = own;
});

/** The modules anew: what they remember is of another zone. */
async function inZone(zone: string) {
  process.env.TZ = zone;
  expect(Intl.DateTimeFormat().resolvedOptions().timeZone).toBe(new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone);
  const { instantsOf, localOf, ticksOf } = await import('../../src/store/zone');
  const { timeTicks } = await import('../../src/ui/chart');
  const { formatIn } = await import('../../src/i18n/format');
  const { en } = await import('../../src/i18n/en');
  const labels = (from: string, to: string, step: number): string[] => timeTicks(ticksOf(at(from), at(to), step), step, 'en', at(to) * 1000);
  return { instantsOf, localOf, ticksOf, labels, f: formatIn('en', en, 'bits', () => Date.parse('2026-11-27T00:00:00Z')) };
}

beforeEach(() => vi.resetModules());

const ZONES = [
  'UTC', 'Asia/Seoul', 'America/New_York', 'Europe/London', 'Africa/Cairo', 'America/Santiago', 'America/Havana', 'Asia/Kolkata',
  'Asia/Kathmandu', 'Australia/Lord_Howe', 'Pacific/Chatham', 'America/St_Johns', 'Pacific/Apia', 'Africa/Casablanca',
];

describe.each(ZONES)('in %s', (zone) => {
  test('every quarter of an hour of the year comes back from the field that it is written into', async () => {
    const { instantsOf, localOf } = await inZone(zone);
    const quarters = Array.from({ length: 366 * 96 }, (_, place) => at('2026-01-01T00:00:00Z') + place * 900);
    expect(quarters.filter((instant) => !instantsOf(localOf(instant)).includes(instant))).toEqual([]);
  });

  test('every day of the year has one tick, where it begins', async () => {
    const { ticksOf, labels } = await inZone(zone);
    const ticks = ticksOf(at('2026-01-01T12:00:00Z'), at('2026-12-31T12:00:00Z'), DAY);
    const dates = ticks.map((tick) => new Date(tick * 1000).toDateString());
    expect(new Set(dates).size).toBe(dates.length);
    expect(dates.length).toBeGreaterThanOrEqual(364);
    expect(ticks.filter((tick, place) => new Date(tick * 1000 - 1000).toDateString() === dates[place])).toEqual([]);
    expect(new Set(labels('2026-03-01T12:00:00Z', '2026-11-30T12:00:00Z', DAY)).size).toBe(274);
  });
});

describe('New York, where the hour from 1 to 2 came twice on 1 November 2026', () => {
  test('a time in it is two instants, and each is told from the other', async () => {
    const { instantsOf, localOf, f } = await inZone('America/New_York');
    expect(localOf(at('2026-11-01T06:15:00Z'))).toBe('2026-11-01T01:15:00');
    expect(instantsOf('2026-11-01T01:15')).toEqual([at('2026-11-01T05:15:00Z'), at('2026-11-01T06:15:00Z')]);
    expect(f.dateTime('2026-11-01T05:15:00Z')).toBe('Nov 1, 01:15:00 EDT');
    expect(f.dateTime('2026-11-01T06:15:00Z')).toBe('Nov 1, 01:15:00 EST');
    expect(f.time('2026-11-01T07:15:00Z')).toBe('02:15:00');
  });

  test('the axis goes through both', async () => {
    const { labels } = await inZone('America/New_York');
    expect(labels('2026-11-01T03:00:00Z', '2026-11-01T08:00:00Z', HOUR)).toEqual(['23:00', 'Nov 1', '01:00', '01:00', '02:00', '03:00']);
  });

  test('the hour that was skipped on 8 March is taken by the clock before, and an empty field is no time', async () => {
    const { instantsOf } = await inZone('America/New_York');
    expect(instantsOf('2026-03-08T02:30')).toEqual([at('2026-03-08T07:30:00Z')]);
    expect(instantsOf('')).toEqual([]);
  });
});

test('a day without midnight begins at one', async () => {
  const { labels } = await inZone('Africa/Cairo');
  expect(labels('2026-04-22T00:00:00Z', '2026-04-26T00:00:00Z', DAY)).toEqual(['Apr 23', 'Apr 24', 'Apr 25', 'Apr 26']);
  expect(labels('2026-04-23T20:00:00Z', '2026-04-24T00:00:00Z', HOUR)).toEqual(['22:00', '23:00', 'Apr 24', '02:00', '03:00']);
});

test('an axis of more than an hour has room for one of two equal hours, also where midnight comes twice', async () => {
  const berlin = await inZone('Europe/Berlin');
  expect(berlin.labels('2026-10-24T20:00:00Z', '2026-10-25T05:00:00Z', 2 * HOUR)).toEqual(['22:00', 'Oct 25', '02:00', '04:00', '06:00']);
  vi.resetModules();
  const havana = await inZone('America/Havana');
  expect(havana.labels('2026-10-31T16:00:00Z', '2026-11-01T17:00:00Z', 12 * HOUR)).toEqual(['12:00', 'Nov 1', '12:00']);
  expect(havana.labels('2026-11-01T03:00:00Z', '2026-11-01T07:00:00Z', HOUR)).toEqual(['23:00', 'Nov 1', '00:00', '01:00', '02:00']);
});

test.each([['Asia/Kolkata', '18:30'], ['Asia/Kathmandu', '18:15'], ['Asia/Seoul', '15:00']])('hours are whole in %s', async (zone, midnight) => {
  const { labels } = await inZone(zone);
  expect(labels(`2026-06-01T${midnight}:00Z`, '2026-06-01T21:00:00Z', HOUR).slice(0, 3)).toEqual(['Jun 2', '01:00', '02:00']);
});

test('an axis of months and years, and a moment of another year, say the year', async () => {
  const { labels, f } = await inZone('Asia/Seoul');
  expect(labels('2024-10-15T00:00:00Z', '2025-02-15T00:00:00Z', 30 * DAY)).toEqual(['Nov 2024', 'Dec', 'Jan 2025', 'Feb']);
  expect(labels('2023-06-01T00:00:00Z', '2026-06-01T00:00:00Z', 365 * DAY)).toEqual(['2024', '2025', '2026']);
  expect(labels('2025-12-30T00:00:00Z', '2026-01-02T00:00:00Z', DAY)).toEqual(['Dec 31, 2025', 'Jan 1, 2026', 'Jan 2']);
  expect(f.dateTime('2024-11-24T12:00:00Z')).toBe('Nov 24, 2024, 21:00:00');
  expect(f.date('2024-11-24T12:00:00Z')).toBe('Sun, Nov 24, 2024');
  expect(f.dateTime('2026-11-24T12:00:00Z')).toBe('Nov 24, 21:00:00');
});
