/** The moment on show beside another one, `against` of the address: what came, went, moved and changed between them. */

import { untrack } from 'svelte';
import type { Diff } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import { changesOf, kindsOf, SIGNS } from './diff';
import { fleet } from './fleet.svelte';
import { past } from './past.svelte';
import { view } from './view.svelte';
import { world } from './world.svelte';

const SETTLE_MS = 300; // a slider on its way asks for nothing
const USUAL_MS = 3_600_000;

class Comparison {
  /** The other moment, milliseconds since 1970; null: nothing is compared */
  readonly against = $derived.by(() => {
    const at = Date.parse(view.more.against ?? '');
    return Number.isNaN(at) || !world.has('replay') ? null : at;
  });
  answer = $state.raw<Diff | null>(null);
  error = $state.raw<Refusal | null>(null);
  isLoading = $state(false);
  private tries = $state(0);
  readonly changes = $derived(this.answer === null ? [] : changesOf(this.answer));
  /** The mark of each host that differs; null: nothing is compared */
  readonly signs = $derived.by((): ReadonlyMap<string, string> | null => {
    if (this.against === null) return null;
    return new Map([...kindsOf(this.changes)].map(([hostname, kind]) => [hostname, SIGNS[kind]]));
  });
  /** What the world and the flat plan show: of what the search leaves, the hosts that differ */
  readonly mask = $derived.by(() => {
    void world.tick;
    if (this.signs === null || this.answer === null) return fleet.mask;
    const mask = new Uint8Array(world.twin.end);
    for (const hostname of this.signs.keys()) {
      const seat = world.twin.seatsByHostname.get(hostname);
      if (seat !== undefined) mask[seat] = fleet.mask === null ? 1 : (fleet.mask[seat] as number);
    }
    return mask;
  });

  /** Follow the address. Call it once, inside a component. */
  start(): void {
    $effect(() => {
      const { against } = this;
      const at = past.at;
      void this.tries;
      untrack(() => this.clear());
      if (against === null || against === at) return;
      const abort = new AbortController();
      this.isLoading = true;
      const timer = setTimeout(() => void this.ask(against, at, abort.signal), SETTLE_MS);
      return () => {
        clearTimeout(timer);
        abort.abort();
      };
    });
  }

  /** Compare with a moment, null: no more. */
  with(at: number | null): void {
    view.keep('against', at === null ? null : new Date(Math.floor(at / 1000) * 1000).toISOString());
  }

  /** Put the moment on show aside and go back to now, to see what happened since; from now, the hour before. Once more: the end. */
  toggle(): boolean {
    if (!world.has('replay')) return false;
    if (this.against !== null) this.with(null);
    else {
      this.with(past.at ?? world.clock - USUAL_MS);
      if (past.at !== null) past.go(null);
    }
    return true;
  }

  /** Show the other moment, and put this one aside. */
  swap(): void {
    const { against } = this;
    this.with(past.at ?? world.clock);
    past.go(against);
  }

  retry(): void {
    this.tries++;
  }

  private clear(): void {
    this.answer = null;
    this.error = null;
    this.isLoading = false;
  }

  private async ask(against: number, at: number | null, signal: AbortSignal): Promise<void> {
    const [from, to] = [against, ...(at === null ? [] : [at])].sort((one, other) => one - other).map((one) => new Date(one).toISOString());
    try {
      this.answer = await get('/api/twin/diff', { query: { from: from as string, ...(to === undefined ? {} : { to }) }, signal }); // without `to`: now
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refusal)) throw error;
      this.error = error;
    }
    this.isLoading = false;
  }
}

export const diff = new Comparison();
