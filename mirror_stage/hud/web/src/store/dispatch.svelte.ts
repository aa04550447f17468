/** Whether EGO hands out commands; if not, since when, why, and who stopped it. */

import type { Dispatch as State } from '../net/openapi';
import { put } from '../net/rest';
import { world } from './world.svelte';

class Dispatch {
  /** null: EGO has not said yet */
  state = $state.raw<State | null>(null);
  readonly isStopped = $derived(this.state?.stopped ?? false);

  /** Follow EGO. Call it once, before `world.start`. */
  start(): void {
    $effect.root(() => {
      $effect(() => {
        if (world.info) this.state = world.info.dispatch;
      });
    });
    world.twinChannel.on('dispatch-update', (state: State) => (this.state = state));
  }

  /** Stop all commands, or let them run again. A refusal is thrown. */
  async set(stopped: boolean, reason: string | null = null): Promise<void> {
    this.state = await put('/api/dispatch', { stopped, reason });
  }
}

export const dispatch = new Dispatch();
