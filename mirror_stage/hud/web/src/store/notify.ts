/** Channels and routes: what their forms hold, and what EGO is sent. Pure. */

import type { Channel, Route } from '../net/openapi';
import type { Values } from './quiet';

export const CHANNEL_KINDS = ['webhook', 'alertmanager', 'pagerduty', 'email', 'apprise'] as const;
export type ChannelKind = (typeof CHANNEL_KINDS)[number];

const USUAL_PORT: Record<string, string> = { starttls: '587', tls: '465', none: '25' };
const OF_MAIL = ['server', 'port', 'security', 'username', 'sender', 'recipients'] as const;

/** What the form of a kind asks for, beside what every kind has. */
export function askedOf(kind: string): readonly string[] {
  if (kind === 'email') return [...OF_MAIL, 'secret'];
  return kind === 'apprise' ? ['url'] : kind === 'pagerduty' ? ['secret'] : ['url', 'secret'];
}

/** What the form of a new channel holds, or that of one that is there, or of its copy under another name. */
export function channelValues(one?: Channel, isCopy = false): Values {
  const text = (value: unknown): string => (value === null || value === undefined ? '' : String(value));
  return {
    name: one ? `${one.name}${isCopy ? '-mine' : ''}` : '',
    kind: one?.kind ?? 'webhook',
    url: '',
    secret: '',
    noSecret: false,
    language: one?.language ?? 'en',
    ratePerMinute: text(one?.ratePerMinute ?? 10),
    server: text(one?.server),
    port: text(one?.port),
    security: one?.security ?? 'starttls',
    username: text(one?.username),
    sender: text(one?.sender),
    recipients: (one?.recipients ?? []).join(', '),
  };
}

/** What EGO is sent of a channel; `one` is the one that it was. A secret that is empty is left out: then EGO keeps the one that it has. */
export function channelBody(values: Values, one?: Pick<Channel, 'title' | 'body' | 'fallback'>): Record<string, unknown> {
  const text = (name: string): string => String(values[name] ?? '').trim();
  const orNull = (name: string): string | null => text(name) || null;
  const kind = text('kind');
  const secrets = Object.fromEntries(askedOf(kind).filter((name) => (name === 'url' || name === 'secret') && text(name)).map((name) => [name, text(name)]));
  const mail = kind === 'email' && {
    server: text('server'), port: Number(text('port') || USUAL_PORT[text('security')]), security: text('security'), username: orNull('username'),
    sender: text('sender'), recipients: listOf(text('recipients')),
  };
  return {
    kind, language: text('language'), ratePerMinute: Number(text('ratePerMinute')), title: one?.title ?? null, body: one?.body ?? null, fallback: one?.fallback ?? null,
    ...secrets, ...(values.noSecret === true && { secret: null }), ...mail,
  };
}

/** The parts of `a, b`. */
export function listOf(text: string): string[] {
  return text.split(/[\s,]+/).filter(Boolean);
}

export function routeValues(one?: Route): Values {
  return {
    name: one?.name ?? '', where: one?.where ?? '*', rules: (one?.rules ?? ['*']).join(', '), minSeverity: one?.minSeverity ?? 'warning',
    channels: one?.channels ?? [], continue: one?.continue ?? false, muteTimes: one?.muteTimes ?? [], passes: one?.passes ?? 'critical',
    escalateAfter: one?.escalateAfterSeconds ? String(one.escalateAfterSeconds / 60) : '', escalateTo: one?.escalateTo ?? [],
  };
}

export function routeOf(values: Values): Route {
  const minutes = Number(values.escalateAfter);
  return {
    name: String(values.name).trim(), where: String(values.where).trim() || '*', rules: listOf(String(values.rules)), minSeverity: values.minSeverity as Route['minSeverity'],
    channels: [...(values.channels as string[])], continue: values.continue === true, muteTimes: [...(values.muteTimes as string[])], passes: values.passes as Route['passes'],
    escalateAfterSeconds: minutes > 0 ? minutes * 60 : null, escalateTo: minutes > 0 ? [...(values.escalateTo as string[])] : [],
  };
}

/** A list with the one at `place` moved by `step`; the same list at an end of it. */
export function moved<Thing>(list: readonly Thing[], place: number, step: -1 | 1): readonly Thing[] {
  const [one, other] = [list[place], list[place + step]];
  if (one === undefined || other === undefined) return list;
  return list.map((thing, at) => (at === place ? other : at === place + step ? one : thing));
}
