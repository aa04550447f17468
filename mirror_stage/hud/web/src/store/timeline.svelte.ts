/** What happened along the strip of the time travel: loaded from EGO, and again as time passes. */

import { untrack } from 'svelte';
import type { Timeline } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import { past } from './past.svelte';
import { BUCKETS, stepMsOf } from './playback';
import { isoOf, SPANS, type Span } from './range';
import { session } from './session.svelte';
import { view } from './view.svelte';
import { world } from './world.svelte';

export const STRIPS = ['1h', '6h', '24h', '7d'] as const satisfies readonly Span[];
export type Strip = (typeof STRIPS)[number];
const RENEW_MS = 30_000;

export class TimelineLoader {
  /** The length of the strip, of the address */
  readonly span = $derived<Strip>(STRIPS.find((one) => one === view.more.strip) ?? '1h');
  private readonly seconds = $derived(SPANS[this.span]);
  timeline = $state.raw<Timeline | null>(null);
  error = $state.raw<Refusal | null>(null);
  private standing: number | null = null;
  /**
   * Where the strip ends, seconds; null: it goes on with now. While the past is on show it stands still; a moment that
   * is not on it, of a link or of another length, stands in the middle of a new one.
   */
  private readonly end = $derived.by(() => {
    if (past.at === null) return (this.standing = null);
    const at = past.at / 1000;
    const now = untrack(() => Math.floor(world.clock / 1000) - 1);
    const end = this.standing ?? untrack(() => (this.timeline ? Date.parse(this.timeline.to) / 1000 : now));
    const isOn = at >= end - this.seconds - 1 && at <= end;
    return (this.standing = isOn ? end : Math.min(now, Math.round(at + this.seconds / 2)));
  });
  /** Its right end is now, or was when the past came on show */
  get endsNow(): boolean {
    return this.end === null || world.clock / 1000 - this.end < this.seconds / 4;
  }
  /** Both ends of the strip, and one step along it: milliseconds */
  readonly from = $derived(this.timeline ? Date.parse(this.timeline.from) : world.clock - this.seconds * 1000);
  readonly to = $derived(this.timeline ? Date.parse(this.timeline.to) : world.clock);
  readonly stepMs = $derived(stepMsOf(this.seconds));

  /** Create it inside a component: it ends with the component. */
  constructor() {
    $effect(() => {
      void this.end;
      const abort = new AbortController();
      const load = (): void => void untrack(() => this.load(abort.signal));
      load();
      const timer = setInterval(() => document.hidden || session.isNeeded || load(), Math.max(RENEW_MS, (this.seconds * 1000) / BUCKETS));
      return () => {
        abort.abort();
        clearInterval(timer);
      };
    });
  }

  async load(signal?: AbortSignal): Promise<void> {
    const now = Math.floor(world.clock / 1000) - 1;
    const end = this.end ?? now;
    try {
      this.timeline = await get('/api/timeline', { query: { from: isoOf(end - this.seconds), to: isoOf(end), buckets: BUCKETS }, signal });
      this.error = null;
    } catch (error) {
      if (signal?.aborted) return;
      if (!(error instanceof Refusal)) throw error;
      this.error = error;
    }
  }
}
