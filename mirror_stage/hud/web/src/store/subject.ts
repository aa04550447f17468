/** Whose history is shown: the chosen hosts, or else a group. Pure. */

import type { Twin } from './twin';

export const GROUP_KINDS = ['rack', 'room', 'tier'] as const;
export type GroupKind = (typeof GROUP_KINDS)[number];

/** `all`, `match` (what the search leaves), or `rack:R01` and its like */
export interface Group {
  readonly kind: 'all' | 'match' | GroupKind;
  readonly name: string | null;
}

/** EGO takes so many hosts by name; what is larger is asked for as a whole. */
export const NAMED_MOST = 200;

/** The group that the address says; if it says none or one that cannot be, all hosts, or those that the search leaves if there is one. */
export function groupOf(said: string | undefined, isSearched = false): Group {
  const [kind = '', ...rest] = (said ?? '').split(':');
  const name = rest.join(':');
  if (kind === 'match' || (isSearched && said === undefined)) return { kind: 'match', name: null };
  return (GROUP_KINDS as readonly string[]).includes(kind) && name !== '' ? { kind: kind as GroupKind, name } : { kind: 'all', name: null };
}

/** The same for the address; null: what need not be said. */
export function saidOfGroup({ kind, name }: Group, isSearched = false): string | null {
  return kind === (isSearched ? 'match' : 'all') ? null : name === null ? kind : `${kind}:${name}`;
}

/** The names that groups of a kind have, in natural order. */
export function groupNames(twin: Twin, kind: GroupKind): string[] {
  const names = new Set<string>();
  for (const seat of twin.seats()) {
    const name = twin.entries[seat]?.[kind];
    if (name) names.add(name);
  }
  return [...names].sort(new Intl.Collator(undefined, { numeric: true }).compare);
}

/** The hosts of a group that report something, by name and seat; `mask` is the search. */
export function membersOf(twin: Twin, group: Group, mask: Uint8Array | null): { name: string; seat: number }[] {
  const members: { name: string; seat: number }[] = [];
  for (const seat of twin.seats()) {
    const entry = twin.entries[seat];
    if (!entry || entry.isSynthetic) continue;
    const isIn =
      group.kind === 'all' || (group.kind === 'match' ? (mask?.[seat] ?? 1) === 1 : entry[group.kind] === group.name);
    if (isIn) members.push({ name: entry.hostname, seat });
  }
  return members;
}

/** What EGO is asked about a group: the hosts to name, none for all of them. */
export interface Question {
  readonly groupBy: GroupKind | 'all';
  readonly hostnames: readonly string[];
}

/** The question about a group; null if nobody is in it, for a question without names would be about all. */
export function questionOf(group: Group, members: readonly string[]): Question | null {
  if (members.length === 0) return null;
  if (group.kind === 'all') return { groupBy: 'all', hostnames: [] };
  if (members.length > NAMED_MOST && group.kind !== 'match') return { groupBy: group.kind, hostnames: [] };
  return { groupBy: 'all', hostnames: members.slice(0, NAMED_MOST) };
}
