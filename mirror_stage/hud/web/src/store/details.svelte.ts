/** What EGO knows of a host beyond the stream: asked for while somebody looks, up to 4 hosts at a time. */

import type { HostDetail } from '../net/openapi';
import { world } from './world.svelte';

/** The newest detail and the report before it: rates come from two. */
export interface Watched {
  readonly now: HostDetail;
  readonly before: HostDetail | null;
}

class Details {
  private byHostname = $state.raw<ReadonlyMap<string, Watched>>(new Map());
  private readonly watchers = new Map<string, number>();
  private isListening = false;

  of(hostname: string): Watched | undefined {
    return this.byHostname.get(hostname);
  }

  /** Have a host's detail kept until the returned function is called. */
  watch(hostname: string): () => void {
    this.listen();
    const count = this.watchers.get(hostname) ?? 0;
    this.watchers.set(hostname, count + 1);
    if (count === 0) world.twinChannel.emit('watch-host', { hostname }); // kept by the socket until it is connected
    return () => this.leave(hostname);
  }

  private leave(hostname: string): void {
    const count = (this.watchers.get(hostname) ?? 1) - 1;
    if (count > 0) return void this.watchers.set(hostname, count);
    this.watchers.delete(hostname);
    world.twinChannel.emit('unwatch-host', { hostname });
    const rest = new Map(this.byHostname);
    rest.delete(hostname);
    this.byHostname = rest;
  }

  private listen(): void {
    if (this.isListening) return;
    this.isListening = true;
    world.twinChannel.on('host-detail', (detail: HostDetail) => this.take(detail));
    world.twinChannel.on('connect', () => {
      for (const hostname of this.watchers.keys()) world.twinChannel.emit('watch-host', { hostname });
    });
  }

  private take(now: HostDetail): void {
    if (!this.watchers.has(now.hostname)) return;
    const known = this.byHostname.get(now.hostname);
    const before = known === undefined ? null : known.now.reportedAt === now.reportedAt ? known.before : known.now;
    this.byHostname = new Map(this.byHostname).set(now.hostname, { now, before });
  }
}

export const details = new Details();
