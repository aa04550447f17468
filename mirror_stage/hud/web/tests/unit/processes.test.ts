import { expect, test } from 'vitest';
import type { ProcessHistory, ProcessMinutes } from '../../src/net/openapi';
import { minuteText, rowsOf, seriesOf, sinceOf } from '../../src/ui/host/processes';

const process = (name: string, cpuPercent: number | null, memoryPercent: number | null, pid = 1) => ({ name, cpuPercent, memoryPercent, pid, username: 'root' });
const since = (at: string) => ({ at, isExact: true });
const noted = (name: string, cpuPercent: number): ProcessMinutes => ({
  name, username: 'root', count: 2, cpuPercent, memoryPercent: 1, cpuSince: since('2026-11-28T14:32:00.000Z'), memorySince: null, cpu: [null, cpuPercent], memory: [1, 1],
});
const history: ProcessHistory = {
  hostname: 'db-1', at: '2026-11-28T15:00:30.000Z', minute: '2026-11-28T15:00:00.000Z', from: '2026-11-28T12:00:30.000Z',
  t: ['2026-11-28T14:59:00.000Z', '2026-11-28T15:00:00.000Z'], items: [noted('b', 7)], total: 1,
};

test('processes stand by what is asked for, the unknown last', () => {
  const some = [process('b', 1, 9), process('a', 5, null), process('c', null, 3)];
  const order = (by: 'name' | 'cpuPercent' | 'memoryPercent') => rowsOf(some, null, by).map((one) => one.name);
  expect(order('cpuPercent')).toEqual(['a', 'b', 'c']);
  expect(order('memoryPercent')).toEqual(['b', 'c', 'a']);
  expect(order('name')).toEqual(['a', 'b', 'c']);
});

test('those of now know their past; without them those of the minute are shown', () => {
  const [live] = rowsOf([process('b', 1, 9, 7)], history, 'cpuPercent');
  expect([live?.notes, live?.cpuPercent, live?.past?.cpuPercent]).toEqual([['7', 'root'], 1, 7]);
  const [past] = rowsOf([], history, 'cpuPercent');
  expect([past?.notes, past?.cpuPercent]).toEqual([['root', '×2'], 7]);
  expect(past && seriesOf(past, history, 'cpuPercent')[1]).toEqual([null, 7]);
  expect(past && [sinceOf(past, 'cpuPercent')?.at, sinceOf(past, 'memoryPercent')]).toEqual(['2026-11-28T14:32:00.000Z', null]);
});

test.each([
  ['14:32:00', '14:32'],
  ['14:00:00', '14:00'],
  ['24 Nov, 14:32:00', '24 Nov, 14:32'],
  ['01:15:00 EDT', '01:15 EDT'],
])('a whole minute is written without its seconds: %s', (text, short) => {
  expect(minuteText(text)).toBe(short);
});
