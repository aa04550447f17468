import { expect, test } from 'vitest';
import { momentOf } from '../../src/store/moment';

/** A Tuesday, half past two in the afternoon, on the clock of whoever runs this. */
const NOW = new Date(2026, 10, 24, 14, 30).getTime();
const on = (day: number, hour = 0, minute = 0, second = 0): number => new Date(2026, 10, day, hour, minute, second).getTime();

test.each<[string, number]>([
  ['03:00', on(24, 3)],
  ['15:00', on(23, 15)], // it is not three yet today
  ['yesterday 03:00', on(23, 3)],
  ['Yesterday at 3 pm', on(23, 15)],
  ['12am', on(24, 0)],
  ['어제 03:00', on(23, 3)],
  ['어제 오후 3시 15분', on(23, 15, 15)],
  ['그저께', on(22)],
  ['오전 12:05', on(24, 0, 5)],
  ['today', on(24)],
  ['Mon 14:30', on(23, 14, 30)],
  ['tuesday 15:00', on(17, 15)],
  ['월요일 9시', on(23, 9)],
  ['2 h ago', NOW - 7_200_000],
  ['-90m', NOW - 5_400_000],
  ['30분 전', NOW - 1_800_000],
  ['3시간 전', NOW - 10_800_000],
  ['2026-11-20', on(20)],
  ['2026-11-20 9:05', on(20, 9, 5)],
  ['2026-11-20T09:05:00Z', Date.UTC(2026, 10, 20, 9, 5)],
])('%s', (text, at) => {
  expect(momentOf(text, NOW)).toBe(at);
});

test.each(['', 'soon', '25:00', 'yesterday 9:75', '13 pm', '2026-13-01', 'today 15:00', '2027-01-01', '5', 'm', 'ago', '2 parsecs ago'])('%j means nothing that has been', (text) => {
  expect(momentOf(text, NOW)).toBeNull();
});
