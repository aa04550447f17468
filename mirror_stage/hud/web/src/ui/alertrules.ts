/** What the editor of alert rules works out: copies, differences, where the server's words belong, the lines of its chart. Pure. */

import type { AlertRule, Breach, Problem, RuleStep } from '../net/openapi';
import { CRITICAL, OK, WARNING } from '../store/status';
import type { Values } from '../store/history';

export const MEMBERS = ['measure', 'where', 'every', 'above', 'steps', 'for', 'resolveFor', 'subjects', 'noData', 'noDataAfter', 'enabled', 'overrides'] as const;
export type Member = (typeof MEMBERS)[number];
/** A rule as a person writes it. A number that is not typed yet is null, as the browser's own field has it. */
export type Written = Pick<AlertRule, Member | 'name'>;
/** What EGO says against a rule, by field */
export type Refused = NonNullable<Problem['errors']>;
export type Side = 'fire' | 'resolve';
export const SEVERITIES = ['info', 'warning', 'critical'] as const;
/** Whose shape and colour a severity has */
export const STATE_OF = { info: OK, warning: WARNING, critical: CRITICAL };
/** A silence has no value at which it resolves: a sample ends it. */
export const SILENCE = 'silenceSeconds';

/** A copy that is nobody else's, also of what Svelte watches. */
export const cloned = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value)) as Value;
const isSame = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);

/** What a person may change of a rule. */
export function writtenOf(rule: AlertRule): Written {
  return cloned({ name: rule.name, ...Object.fromEntries(MEMBERS.map((member) => [member, rule[member]])) } as Written);
}

/** The same rule under a name that nobody has. */
export function copyOf(rule: AlertRule, names: readonly string[]): Written {
  const stem = rule.name.slice(0, 56).replace(/_copy\d*$/, '');
  let name = `${stem}_copy`;
  for (let number = 2; names.includes(name); number++) name = `${stem}_copy${number}`;
  return { ...writtenOf(rule), name };
}

export const emptyRule = (): Written => ({
  name: '', measure: 'cpuLoad', where: '*', every: 'sample', above: true, steps: [{ severity: 'warning', fire: 80, resolve: 70 }], for: '0s', resolveFor: '0s',
  subjects: ['*'], noData: 'resolve', noDataAfter: '30s', enabled: true, overrides: [],
});

/** The members in which two forms of a rule differ. */
export function differences(one: Written, other: Written): Member[] {
  return MEMBERS.filter((member) => !isSame(one[member], other[member]));
}

/** `theirs`, with my values of the members in `mine`. */
export function merged(theirs: Written, rule: Written, mine: readonly Member[]): Written {
  return cloned({ ...theirs, name: rule.name, ...Object.fromEntries(mine.map((member) => [member, rule[member]])) });
}

/** A value of a rule in one line. */
export function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.map(textOf).join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value).map(([key, its]) => `${key} ${textOf(its)}`).join(' ');
}

/** What EGO says about a field; '' if nothing. */
export function saidOf(errors: Refused, field: string): string {
  return errors.filter((one) => one.field === field).map((one) => one.message).join('; ');
}

/** The list of patterns that a person types, with commas. */
export const patternsOf = (text: string): string[] => text.split(',').map((one) => one.trim()).filter(Boolean);

export const hostsOf = (items: readonly Breach[]): string[] => [...new Set(items.map((one) => one.hostname))];

// ------------------------------------------------------------------ the chart

export interface Scale {
  readonly low: number;
  readonly high: number;
}

/** From where to where the chart goes: all that is known, and all limits. */
export function scaleOf(unit: string, values: readonly (number | null | undefined)[]): Scale {
  const known = values.filter((value) => typeof value === 'number');
  const [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
  if (unit === '%' || unit === 'ratio') return { low, high: Math.max(unit === '%' ? 100 : 1, high) };
  return { low: low * 1.15, high: high > 0 ? high * 1.15 : 1 };
}

/** By how much a key moves a line: about a hundredth of the scale, as a round number. */
export function stepOf({ low, high }: Scale): number {
  return 10 ** Math.floor(Math.log10((high - low) / 50));
}

/** How far up a value stands, 0 to 1. */
export function shareOf({ low, high }: Scale, value: number): number {
  return Math.min(Math.max((value - low) / (high - low), 0), 1);
}

/** The value that stands at a share of the height, as a round number. */
export function valueAt(scale: Scale, share: number): number {
  const step = stepOf(scale);
  const value = scale.low + Math.min(Math.max(share, 0), 1) * (scale.high - scale.low);
  return Number((Math.round(value / step) * step).toPrecision(12));
}

/** The steps with one limit moved. It pushes the other limit of its step along: a step resolves where it does not fire. */
export function moved(steps: readonly RuleStep[], place: number, side: Side, value: number, isAbove: boolean): RuleStep[] {
  return steps.map((step, at) => {
    if (at !== place) return step;
    const next = { ...step, [side]: value };
    if (next.resolve === null || (isAbove ? next.resolve <= next.fire : next.resolve >= next.fire)) return next;
    return { ...next, fire: value, resolve: value };
  });
}

/** A line through values as an SVG path, in a box that is as wide as the values are many, and 100 high. Gaps stay gaps; what stands alone is a dot. */
export function pathOf(values: Values, scale: Scale): string {
  let isDown = false;
  return values.map((value, place) => {
    if (value === undefined) return '';
    const was = isDown;
    isDown = value !== null;
    return value === null ? '' : `${was ? 'L' : 'M'}${place} ${Number((100 - 100 * shareOf(scale, value)).toFixed(2))}${was ? '' : 'h0'}`;
  }).join('');
}
