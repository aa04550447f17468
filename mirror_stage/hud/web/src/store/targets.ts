/** Whom a command is for: hosts, racks, searches. Kept in the address, resolved against the twin when it is sent. Pure. */

import { parse } from './search';
import type { Twin } from './twin';

export const KINDS = ['host', 'rack', 'filter'] as const;
export type Kind = (typeof KINDS)[number];

export interface Target {
  readonly kind: Kind;
  readonly value: string;
}

/** `host:web-1,rack:R1`: each value encoded, so that commas and colons in it stay its own. */
export function saidOf(targets: readonly Target[]): string {
  return targets.map(({ kind, value }) => `${kind}:${encodeURIComponent(value)}`).join(',');
}

export function targetsOf(text: string | undefined): Target[] {
  return (text ?? '').split(',').flatMap((one) => {
    const at = one.indexOf(':');
    const kind = KINDS.find((known) => known === one.slice(0, at));
    try {
      const value = decodeURIComponent(one.slice(at + 1));
      return kind && value ? [{ kind, value }] : [];
    } catch {
      return []; // a damaged link: what can be read of it counts
    }
  });
}

export function isSame(one: Target, other: Target): boolean {
  return one.kind === other.kind && one.value === other.value;
}

/** What of a search means nothing. Whom it is for is not known then, so it is for nobody. */
export function misread(target: Target): readonly string[] {
  if (target.kind !== 'filter') return [];
  return /[\p{L}\p{N}]/u.test(target.value) ? parse(target.value).unknown : [target.value];
}

/** Whether a text may be the name of a host that has not reported yet, rather than a search that went wrong. */
export function isName(text: string): boolean {
  return /^[^\s:<>="]+$/u.test(text);
}

/** The hosts of one target, by slot. Virtual ones run nothing; a named host need not be known. */
export function hostsOf(target: Target, twin: Twin, now: number): string[] {
  if (target.kind === 'host') return [target.value];
  if (misread(target).length > 0) return [];
  const matches = target.kind === 'filter' ? parse(target.value).compile?.(twin, now) : undefined;
  const seats = [...twin.seats()].filter((seat) => {
    const entry = twin.entries[seat];
    if (!entry || entry.isSynthetic) return false;
    return target.kind === 'rack' ? entry.rack === target.value : matches ? matches(seat) : false;
  });
  seats.sort((one, other) => (twin.columns.slot[one] as number) - (twin.columns.slot[other] as number));
  return seats.map((seat) => twin.entries[seat]?.hostname ?? '');
}

/** The hosts of all targets, each once: those that the command is sent to, and those of racks and searches that cannot run it now. */
export interface Resolved {
  readonly hosts: readonly string[];
  readonly leftOut: readonly string[];
}

/** A host that is named is meant, so it is always sent to; of racks and searches only those that `canRun`. */
export function resolved(targets: readonly Target[], twin: Twin, now: number, canRun: (hostname: string) => boolean): Resolved {
  const named = new Set(targets.filter((target) => target.kind === 'host').map((target) => target.value));
  const all = [...new Set(targets.flatMap((target) => hostsOf(target, twin, now)))];
  const isSent = (hostname: string): boolean => named.has(hostname) || canRun(hostname);
  return { hosts: all.filter(isSent), leftOut: all.filter((hostname) => !isSent(hostname)) };
}

/** What a typed text may mean, the best first: a host of that name, a rack, hosts and racks with it inside, a search. */
export function suggested(text: string, twin: Twin, taken: readonly Target[], most = 8): Target[] {
  const sought = text.trim().toLowerCase();
  const hosts: [number, string][] = [];
  const racks = new Map<string, number>();
  const rank = (...names: string[]): number =>
    Math.min(...names.map((name) => (name === sought ? 0 : name.startsWith(sought) ? 1 : name.includes(sought) ? 2 : 3)));
  for (const seat of twin.seats()) {
    const entry = twin.entries[seat];
    if (!entry || entry.isSynthetic) continue;
    const place = rank(entry.hostname.toLowerCase(), entry.displayName.toLowerCase());
    if (sought !== '' && place < 3) hosts.push([place, entry.hostname]);
    if (entry.rack !== null && !racks.has(entry.rack)) {
      const rackPlace = rank(entry.rack.toLowerCase(), `rack:${entry.rack}`.toLowerCase());
      if (rackPlace < 3) racks.set(entry.rack, rackPlace);
    }
  }
  const ranked = [
    ...hosts.map(([place, value]) => ({ place, target: { kind: 'host', value } as Target })),
    ...[...racks].map(([value, place]) => ({ place, target: { kind: 'rack', value } as Target })),
  ].sort((one, other) => one.place - other.place || KINDS.indexOf(one.target.kind) - KINDS.indexOf(other.target.kind) || one.target.value.localeCompare(other.target.value, 'en', { numeric: true }));
  const isFree = (target: Target): boolean => !taken.some((one) => isSame(one, target));
  const found = ranked.map(({ target }) => target).filter(isFree).slice(0, sought === '' ? most : most - 1);
  const query = parse(text);
  const filter: Target = { kind: 'filter', value: text.trim() };
  return sought !== '' && query.compile && query.unknown.length === 0 && isFree(filter) ? [...found, filter] : found;
}
