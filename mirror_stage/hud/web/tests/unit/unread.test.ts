import { expect, test } from 'vitest';
import { unreadOf } from '../../src/store/unread';

const known = { screens: ['table', 'alerts', 'console', 'history', 'replay', 'host'], sorts: ['state', 'cpuLoad'] };
const unread = (hash: string): string[] => unreadOf(hash, '', known);

test.each([
  '#/', '#/table?q=cpu>80&sort=-cpuLoad&sel=a,b', '#/host/web-1', '#/?at=2026-11-24T12:00:00Z&strip=6h&tool=replay', '#/?wall=1&lang=ko&colour=disk',
  '#/history?from=2026-11-24T12:00:00Z&to=2026-11-24T13:00:00Z&rows=cpuLoad&as=table', '#/history?of=rack:R1&range=7d', '#/console?to=host:a,rack:B&run=x&only=a', '#/alerts?by=host', '#/alerts/rules?rule=cpu_load_high',
])('%s is read in full', (hash) => {
  expect(unread(hash)).toEqual([]);
});

test.each([
  ['#/table?at=yesterday&colour=loud', ['at=yesterday', 'colour=loud']],
  ['#/tabel', ['tabel']],
  ['#/host/%E0%A4%A', ['host/%E0%A4%A']],
  ['#/table?sort=-size&att=2026-11-24T12:00:00Z', ['sort=-size', 'att=2026-11-24T12:00:00Z']],
  ['#/history?of=nonsense&range=3h&rows=cpu', ['of=nonsense', 'range=3h', 'rows=cpu']],
  ['#/console?to=host:a,nonsense', ['to=host:a,nonsense']],
])('%s says what it could not read: %j', (hash, expected) => {
  expect(unread(hash)).toEqual(expected);
});
