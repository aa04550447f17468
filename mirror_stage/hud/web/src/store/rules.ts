/**
 * EGO's rules: a rule has a name, a measure and a severity. This is the one place that knows which rule watches which
 * metric; everything else asks by metric. The wire calls the name of an alert's rule `metric`. Pure.
 */

import type { Alert, Rule } from '../net/openapi';
import type { Severity } from '../net/wire';
import { CRITICAL, OFFLINE, OK, WARNING, type StateCode } from './status';

/** The measure of a rule that watches whether a host reports at all. */
export const SILENCE = 'silenceSeconds';

/** What the shipped rules measure, for an EGO whose `/api/info` does not say it. */
const MEASURES: Readonly<Record<string, string>> = {
  cpu_load_high: 'cpuLoad',
  memory_high: 'memoryUsedPercent',
  swap_full: 'swapUsedPercent',
  disk_full: 'diskUsedPercent',
  disk_filling: 'diskDaysToFull',
  interface_down: 'interfaceIsDown',
  cpu_temperature_high: 'cpuTemperature',
  gpu_temperature_high: 'gpuTemperature',
  link_congestion: 'utilization',
  clock_skew: 'clockOffsetSeconds',
  identity_conflict: 'machinesOfName',
  ego_isolated: 'hostsCutOff',
  host_offline: SILENCE,
};

/** The metric of a host that shows what a rule measures of each of its parts: the highest of them. */
const HIGHEST: Readonly<Record<string, string>> = { diskUsedPercent: 'fullestDiskPercent' };

export interface Limit {
  readonly value: number;
  readonly severity: Severity;
}

export function ruleOf(alert: Alert): string {
  return alert.metric;
}

export class Rules {
  private readonly byName: ReadonlyMap<string, Rule>;
  /** The rules about each measure, the one that fires first in front */
  private readonly byMeasure = new Map<string, Rule[]>();
  /** The lowest value at which a rule fires, for each measure */
  readonly limits: Readonly<Record<string, number>>;

  constructor(all: readonly Rule[]) {
    this.byName = new Map(all.map((rule) => [rule.name, rule]));
    for (const rule of all.filter(isOfEveryHost).sort((one, other) => one.fireAt - other.fireAt)) {
      const measure = measureOf(rule);
      if (measure !== null) this.byMeasure.set(measure, [...(this.byMeasure.get(measure) ?? []), rule]);
    }
    this.limits = Object.fromEntries([...this.byMeasure].map(([measure, [first]]) => [measure, (first as Rule).fireAt]));
  }

  /** What an alert is about: a metric, or another measure such as `silenceSeconds`; null: not known. */
  measureOf(alert: Alert): string | null {
    return measureOf(this.byName.get(ruleOf(alert)) ?? { name: ruleOf(alert), measure: alert.measure });
  }

  /** The state that an alert puts its host in: a silent host is offline, whatever its severity is called. */
  stateOf(alert: Alert): StateCode {
    if (this.measureOf(alert) === SILENCE) return OFFLINE;
    return alert.severity === 'critical' ? CRITICAL : alert.severity === 'warning' ? WARNING : OK;
  }

  /** The value at which an alert resolves; null: something else ends it, or its rule is gone. */
  resolvesAt(alert: Alert): number | null {
    return this.byName.get(ruleOf(alert))?.resolveAt ?? null;
  }

  /** The unit of an alert's value and threshold. */
  unitOf(alert: Alert): string {
    return this.byName.get(ruleOf(alert))?.unit ?? alert.unit ?? '';
  }

  /** Where the first rule about a measure fires; null: no rule watches it. */
  limitOf(measure: string): Limit | null {
    const first = this.byMeasure.get(measure)?.[0];
    return first ? { value: first.fireAt, severity: first.severity as Severity } : null;
  }

  /** How bad the rules call a value: OK, WARNING or CRITICAL. What no rule watches is OK. */
  levelOf(measure: string, value: number | null): 0 | 1 | 2 {
    let worst: 0 | 1 | 2 = OK;
    for (const rule of this.byMeasure.get(measure) ?? []) {
      if (value === null || !(value >= rule.fireAt)) continue;
      if (rule.severity === 'critical' || value >= (rule.criticalAt ?? Infinity)) return CRITICAL;
      if (rule.severity === 'warning') worst = WARNING;
    }
    return worst;
  }
}

/** Whether a rule says of every host where its value is too high. Only such rules colour a number or mark a chart. */
const isOfEveryHost = (rule: Rule): boolean => (rule.above ?? true) && (rule.where ?? '*') === '*';

/** The metric of a host whose history shows a measure. */
export const shownAs = (measure: string): string => HIGHEST[measure] ?? measure;

function measureOf(rule: { name: string; measure?: string | null }): string | null {
  const measure = rule.measure ?? MEASURES[rule.name] ?? null;
  return measure === null ? null : shownAs(measure);
}
