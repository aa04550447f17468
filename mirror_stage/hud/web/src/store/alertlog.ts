/** Alerts in the order and the groups in which people look at them. Pure. */

import type { Alert } from '../net/openapi';
import { ruleOf } from './rules';
import { urgencyOf } from './status';

export const ALERT_GROUPS = ['place', 'none', 'host', 'rule'] as const;
export type AlertGroup = (typeof ALERT_GROUPS)[number];

export interface Group {
  /** The host or the rule; '' where nothing is grouped */
  readonly name: string;
  readonly alerts: readonly Alert[];
}

/** The state that an alert puts its host in; `Rules.stateOf` knows it. */
type StateOf = (alert: Alert) => number;

/** The worst state first, then the newest. */
export function ordered(alerts: readonly Alert[], stateOf: StateOf): Alert[] {
  const urgency = (alert: Alert): number => urgencyOf(stateOf(alert));
  return [...alerts].sort((one, other) => urgency(other) - urgency(one) || other.createdAt.localeCompare(one.createdAt) || one.hostname.localeCompare(other.hostname, 'en', { numeric: true }));
}

/** Groups by their most urgent alert, then by size; inside each in the order of `alerts`, which are `ordered`. */
export function grouped(alerts: readonly Alert[], by: Exclude<AlertGroup, 'place'>, stateOf: StateOf): Group[] {
  const groups = new Map<string, Alert[]>();
  const urgency = (group: Group): number => urgencyOf(stateOf(group.alerts[0] as Alert));
  for (const alert of alerts) {
    const name = by === 'none' ? '' : by === 'host' ? alert.hostname : ruleOf(alert);
    groups.set(name, [...(groups.get(name) ?? []), alert]);
  }
  return [...groups]
    .map(([name, all]): Group => ({ name, alerts: all }))
    .sort((one, other) => urgency(other) - urgency(one) || other.alerts.length - one.alerts.length || one.name.localeCompare(other.name, 'en', { numeric: true }));
}

/**
 * How `some` of the `active` alerts are acknowledged in the fewest steps: whole groups as EGO tells them, if nothing else is in
 * them, and the ids of what is left. What somebody has acknowledged stays as it is.
 */
export function stepsOf(some: readonly Alert[], active: readonly Alert[]): { groups: string[]; ids: string[] } {
  const open = some.filter(({ ack }) => !ack);
  const ids = new Set(open.map(({ id }) => id));
  const named = new Set(open.flatMap(({ groupId }) => groupId ?? []));
  const groups = [...named].filter((group) => active.every(({ groupId, id }) => groupId !== group || ids.has(id)));
  return { groups, ids: open.filter(({ groupId }) => groupId === null || !groups.includes(groupId)).map(({ id }) => id) };
}

/** A value in the unit of its rule, as a number to be said: ratios become percent. */
export function inUnit(value: number, unit: string): [value: number, unit: string] {
  return unit === 'ratio' ? [value * 100, '%'] : [value, unit];
}
