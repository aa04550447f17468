/** What the screens of enrolment and audit work out. Pure. */

import type { Agent, Audit } from '../net/openapi';

export const LABELS = ['rack', 'room', 'tier', 'role'] as const;
export type Labels = Record<(typeof LABELS)[number], string>;
export const noLabels = (): Labels => ({ rack: '', room: '', tier: '', role: '' });

/** The labels that have a value. */
export function filled(labels: Labels): Record<string, string> {
  return Object.fromEntries(LABELS.map((name) => [name, labels[name].trim()] as const).filter(([, value]) => value !== ''));
}

/** What the fields of a form have changed: a value, or null where one was emptied. */
export function changes(before: Record<string, string>, labels: Labels): Record<string, string | null> {
  const after = filled(labels);
  return Object.fromEntries(LABELS.filter((name) => before[name] !== after[name]).map((name) => [name, after[name] ?? null]));
}

/** `rack=R1 room=A` */
export function labelText(labels: Record<string, string>): string {
  return Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(' ');
}

/** The pin of EGO's key in a line to paste; null over plain HTTP. */
export function pinOf(line: string): string | null {
  return /sha256\/\/[\w+/=]+/.exec(line)?.[0] ?? null;
}

/** Whether only EGO's own machine reaches it under this name. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
}

const RANK = { suspended: 0, enrolled: 1, revoked: 2, waiting: 3 };

/** The agents that do not wait and match a search: suspended ones first, then by name. */
export function found(agents: readonly Agent[], search: string): Agent[] {
  return agents
    .filter((agent) => agent.state !== 'waiting')
    .filter(({ hostname, state, address, labels, fingerprint }) => has(search, [hostname, state, address, labelText(labels), fingerprint]))
    .sort((one, other) => RANK[one.state] - RANK[other.state] || one.hostname.localeCompare(other.hostname));
}

/** The rows of the audit that match a search, also by the words in which their events are shown. */
export function foundRows(rows: readonly Audit[], search: string, events: Record<string, string>): Audit[] {
  return rows.filter(({ actor, peer, what, subject, detail }) => has(search, [actor, peer, what, events[what], subject, detail]));
}

/** The rows known so far and a page of older or newer ones, each once, newest first. */
export function joined(rows: readonly Audit[], page: readonly Audit[]): Audit[] {
  const bySeq = new Map([...rows, ...page].map((row) => [row.seq, row]));
  return [...bySeq.values()].sort((one, other) => other.seq - one.seq);
}

/** Whether every word of a search is in one of the texts. */
function has(search: string, texts: readonly (string | null | undefined)[]): boolean {
  const all = texts.join('\n').toLowerCase();
  return search.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}
