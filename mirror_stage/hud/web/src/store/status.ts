/** The five states a host can be seen in: how EGO's status and severity become one of them, and how each looks. */

import type { Severity } from '../net/wire';

export const STATES = ['ok', 'warning', 'critical', 'stale', 'offline'] as const;
export type State = (typeof STATES)[number];
/** The place of a state in STATES, as the columns hold it. */
export type StateCode = 0 | 1 | 2 | 3 | 4;

export const [OK, WARNING, CRITICAL, STALE, OFFLINE] = [0, 1, 2, 3, 4] as const;

/** The states that call for somebody, in the order in which they are counted everywhere. */
export const TROUBLES = [CRITICAL, OFFLINE, WARNING, STALE] as const;

/** Where along a load the colours `--load-0` to `--load-4` stand: of the utilization of links, and of every metric that is a colour. */
export const LOAD_STOPS = [0, 0.3, 0.6, 0.8, 1] as const;

export const SEVERITIES = [null, 'info', 'warning', 'critical'] as const;

export function severityCode(severity: Severity | null): number {
  return SEVERITIES.indexOf(severity);
}

/** A silent host's last alerts say nothing about now, so silence comes first. */
export function stateOf(statusCode: number, severity: number): StateCode {
  if (statusCode === 2) return OFFLINE;
  if (statusCode === 1) return STALE;
  return severity === 3 ? CRITICAL : severity === 2 ? WARNING : OK;
}

/** How much a state wants to be looked at, from TROUBLES; the worst first when sorted downwards. */
const URGENCY = STATES.map((_, state) => (state === OK ? 0 : TROUBLES.length - TROUBLES.findIndex((one) => one === state)));

export function urgencyOf(state: number): number {
  return URGENCY[state] ?? 0;
}

/** The worst of some states; OK if there are none. */
export function worstOf(states: Iterable<number>): StateCode {
  let worst: number = OK;
  for (const state of states) if (urgencyOf(state) > urgencyOf(worst)) worst = state;
  return worst as StateCode;
}
