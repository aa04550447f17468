/** What an alert says, in the words of this language, not of EGO's log. */

import { i18n } from '../i18n/index.svelte';
import type { Alert } from '../net/openapi';
import { inUnit } from '../store/alertlog';
import type { Incident } from '../store/incidents';
import { ruleOf, SILENCE } from '../store/rules';
import { world } from '../store/world.svelte';

/** The words of a rule of EGO's; its name where there are none. */
export function wordsOf(rule: string): string {
  return (i18n.t.alertLog.rules as Record<string, string>)[rule] ?? rule;
}

/** `CPU temperature`, or `Disk · /var` */
export function titleOf(alert: Alert): string {
  return wordsOf(ruleOf(alert)) + (alert.subject ? ` · ${alert.subject}` : '');
}

/** A value in the unit of an alert's rule: `85.6 °C`, `2 min` */
export function amountOf(alert: Alert, value: number): string {
  return amountIn(world.rules.unitOf(alert), value);
}

/** A value in the unit of a rule: `85.6 °C`, `2 min`, `4.2 GiB` */
export function amountIn(unit: string, value: number): string {
  const [amount, in_] = inUnit(value, unit);
  if (in_ === 'B') return i18n.f.bytes(amount);
  if (in_ === 's') return i18n.f.duration(amount);
  if (in_ === 'machines' || in_ === 'hosts') return i18n.t.units.machines(i18n.f.number(amount));
  return `${i18n.f.number(amount, Number.isInteger(amount) || Math.abs(amount) >= 100 ? 0 : 1)}${in_ === '%' || in_ === '' ? in_ : ` ${in_}`}`;
}

/** Its value now: a silence grows, and EGO does not send it every second. */
export function valueNow(alert: Alert): number {
  const isSilence = world.rules.measureOf(alert) === SILENCE && alert.status === 'active';
  return alert.currentValue + (isSilence ? Math.max(0, world.now - Date.parse(alert.updatedAt)) / 1000 : 0);
}

/** `CPU temperature 85.6 °C` */
export function shortly(alert: Alert): string {
  return `${titleOf(alert)} ${amountOf(alert, valueNow(alert))}`;
}

const nameOf = (hostname: string): string => world.twin.host(hostname)?.displayName ?? hostname;

/** What else silenced the host of an alert: `sw-r1`, `R1`; null: nothing, or that is not known */
export function causeOf({ cause }: Alert): string | null {
  if (!cause || cause.why === 'itself') return null;
  return cause.kind === 'ego' ? wordsOf('ego_isolated') : nameOf(cause.name);
}

/** Where an incident is: the cause's name, the host's, `B1`, `Hall B` or `Everywhere` */
export function placeNameOf({ cause, kind, name }: Incident): string {
  if (kind === 'ego') return `${wordsOf('ego_isolated')}: ${nameOf(name)}`;
  const hostname = cause ?? (kind === 'host' ? name : null);
  if (hostname !== null) return nameOf(hostname);
  return name || i18n.t.incidents.everywhere;
}

/** `CPU temperature · 20 of 20 · up to 99 °C`; of a single alert what it says */
export function summaryOf({ cause, alerts, hostnames, of, worst, rule }: Incident): string {
  const { t, f } = i18n;
  if (alerts.length === 1) return shortly(worst);
  if (cause !== null) return `${wordsOf(rule)} · ${t.incidents.behind(f.number(alerts.filter((one) => one.hostname !== cause && world.rules.measureOf(one) === SILENCE).length))}`;
  return [wordsOf(rule), t.shell.matching(f.number(hostnames.length), f.number(of)), t.incidents.upTo(amountOf(worst, valueNow(worst)))].join(' · ');
}
