/** Which hosts take no command now, as far as EGO knows: asked while somebody writes one. */

import { get, Refusal } from '../net/rest';
import { OFFLINE } from './status';
import { world } from './world.svelte';

const EVERY_MS = 20_000;

/** Why a host cannot run a command now: its agent takes none, it is silent, or EGO has never heard of it. */
export type Hindrance = 'none' | 'offline' | 'unknown';

class Takers {
  private none = $state.raw<ReadonlySet<string>>(new Set());

  /** Keep asking until the returned function is called. */
  follow(): () => void {
    const leaving = new AbortController();
    const ask = (): void => void this.ask(leaving.signal);
    ask();
    const timer = setInterval(() => document.hidden || ask(), EVERY_MS);
    return () => {
      clearInterval(timer);
      leaving.abort();
    };
  }

  /** Why a host cannot run a command now; null: nothing speaks against it. */
  hindranceOf(hostname: string): Hindrance | null {
    const seat = world.live.seatsByHostname.get(hostname);
    if (seat === undefined) return 'unknown';
    if (this.none.has(hostname)) return 'none';
    return world.live.columns.state[seat] === OFFLINE ? 'offline' : null;
  }

  private async ask(signal: AbortSignal): Promise<void> {
    try {
      const { items } = await get('/api/hosts', { query: { takesCommands: false }, signal });
      this.none = new Set(items.map((host) => host.hostname));
    } catch (error) {
      if (!(error instanceof Refusal) && !signal.aborted) throw error; // EGO itself says it when the command is sent
    }
  }
}

export const takers = new Takers();
