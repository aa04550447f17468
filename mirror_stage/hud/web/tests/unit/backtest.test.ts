import { expect, test } from 'vitest';
import { between, lanesOf, secondsOf, spanOf, type Mark } from '../../src/ui/backtest';

const mark = (hostname: string, from: string, to: string | null = null): Mark => ({ hostname, subject: null, from: `2026-01-0${from}T00:00:00Z`, to: to && `2026-01-0${to}T00:00:00Z`, isCertain: true });

test('each host has a line, the one with most marks first', () => {
  const { lanes, left } = lanesOf([mark('b', '1'), mark('web-10', '2'), mark('web-9', '2'), mark('b', '3')], 2);
  expect(lanes.map(({ hostname, marks }) => [hostname, marks.length])).toEqual([['b', 2], ['web-9', 1]]);
  expect(left).toBe(1);
});

test('a mark lies within the time line, and one that lasts goes to its end', () => {
  const [from, to] = ['2026-01-02T00:00:00Z', '2026-01-06T00:00:00Z'];
  expect(spanOf(mark('a', '3', '4'), from, to)).toEqual({ start: 0.25, length: 0.25 });
  expect(spanOf(mark('a', '1'), from, to)).toEqual({ start: 0, length: 1 });
  expect(spanOf(mark('a', '3'), from, from)).toEqual({ start: 0, length: 0 });
});

test('a wait is read as a rule writes it, and bounds that agree are one number', () => {
  expect(['90s', '3m', '2h', '1d', '0s', 'soon'].map(secondsOf)).toEqual([90, 180, 7_200, 86_400, 0, NaN]);
  expect([between(3, 3, String), between(3, 5, String)]).toEqual(['3', '3–5']);
});
