/** The difference of two moments of the twin, as a list and by host. Pure; `diff.svelte.ts` asks EGO for it. */

import { isMetric, type Metric } from '../metrics';
import type { Diff } from '../net/openapi';

export const KINDS = ['came', 'went', 'moved', 'changed'] as const;
export type Kind = (typeof KINDS)[number];

/** How each is marked beside a name: in the list, the world and the flat plan. */
export const SIGNS: Record<Kind, string> = { came: '+', went: '−', moved: '→', changed: 'Δ' };

type Point = Diff['moved'][number]['before']['position'];

/** One difference of one host. `what`: which of it; null: whether it is there at all. */
export type Change =
  | { readonly kind: 'came' | 'went'; readonly hostname: string; readonly what: null }
  | { readonly kind: 'moved'; readonly hostname: string; readonly what: 'rack' | 'uplink'; readonly before: string | null; readonly after: string | null }
  | { readonly kind: 'moved'; readonly hostname: string; readonly what: 'position'; readonly before: Point; readonly after: Point }
  | { readonly kind: 'changed'; readonly hostname: string; readonly what: 'status'; readonly before: string; readonly after: string }
  | { readonly kind: 'changed'; readonly hostname: string; readonly what: Metric; readonly before: number; readonly after: number };

/** Every difference: who came, went, moved; then what changed, the status first. A position is told only where the rack stayed. */
export function changesOf({ came, went, moved, status, metrics }: Diff): Change[] {
  return [
    ...came.map((hostname) => ({ kind: 'came', hostname, what: null }) as const),
    ...went.map((hostname) => ({ kind: 'went', hostname, what: null }) as const),
    ...moved.flatMap(({ hostname, before, after }): Change[] => {
      const told = (['rack', 'uplink'] as const).filter((what) => before[what] !== after[what]);
      if (told.length === 0) return [{ kind: 'moved', hostname, what: 'position', before: before.position, after: after.position }];
      return told.map((what) => ({ kind: 'moved', hostname, what, before: before[what], after: after[what] }));
    }),
    ...status.map((one) => ({ kind: 'changed', what: 'status', ...one }) as const),
    ...metrics.flatMap(({ hostname, metric, before, after }): Change[] => (isMetric(metric) ? [{ kind: 'changed', hostname, what: metric, before, after }] : [])),
  ];
}

/** What each host is marked with: the first of KINDS that it did. */
export function kindsOf(changes: readonly Change[]): Map<string, Kind> {
  const kinds = new Map<string, Kind>();
  for (const { hostname, kind } of changes) if (!kinds.has(hostname)) kinds.set(hostname, kind);
  return kinds;
}

/** How many hosts did each. A host that moved and changed counts for both. */
export function countsOf(changes: readonly Change[]): Record<Kind, number> {
  const hosts = Object.fromEntries(KINDS.map((kind) => [kind, new Set<string>()])) as Record<Kind, Set<string>>;
  for (const { hostname, kind } of changes) hosts[kind].add(hostname);
  return Object.fromEntries(KINDS.map((kind) => [kind, hosts[kind].size])) as Record<Kind, number>;
}
