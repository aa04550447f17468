import { expect, test } from 'vitest';
import type { AlertRule } from '../../src/net/openapi';
import { copyOf, differences, emptyRule, hostsOf, merged, moved, pathOf, patternsOf, saidOf, scaleOf, shareOf, stepOf, textOf, valueAt, writtenOf } from '../../src/ui/alertrules';

const RULE: AlertRule = { ...emptyRule(), name: 'cpu', unit: '%', source: 'file', etag: 'a', updatedAt: null, updatedBy: null };
const STEPS = [{ severity: 'warning', fire: 80, resolve: 70 }, { severity: 'critical', fire: 95, resolve: 90 }] as const;

test('a copy has a name that nobody has, and is a rule of its own', () => {
  expect(copyOf(RULE, ['cpu']).name).toBe('cpu_copy');
  const second = copyOf({ ...RULE, name: 'cpu_copy' }, ['cpu', 'cpu_copy']);
  expect(second.name).toBe('cpu_copy2');
  expect(copyOf({ ...RULE, name: 'n'.repeat(64) }, []).name.length).toBeLessThanOrEqual(64);
  expect(Object.keys(second)).not.toContain('etag');
  (second.steps[0] as { fire: number }).fire = 1;
  expect(RULE.steps[0]?.fire).toBe(80);
});

test('what another person has changed is named, and each member is theirs or mine', () => {
  const base = writtenOf(RULE);
  const mine = { ...base, for: '5m', where: 'rack:R1' };
  const theirs = { ...base, for: '1m', enabled: false };
  expect(differences(base, theirs)).toEqual(['for', 'enabled']);
  expect(merged(theirs, mine, ['where', 'for'])).toEqual({ ...base, where: 'rack:R1', for: '5m', enabled: false });
});

test('a value is said in one line', () => {
  expect(textOf([...STEPS])).toBe('severity warning fire 80 resolve 70, severity critical fire 95 resolve 90');
  expect(textOf([{ where: 'host:a', for: '2h', steps: [{ severity: 'info', fire: 1, resolve: 0 }] }])).toBe('where host:a for 2h steps severity info fire 1 resolve 0');
  expect([textOf(['*', '!/snap/*']), textOf(false)]).toEqual(['*, !/snap/*', 'false']);
  expect(patternsOf(' /data/*, ,!/snap/*,')).toEqual(['/data/*', '!/snap/*']);
});

test('what EGO says stands at its field and at no other', () => {
  const errors = [{ field: 'steps.1.fire', message: 'too low' }, { field: 'steps.10.fire', message: 'other' }];
  expect([saidOf(errors, 'steps.1.fire'), saidOf(errors, 'steps.1'), saidOf(errors, 'for')]).toEqual(['too low', '', '']);
  expect(hostsOf([{ hostname: 'a', subject: '/', value: 1, severity: 'info' }, { hostname: 'a', subject: '/b', value: 1, severity: 'info' }])).toEqual(['a']);
});

test('the chart holds all values and limits, and a place in it is a round value', () => {
  expect(scaleOf('%', [10, null, 95])).toEqual({ low: 0, high: 100 });
  expect(scaleOf('%', [120]).high).toBe(120);
  expect(scaleOf('B', []).high).toBe(1);
  const scale = scaleOf('°C', [20, 80, -10, undefined]);
  for (const value of [20, 80, -10]) expect([scale.low <= value, scale.high >= value]).toEqual([true, true]);
  for (const one of [{ low: 0, high: 100 }, { low: 0, high: 1 }, { low: 0, high: 3e12 }, scale])
    for (const share of [0, 0.123, 0.5, 1]) {
      const value = valueAt(one, share);
      expect(Math.abs(shareOf(one, value) - share)).toBeLessThanOrEqual(0.5 * stepOf(one) / (one.high - one.low) + 1e-9);
      expect(String(value).replace(/0+$/, '').length).toBeLessThanOrEqual(6);
    }
});

test('a line that is moved past its other one takes it along, and leaves the other steps alone', () => {
  expect(moved(STEPS, 0, 'fire', 60, true)[0]).toEqual({ severity: 'warning', fire: 60, resolve: 60 });
  expect(moved(STEPS, 0, 'resolve', 85, true)).toEqual([{ severity: 'warning', fire: 85, resolve: 85 }, STEPS[1]]);
  expect(moved(STEPS, 0, 'resolve', 75, true)[0]).toEqual({ severity: 'warning', fire: 80, resolve: 75 });
  expect(moved([{ severity: 'info', fire: 5, resolve: 10 }], 0, 'fire', 12, false)).toEqual([{ severity: 'info', fire: 12, resolve: 12 }]);
  expect(moved([{ severity: 'info', fire: 5, resolve: null }], 0, 'fire', 12, true)).toEqual([{ severity: 'info', fire: 12, resolve: null }]);
});

test('a line has gaps where nothing is known, and goes on where a step is merely empty', () => {
  expect(pathOf([0, undefined, 50, null, 100], { low: 0, high: 100 })).toBe('M0 100h0L2 50M4 0h0');
});
