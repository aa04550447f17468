/** The open alerts: loaded once per connection, then kept by EGO's updates; or those of the past that is on show. */

import type { Alert } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import type { AlertUpdate } from '../net/wire';
import { SEVERITIES } from './status';
import { world } from './world.svelte';

type Listener = (update: AlertUpdate) => void;

class Alerts {
  /** Those of the moment on show, the most severe first, then the newest */
  readonly active = $derived.by(() => ordered(this.past ?? this.live));
  /** Those that were open at the moment of the past that is on show; null: it is now */
  past = $state.raw<readonly Alert[] | null>(null);
  private live = $state.raw<readonly Alert[]>([]);
  isLoaded = $state(false);
  error = $state.raw<Refusal | null>(null);

  private readonly byId = new Map<string, Alert>();
  private readonly versions = new Map<string, number>();
  private readonly listeners = new Set<Listener>();

  /** Follow EGO. Call it once, before `world.start`. */
  start(): void {
    const channel = world.link.channel('/alerts');
    channel.on('connect', () => void this.load());
    channel.on('alert-update', (update: AlertUpdate) => this.take(update));
  }

  /** Call `listener` for every transition; the returned function ends it. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async load(): Promise<void> {
    try {
      const active = await get('/api/alerts/active');
      this.byId.clear();
      for (const alert of active) this.byId.set(alert.id, alert);
      this.error = null;
      this.isLoaded = true;
      this.settle();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.error = error;
    }
  }

  private take(update: AlertUpdate): void {
    const { alert, transition, version } = update;
    if (version <= (this.versions.get(alert.id) ?? -1)) return;
    if (transition === 'resolved') {
      this.byId.delete(alert.id);
      this.versions.delete(alert.id);
    } else {
      this.byId.set(alert.id, alert);
      this.versions.set(alert.id, version);
    }
    this.settle();
    for (const listener of this.listeners) listener(update);
  }

  private settle(): void {
    this.live = [...this.byId.values()];
  }
}

function ordered(open: readonly Alert[]): readonly Alert[] {
  const weight = (alert: Alert): number => SEVERITIES.indexOf(alert.severity);
  return [...open].sort((one, other) => weight(other) - weight(one) || other.createdAt.localeCompare(one.createdAt));
}

export const alerts = new Alerts();
