/** What EGO knows of a few hosts beyond the stream, asked once: whether their agents take commands. */

import { untrack } from 'svelte';
import type { HostDetail } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import { world } from './world.svelte';

/** A host by its name, and what is known of it; null: no such host. */
export type Known = readonly [hostname: string, detail: HostDetail | null];

/** What is known of these hosts. One that EGO does not answer for is left out. */
export async function knownOf(hostnames: readonly string[], signal: AbortSignal): Promise<Known[]> {
  const asked = hostnames.map(async (hostname): Promise<Known | null> => {
    if (!untrack(() => world.live.host(hostname))) return [hostname, null];
    try {
      return [hostname, await get('/api/hosts/{hostname}', { path: { hostname }, signal })];
    } catch (error) {
      return error instanceof Refusal && error.status === 404 ? [hostname, null] : null;
    }
  });
  return (await Promise.all(asked)).filter((one) => one !== null);
}
