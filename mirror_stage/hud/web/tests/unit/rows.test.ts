import { describe, expect, test } from 'vitest';
import { extremeOf } from '../../src/store/extremes';
import { Twin } from '../../src/store/twin';
import { csv, shortest } from '../../src/ui/clipboard';
import { sortedSeats } from '../../src/ui/columns';
import { nextInRack, nextProblem } from '../../src/ui/moves';
import { windowOf } from '../../src/ui/window';
import { delta, host, snapshot } from './frames';

const twin = new Twin();
twin.take(
  snapshot([
    host('web-10', 1, { rack: 'A' }),
    host('web-9', 2, { rack: 'B', severity: 'warning' }),
    host('db', 3, { rack: 'A', severity: 'critical' }),
    host('gone', 4, { rack: 'A' }),
    host('silent', 5, { rack: null }),
  ]),
);
twin.apply(delta([[1, 0, { cpuLoad: 5 }], [2, 0, { cpuLoad: 90 }], [3, 0, { cpuLoad: 50 }], [4, 2], [5, 1, { cpuLoad: 50 }]]));
const names = (seats: number[]): string[] => seats.map((seat) => twin.entries[seat]?.hostname ?? '');

describe('the table', () => {
  test.each([
    ['', ['db', 'gone', 'web-9', 'silent', 'web-10']],
    ['hostname', ['db', 'gone', 'silent', 'web-9', 'web-10']],
    ['cpuLoad', ['web-10', 'db', 'silent', 'web-9', 'gone']],
    ['-cpuLoad', ['web-9', 'db', 'silent', 'web-10', 'gone']],
    ['-rack', ['web-9', 'web-10', 'db', 'gone', 'silent']],
    ['nonsense', ['db', 'gone', 'web-9', 'silent', 'web-10']],
  ])('sorted by "%s" is %j: what is unknown stands last, either way', (sort, expected) => {
    expect(names(sortedSeats(twin, null, sort, 0))).toEqual(expected);
  });

  test('shows only what matches', () => {
    expect(names(sortedSeats(twin, Uint8Array.from([1, 0, 1, 0, 0]), 'hostname', 0))).toEqual(['db', 'web-10']);
  });

  test('keeps a few rows in the document and the place of the others', () => {
    const part = windowOf(5_000, 32, 64_000, 640);
    expect(part.end - part.first).toBeLessThan(40);
    expect(part.first).toBeLessThan(2_000);
    expect(part.end).toBeGreaterThan(2_020);
    expect(part.before + (part.end - part.first) * 32 + part.after).toBe(5_000 * 32);
  });

  test.each([[0, 0], [3, 900], [1, 1e9]])('of %d rows scrolled to %d is never out of range', (count, scrolled) => {
    const part = windowOf(count, 32, scrolled, 640);
    expect(part.first).toBeGreaterThanOrEqual(0);
    expect(part.end).toBeLessThanOrEqual(count);
    expect(part.before + (part.end - part.first) * 32 + part.after).toBe(count * 32);
  });
});

describe('the next host', () => {
  test('in trouble is the worst, then the next, then round again', () => {
    const order = ['db', 'gone', 'web-9', 'silent'];
    let at: string | null = null;
    for (const expected of [...order, 'db']) expect((at = nextProblem(twin, null, at, 1))).toBe(expected);
    expect(nextProblem(twin, null, 'db', -1)).toBe('silent');
  });

  test('in the rack stays in the rack', () => {
    expect(nextInRack(twin, 'web-10', 1)).toBe('db');
    expect(nextInRack(twin, 'web-10', -1)).toBe('gone');
    expect(nextInRack(twin, null, 1)).toBeNull();
  });
});

test('a file of hosts reads in a spreadsheet, and a name cannot become a formula', () => {
  expect(csv([['이름', 'x'], ['a,"b"', 1.5], ['=cmd()', NaN], ['-1', null]])).toBe(
    '\ufeff이름,x\r\n"a,""b""",1.5\r\n\'=cmd(),\r\n\'-1,\r\n',
  );
  expect(csv([[' =cmd()', '\t=cmd()', '\u00a0@x', 'a =b']])).toBe("\ufeff' =cmd(),'\t=cmd(),'\u00a0@x,a =b\r\n");
});

test.each([
  [Math.fround(52.8), '52.8'], [Math.fround(0.1), '0.1'], [Math.fround(1 / 3), '0.33333334'], [Math.fround(-1e-7), '-1e-7'],
  [52.83, '52.83'], [17_179_869_184, '17179869184'], [16_777_217.5, '16777217.5'], [0, '0'],
])('%d is written %s in a file', (value, text) => {
  expect(shortest(value)).toBe(text);
  expect(Math.fround(Number(text))).toBe(Math.fround(value));
});

describe('mean and worst', () => {
  test('are of the hosts that are heard', () => {
    const extreme = extremeOf(twin, 'cpuLoad', null);
    expect(extreme).toMatchObject({ mean: (5 + 90 + 50) / 3, worst: 90, seat: 1, count: 3 });
    expect(extreme?.of).toBeGreaterThan(3); // who is silent or says nothing is counted, too
  });

  test('are of those that match, and of none there are none', () => {
    expect(extremeOf(twin, 'cpuLoad', Uint8Array.from([1, 0, 1, 0, 0]))?.worst).toBe(50);
    expect(extremeOf(twin, 'gpuTemperature', null)).toBeNull();
  });
});
