/** What EGO says about its own parts: asked each 30 s while the page is visible, so that the menu shows what needs attention. */

import { address } from '../net/base';
import { pageHalf } from '../net/pagehalf';
import type { Check, Ready } from '../net/openapi';

const EVERY_MS = 30_000;

class Health {
  checks = $state.raw<Record<string, Check>>({});
  /** The checks that are not ok: [name, what EGO says] */
  readonly troubles = $derived(Object.entries(this.checks).filter(([, check]) => !check.ok).map(([name, check]) => [name, check.detail] as const));

  /** Ask now, and go on asking. Call it once. */
  start(): void {
    void this.ask();
    setInterval(() => {
      if (!document.hidden) void this.ask();
    }, EVERY_MS);
  }

  /** Ask now. If EGO cannot be reached, the last answer stays: the banner says that the connection is lost. */
  async ask(): Promise<void> {
    try {
      const answer = await fetch(address('api/health/ready'), { headers: pageHalf.headers, signal: AbortSignal.timeout(EVERY_MS) });
      this.checks = ((await answer.json()) as Ready).checks ?? this.checks; // 503 has the same body
    } catch {
      // nobody answered, or a proxy answered in a form of its own
    }
  }
}

export const health = new Health();
