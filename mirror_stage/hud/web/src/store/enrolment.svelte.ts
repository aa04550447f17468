/** How many hosts wait for an admin: asked each 30 s while an admin sees the page, so that the menu says it. */

import { get, Refusal } from '../net/rest';
import { session } from './session.svelte';

const EVERY_MS = 30_000;

class Enrolment {
  waiting = $state(0);

  /** Ask now, and go on asking. Call it once. */
  start(): void {
    $effect.root(() => {
      $effect(() => void this.ask()); // also when somebody else has signed in
    });
    setInterval(() => void this.ask(), EVERY_MS);
  }

  private async ask(): Promise<void> {
    if (!session.me?.permissions.includes('manage')) this.waiting = 0;
    else if (!document.hidden) {
      try {
        this.waiting = (await get('/api/agents', { query: { state: 'waiting' } })).total;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error; // asked again; the screen itself says what is wrong
      }
    }
  }
}

export const enrolment = new Enrolment();
