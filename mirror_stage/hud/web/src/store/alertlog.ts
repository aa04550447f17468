/** Alerts in the order and the groups in which people look at them. Pure. */

import type { Alert } from '../net/openapi';
import { ruleOf } from './rules';
import { severityCode } from './status';

export const ALERT_GROUPS = ['none', 'host', 'rule'] as const;
export type AlertGroup = (typeof ALERT_GROUPS)[number];

export interface Group {
  /** The host or the rule; '' where nothing is grouped */
  readonly name: string;
  readonly alerts: readonly Alert[];
}

/** The most severe first, then the newest. */
export function byUrgency(one: Alert, other: Alert): number {
  return severityCode(other.severity) - severityCode(one.severity) || other.createdAt.localeCompare(one.createdAt) || one.hostname.localeCompare(other.hostname, 'en', { numeric: true });
}

/** Groups by their most urgent alert, then by size; inside each by urgency. */
export function grouped(alerts: readonly Alert[], by: AlertGroup): Group[] {
  const groups = new Map<string, Alert[]>();
  for (const alert of [...alerts].sort(byUrgency)) {
    const name = by === 'none' ? '' : by === 'host' ? alert.hostname : ruleOf(alert);
    groups.set(name, [...(groups.get(name) ?? []), alert]);
  }
  return [...groups]
    .map(([name, all]): Group => ({ name, alerts: all }))
    .sort((one, other) => severityCode((other.alerts[0] as Alert).severity) - severityCode((one.alerts[0] as Alert).severity) || other.alerts.length - one.alerts.length || one.name.localeCompare(other.name, 'en', { numeric: true }));
}

/** A value in the unit of its rule, as a number to be said: ratios become percent. */
export function inUnit(value: number, unit: string): [value: number, unit: string] {
  return unit === 'ratio' ? [value * 100, '%'] : [value, unit];
}
