/** Loads the history that a screen asks for: from EGO, or from this browser's memory where EGO keeps none. */

import { onDestroy, untrack } from 'svelte';
import type { Charted } from '../metrics';
import { get, Refusal } from '../net/rest';
import { ofGroup, ofGroups, ofHosts, ofMemory, type HistoryData } from './history';
import { isoOf, type Stretch } from './range';
import { BEAT_MS } from './rings';
import { comparedIn, questionOf, type Group } from './subject';
import { world } from './world.svelte';

/** In a shorter step some hosts of a group have no sample, by turns, and their sum would jump. */
const GROUP_STEP_SECONDS = 15;
/** So many lines can be told apart. */
const COMPARED_MOST = 8;

/** What a screen wants to show. */
export interface Wanted {
  /** The chosen hosts; none: the group */
  readonly hostnames: readonly string[];
  readonly group: Group;
  readonly groupName: string;
  readonly members: readonly { readonly name: string; readonly seat: number }[];
  readonly metrics: readonly Charted[];
  readonly stretch: Stretch;
  readonly stepSeconds: number;
  /** The stretch as the person chose it: it stays the same while a span moves on with the clock */
  readonly range: string;
}

export class HistoryLoader {
  data = $state.raw<HistoryData | null>(null);
  error = $state.raw<Refusal | null>(null);
  isLoading = $state(false);
  private tries = $state(0);
  private asked: { key: string; abort: AbortController } | null = null;

  /** Follow `wanted`. Create it inside a component: it ends with the component. */
  constructor(private readonly wanted: () => Wanted) {
    $effect(() => {
      const { stretch, members, ...rest } = wanted();
      void stretch.to; // a later end asks again
      // Another question ends the one that is under way; the same question at a later time does not.
      const key = JSON.stringify([rest, members.map((member) => member.name), this.tries, world.info === null, world.isPast]);
      untrack(() => {
        if (this.asked?.key === key && this.isLoading) return;
        this.asked?.abort.abort();
        this.asked = { key, abort: new AbortController() };
        void this.load(this.asked.abort.signal);
      });
    });
    onDestroy(() => this.asked?.abort.abort());
  }

  /** Ask the same once more. */
  retry(): void {
    this.error = null;
    this.tries++;
  }

  private async load(signal: AbortSignal): Promise<void> {
    if (document.hidden || world.info === null) return;
    const { hostnames, groupName, members, stretch } = this.wanted();
    if (!world.has('history')) {
      const hosts = hostnames.length > 0 ? hostnames.map((name) => ({ name, seat: world.live.seatsByHostname.get(name) ?? -1 })) : members;
      this.data = ofMemory(world.rings, hosts, hostnames.length > 0 ? null : groupName, stretch.from, BEAT_MS / 1000);
      return;
    }
    this.isLoading = true;
    try {
      this.data = await this.ask(world.info.staleAfterSeconds, signal);
      this.error = null;
    } catch (problem) {
      if (signal.aborted) return;
      if (!(problem instanceof Refusal)) throw problem;
      this.error = problem;
    } finally {
      if (!signal.aborted) this.isLoading = false;
    }
  }

  private async ask(silenceSeconds: number, signal: AbortSignal): Promise<HistoryData> {
    const { hostnames, group, groupName, members, metrics, stretch, stepSeconds } = this.wanted();
    const query = { metrics: metrics.join(','), from: isoOf(stretch.from), to: isoOf(stretch.to), stepSeconds };
    if (hostnames.length > 0) {
      return ofHosts(await get('/api/history', { query: { ...query, hostname: [...hostnames] }, signal }), hostnames, silenceSeconds);
    }
    const question = questionOf(group, members.map((member) => member.name));
    if (question === null) return { times: [], stepSeconds, resolution: 'raw', unknown: [], series: [] };
    if (comparedIn(group) !== null) {
      const { stepSeconds: _usual, ...rest } = query; // how fine the lines of many groups can be, EGO knows
      return ofGroups(await get('/api/history', { query: { ...rest, groupBy: question.groupBy }, signal }), metrics[0], COMPARED_MOST, silenceSeconds);
    }
    const answer = await get('/api/history', { query: { ...query, stepSeconds: Math.max(stepSeconds, GROUP_STEP_SECONDS), hostname: [...question.hostnames], groupBy: question.groupBy }, signal });
    return ofGroup(answer, group.name, groupName, silenceSeconds);
  }
}
