import { expect, test } from 'vitest';
import { hashOf, HOME, placeOf } from '../../src/store/url';

test('home is the shortest address, and every address that says nothing is home', () => {
  expect(hashOf(HOME)).toBe('#/');
  for (const hash of ['', '#', '#/', '#/?']) expect(placeOf(hash)).toEqual(HOME);
});

test.each([
  { ...HOME, screen: 'table', query: 'cpu>80 rack:"Hall B"', sort: '-cpuLoad' },
  { ...HOME, screen: 'host', subject: 'db 01/한글?#&' },
  { ...HOME, selected: ['a,b', 'c%d', '호스트'] },
  { ...HOME, paintBy: 'memory' as const, groupBy: 'room' as const, at: '2026-11-24T12:00:00.000Z', wall: true, language: 'ko' as const },
  { ...HOME, screen: 'history', more: { range: '6h', tool: 'console' } },
])('a place survives its address: $screen $subject', (place) => {
  expect(placeOf(hashOf(place))).toEqual(place);
});

test('nonsense in an address is left out', () => {
  expect(placeOf('#/table?colour=loud&group=&at=yesterday&lang=fr&wall=yes')).toEqual({ ...HOME, screen: 'table' });
  expect(placeOf('#/host/%E0%A4%A')).toEqual({ ...HOME, screen: 'host' });
});

test('what stands before the hash counts too, so that ?wall=1 can be typed', () => {
  expect(placeOf('', '?wall=1&lang=ko')).toEqual({ ...HOME, wall: true, language: 'ko' });
  expect(placeOf('#/?lang=en', '?lang=ko').language).toBe('en');
});
