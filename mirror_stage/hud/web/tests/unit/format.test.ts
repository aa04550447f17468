import { describe, expect, test } from 'vitest';
import { en } from '../../src/i18n/en';
import { formatIn, UNKNOWN } from '../../src/i18n/format';
import { ko } from '../../src/i18n/ko';

const english = formatIn('en', en, 'bits');
const korean = formatIn('ko', ko, 'bits');

test.each([null, undefined, NaN, Infinity])('%s is unknown in every form', (value) => {
  for (const write of ['number', 'percent', 'ratio', 'celsius', 'rate', 'bytes', 'duration', 'age', 'time'] as const) {
    expect(english[write](value)).toBe(UNKNOWN);
  }
});

test.each([
  [0, '0 bit/s'],
  [0.000_000_5, '500 bit/s'],
  [0.000_5, '500 kbit/s'],
  [0.012_345, '12.3 Mbit/s'],
  [1, '1.00 Gbit/s'],
  [188.4, '188 Gbit/s'],
  [2_500, '2.50 Tbit/s'],
])('%d Gbit/s is written %s', (gbps, text) => {
  expect(english.rate(gbps)).toBe(text);
});

test('a rate in bytes is an eighth of it', () => {
  expect(formatIn('en', en, 'bytes').rate(8)).toBe('1.00 GB/s');
});

test.each([
  [0, '0 B'], [1023, '1,023 B'], [1024, '1.00 KiB'], [17_179_869_184, '16.0 GiB'], [5e15, '4.44 PiB'],
])('%d bytes are written %s', (bytes, text) => {
  expect(english.bytes(bytes)).toBe(text);
});

describe('lengths of time', () => {
  test.each([
    [0, '0 s', '0 s'], [0.4, '0 s', '0 s'], [59, '59 s', '59 s'], [60, '1 min', '1 min'],
    [3_725, '1 h 2 min', '1 h'], [86_400 + 60, '1 d', '1 d'], [273_600, '3 d 4 h', '3 d'],
  ])('%d s is %s as a duration and %s as an age', (seconds, duration, age) => {
    expect(english.duration(seconds)).toBe(duration);
    expect(english.age(seconds)).toBe(age);
  });

  test('are written in Korean without a space before the unit', () => {
    expect(korean.duration(3_725)).toBe('1시간 2분');
  });
});

test('percent, ratio and temperature', () => {
  expect(english.percent(42.25, 1)).toBe('42.3%');
  expect(english.ratio(0.815)).toBe('82%');
  expect(english.celsius(61.4)).toBe('61 °C');
});
