/** What follows from the twin at each tick: how many hosts are in which state, and which match the search. */

import { SUMMED, type Summed } from '../metrics';
import { extremeOf, type Extreme } from './extremes';
import { parse } from './search';
import { STATES, worstOf } from './status';
import { view } from './view.svelte';
import { world } from './world.svelte';

class Fleet {
  readonly query = $derived(parse(view.query));

  /** Hosts by state, in the order of STATES; the hub counts when it is a real host. */
  readonly counts = $derived.by(() => {
    void world.tick;
    const { twin } = world;
    const counts = new Array<number>(STATES.length).fill(0);
    for (let seat = 0; seat < twin.end; seat++) {
      const entry = twin.entries[seat];
      if (entry && !entry.isSynthetic) counts[twin.columns.state[seat] as number]!++;
    }
    return counts;
  });

  /** The worst state that a host is in, or an alert says */
  readonly worst = $derived(worstOf(this.counts.flatMap((count, state) => (count > 0 ? [state] : []))));

  readonly total = $derived(this.counts.reduce((sum, count) => sum + count, 0));

  /** 1 for each seat whose host matches the search; null: nothing is searched, all do. */
  readonly mask = $derived.by(() => {
    void world.tick;
    const { twin } = world;
    if (!this.query.compile) return null;
    const matches = this.query.compile(twin, world.now);
    const mask = new Uint8Array(twin.end);
    for (let seat = 0; seat < twin.end; seat++) if (matches(seat)) mask[seat] = 1;
    return mask;
  });

  /** Whether a host matches the search; one that is not there matches none. */
  isFound(hostname: string): boolean {
    const seat = world.twin.seatsByHostname.get(hostname);
    return this.mask === null || (seat !== undefined && this.mask[seat] === 1);
  }

  /** Mean and worst of the hosts that match: a mean alone hides the one that is full. */
  readonly extremes = $derived.by(() => {
    void world.tick;
    return Object.fromEntries(SUMMED.map((gauge) => [gauge, extremeOf(world.twin, gauge, this.mask)])) as Record<
      Summed,
      Extreme | null
    >;
  });

  readonly matching = $derived(this.mask ? this.mask.reduce((sum, one) => sum + one, 0) : this.total);
}

export const fleet = new Fleet();
