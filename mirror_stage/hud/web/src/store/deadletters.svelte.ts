/** How many messages were given up within a day: asked each 30 s, and whenever EGO has told of a try, while somebody watches. */

import { get, Refusal } from '../net/rest';
import { alerts } from './alerts.svelte';
import { world } from './world.svelte';

const EVERY_MS = 30_000;
const SHOWN_MS = 86_400_000; // as long as EGO's readiness names them

class DeadLetters {
  count = $state(0);

  /** Ask now, and go on asking until the returned function is called. */
  watch(): () => void {
    void this.ask();
    const timer = setInterval(() => document.hidden || void this.ask(), EVERY_MS);
    const deaf = alerts.hear('delivery-update', () => void this.ask());
    return () => {
      clearInterval(timer);
      deaf();
    };
  }

  private async ask(): Promise<void> {
    try {
      const { items } = await get('/api/deliveries', { query: { state: 'dead', pageSize: 100 } });
      this.count = items.filter(({ endedAt }) => endedAt !== null && world.clock - Date.parse(endedAt) < SHOWN_MS).length;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error; // asked again; the list itself says what is wrong
    }
  }
}

export const deadLetters = new DeadLetters();
