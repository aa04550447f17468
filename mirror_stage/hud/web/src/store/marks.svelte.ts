/** The alerts of some hosts over a stretch of time, for the marks of the history: asked for once, then kept by EGO's updates. */

import type { Alert } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import { alerts } from './alerts.svelte';
import type { Stretch } from './range';

const PAGE = 100;
const PAGES_MOST = 3;

export class Marks {
  private found = $state.raw<readonly Alert[]>([]);
  /** Older ones than these were not asked for: there are too many */
  isCut = $state(false);

  /** Those that were open at some time of the stretch, for the hosts that `isMeant`. */
  within({ from, to }: Stretch, isMeant: (hostname: string) => boolean): Alert[] {
    const byId = new Map([...this.found, ...alerts.active].map((alert) => [alert.id, alert]));
    return [...byId.values()].filter((alert) => {
      const begins = Date.parse(alert.createdAt) / 1000;
      const ends = alert.resolvedAt === null ? Infinity : Date.parse(alert.resolvedAt) / 1000;
      return begins <= to && ends >= from && isMeant(alert.hostname);
    });
  }

  /** Ask for the alerts of hosts by name, null: of all. A refusal leaves the lines without marks, and is told. */
  async load(hostnames: readonly string[] | null, since: number, signal: AbortSignal): Promise<Refusal | null> {
    try {
      const rows = hostnames === null ? [await this.pages(undefined, since, signal)] : await Promise.all(hostnames.map((hostname) => this.pages(hostname, since, signal)));
      this.found = rows.flatMap((one) => one.alerts);
      this.isCut = rows.some((one) => one.isCut);
      return null;
    } catch (error) {
      if (signal.aborted) return null;
      if (error instanceof Refusal) return error;
      throw error;
    }
  }

  private async pages(hostname: string | undefined, since: number, signal: AbortSignal): Promise<{ alerts: Alert[]; isCut: boolean }> {
    const found: Alert[] = [];
    for (let page = 1; page <= PAGES_MOST; page++) {
      const { items, total } = await get('/api/alerts', { query: { hostname, page, pageSize: PAGE }, signal });
      found.push(...items);
      const oldest = items.at(-1);
      if (!oldest || found.length >= total || Date.parse(oldest.createdAt) / 1000 < since) return { alerts: found, isCut: false };
    }
    return { alerts: found, isCut: true };
  }
}
