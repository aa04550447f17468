/** The five states a host can be seen in: how EGO's status and severity become one of them, and how each looks. */

import type { Severity } from '../net/wire';

export const STATES = ['ok', 'warning', 'critical', 'stale', 'offline'] as const;
export type State = (typeof STATES)[number];
/** The place of a state in STATES, as the columns hold it. */
export type StateCode = 0 | 1 | 2 | 3 | 4;

export const [OK, WARNING, CRITICAL, STALE, OFFLINE] = [0, 1, 2, 3, 4] as const;

/** The states that call for somebody, in the order in which they are counted everywhere. */
export const TROUBLES = [CRITICAL, OFFLINE, WARNING, STALE] as const;

/** Shape doubles colour everywhere. The check of tests/unit/palette.test.ts holds these hexes apart. */
export const COLOURS: Record<State, string> = {
  ok: '#2fa4ff',
  warning: '#ffc04d',
  critical: '#ff4a2b',
  stale: '#e4e0f7',
  offline: '#ff5c8a',
};

/** Link load, by utilization from 0 to 1. */
export const LOAD_RAMP: readonly (readonly [at: number, colour: string])[] = [
  [0, '#1d4f91'],
  [0.3, '#2f8fd8'],
  [0.6, '#7fd0ff'],
  [0.8, '#ffc04d'],
  [1, '#ff4a2b'],
];

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
