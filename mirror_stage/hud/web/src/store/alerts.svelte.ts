/** The open alerts: loaded once per connection, then kept by EGO's updates; or those of the past that is on show. */

import { LIVE, type Live } from '../metrics';
import type { Alert } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import type { AlertUpdate } from '../net/wire';
import { ordered } from './alertlog';
import { OK, worstOf } from './status';
import { world } from './world.svelte';

type Listener = (update: AlertUpdate) => void;

class Alerts {
  /** Those of the moment on show, the worst first, then the newest */
  readonly active = $derived.by(() => ordered(this.past ?? this.live, (alert) => world.rules.stateOf(alert)));
  private readonly ids = $derived.by(() => new Set(this.active.map((alert) => alert.id)));
  /** The worst state that they put a host in */
  readonly worst = $derived.by(() => worstOf(this.active.map((alert) => world.rules.stateOf(alert))));
  /** Those that were open at the moment of the past that is on show; null: it is now */
  past = $state.raw<readonly Alert[] | null>(null);
  private live = $state.raw<readonly Alert[]>([]);
  isLoaded = $state(false);
  error = $state.raw<Refusal | null>(null);

  private channel!: ReturnType<typeof world.link.channel>;
  private readonly byId = new Map<string, Alert>();
  private readonly versions = new Map<string, number>();
  private readonly listeners = new Set<Listener>();

  /** Follow EGO. Call it once, before `world.start`. */
  start(): void {
    const channel = (this.channel = world.link.channel('/alerts'));
    channel.on('connect', () => void this.load());
    channel.on('alert-update', (update: AlertUpdate) => this.take(update));
    channel.on('rules-changed', () => world.learn());
    // Which alerts are quiet may differ now; many may begin or end at once.
    let timer: ReturnType<typeof setTimeout> | undefined;
    channel.on('silence-update', () => {
      clearTimeout(timer);
      timer = setTimeout(() => void this.load(), 300);
    });
  }

  /** Call `listener` for every event of this name in the namespace of alerts; the returned function ends it. */
  hear<Payload>(event: string, listener: (payload: Payload) => void): () => void {
    this.channel.on(event, listener);
    return () => this.channel.off(event, listener);
  }

  /** Call `listener` for every transition; the returned function ends it. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The metric that its worst alert is about, by host, as far as the twin shows that metric */
  readonly fired = $derived.by(() => {
    const found = new Map<string, Live>();
    for (const alert of this.active) {
      const metric = world.rules.measureOf(alert) as Live | null;
      if (!found.has(alert.hostname) && metric !== null && LIVE.includes(metric) && world.rules.stateOf(alert) !== OK) found.set(alert.hostname, metric);
    }
    return found;
  });

  /** The hosts that others are silent because of */
  readonly causes = $derived.by(() => new Set(this.active.flatMap(({ cause }) => (cause?.why === 'uplink' ? [cause.name] : []))));

  /** Whether an alert is open at the moment on show. */
  isOpen(id: string): boolean {
    return this.ids.has(id);
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

export const alerts = new Alerts();
