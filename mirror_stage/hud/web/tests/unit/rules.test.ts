import { describe, expect, test } from 'vitest';
import type { Alert, Rule } from '../../src/net/openapi';
import { Rules, SILENCE } from '../../src/store/rules';
import { isMarkedIn } from '../../src/ui/chart';

const rule = (name: string, fireAt: number, severity = 'warning', more: object = {}): Rule =>
  ({ name, unit: 'percent', fireAt, resolveAt: null, severity, ...more }) as Rule;
const alert = (metric: string): Alert => ({ metric }) as Alert;
const rules = new Rules([
  rule('cpu_load_high', 80), rule('link_congestion', 0.9, 'warning', { criticalAt: 1 }), rule('swap_full', 90, 'warning', { criticalAt: 97 }),
  rule('disk_full', 90, 'warning', { criticalAt: 99 }), rule('host_offline', 60, 'critical'), rule('clock_skew', 300, 'info'),
]);

test.each([
  ['cpuLoad', 79.9, 0],
  ['cpuLoad', 80, 1],
  ['cpuLoad', NaN, 0],
  ['cpuLoad', null, 0],
  ['utilization', 0.95, 1],
  ['utilization', 1, 2], // one rule with two severities
  ['swapUsedPercent', 96, 1],
  ['swapUsedPercent', 97, 2],
  ['fullestDiskPercent', 98, 1], // the operator's own limit; the rule is about each disk
  ['fullestDiskPercent', 99, 2],
  [SILENCE, 60, 2],
  ['clockOffsetSeconds', 900, 0], // info is no state of a host
  ['memoryUsedPercent', 100, 0], // no rule, no level: the HUD has no thresholds of its own
  ['cpu_load_high', 100, 0], // the name of a rule is no measure
])('EGO\u2019s rules call %s of %d level %d', (measure, value, level) => {
  expect(rules.levelOf(measure, value)).toBe(level);
});

describe('what a rule measures', () => {
  test('is what EGO says, whatever the rule is called', () => {
    const named = new Rules([rule('too_hot_to_touch', 70, 'critical', { measure: 'cpuTemperature' })]);
    expect(named.measureOf(alert('too_hot_to_touch'))).toBe('cpuTemperature');
    expect(named.levelOf('cpuTemperature', 70)).toBe(2);
    expect(named.limitOf('cpuTemperature')).toEqual({ value: 70, severity: 'critical' });
  });

  test('is known of the shipped rules where EGO does not say it, also of one that is gone', () => {
    expect(rules.measureOf(alert('cpu_load_high'))).toBe('cpuLoad');
    expect(rules.measureOf(alert('memory_high'))).toBe('memoryUsedPercent');
    expect(rules.measureOf(alert('made_up'))).toBeNull();
    expect(rules.unitOf(alert('made_up'))).toBe('');
  });
});

test('of two rules about one metric the first that fires is the limit, and the worst that fires is the level', () => {
  const two = new Rules([rule('hot', 90, 'critical', { measure: 'cpuTemperature' }), rule('warm', 75, 'warning', { measure: 'cpuTemperature' })]);
  expect(two.limitOf('cpuTemperature')).toEqual({ value: 75, severity: 'warning' });
  expect(two.limits).toEqual({ cpuTemperature: 75 });
  expect([70, 80, 95].map((value) => two.levelOf('cpuTemperature', value))).toEqual([0, 1, 2]);
});

test('an alert is marked in the chart of what it is about; one about silence or clocks in every chart', () => {
  expect([isMarkedIn('cpuLoad', 'cpuLoad'), isMarkedIn('cpuLoad', 'memoryUsedPercent')]).toEqual([true, false]);
  expect([isMarkedIn('rxGbps', 'utilization'), isMarkedIn('rxGbps', 'cpuLoad')]).toEqual([true, false]);
  expect([isMarkedIn('cpuLoad', SILENCE), isMarkedIn('cpuLoad', null)]).toEqual([true, true]);
});
