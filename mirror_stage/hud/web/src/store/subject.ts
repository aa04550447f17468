/** Whose history is shown: the chosen hosts, or else a group. Pure. */

import type { Twin } from './twin';

export const GROUP_KINDS = ['rack', 'room', 'tier'] as const;
export type GroupKind = (typeof GROUP_KINDS)[number];

/** `all`, `match` (what the search leaves), `rack:R01` and its like, or `each:rack`: all racks, each by itself */
export interface Group {
  readonly kind: 'all' | 'match' | 'each' | GroupKind;
  readonly name: string | null;
}

/** EGO takes so many hosts by name; what is larger is asked for as a whole. */
export const NAMED_MOST = 200;

/** The group that the address says; if it says none or one that cannot be, all hosts, or those that the search leaves if there is one. */
export function groupOf(said: string | undefined, isSearched = false): Group {
  const [kind = '', ...rest] = (said ?? '').split(':');
  const name = rest.join(':');
  if (kind === 'match' || (isSearched && said === undefined)) return { kind: 'match', name: null };
  if (kind === 'each' && isKind(name)) return { kind, name };
  return (GROUP_KINDS as readonly string[]).includes(kind) && name !== '' ? { kind: kind as GroupKind, name } : { kind: 'all', name: null };
}

const isKind = (text: string): text is GroupKind => (GROUP_KINDS as readonly string[]).includes(text);

/** What the groups are that stand side by side; null: it is one group. */
export function comparedIn({ kind, name }: Group): GroupKind | null {
  return kind === 'each' && name !== null && isKind(name) ? name : null;
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
  const compared = comparedIn(group);
  for (const seat of twin.seats()) {
    const entry = twin.entries[seat];
    if (!entry || entry.isSynthetic) continue;
    const { kind, name } = group;
    const isIn =
      kind === 'all' ||
      (kind === 'match' ? (mask?.[seat] ?? 1) === 1 : compared !== null ? Boolean(entry[compared]) : kind !== 'each' && entry[kind] === name);
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
  const compared = comparedIn(group);
  if (compared !== null) return { groupBy: compared, hostnames: [] };
  if (group.kind === 'all') return { groupBy: 'all', hostnames: [] };
  if (members.length > NAMED_MOST && group.kind !== 'match' && group.kind !== 'each') return { groupBy: group.kind, hostnames: [] };
  return { groupBy: 'all', hostnames: members.slice(0, NAMED_MOST) };
}
