/**
 * What the HUD knows of the network right now, and how sure it is: the twin that is shown, the state of the stream.
 *
 * `world.tick` is the one number that tells panels to look again (at most 4 times a second, never in a hidden tab);
 * they read plain columns then. The scene does not wait for it: it listens to `world.twin` itself.
 */

import { Link } from '../net/link';
import type { Info } from '../net/openapi';
import { get } from '../net/rest';
import type { Delta, Snapshot } from '../net/wire';
import { Rings } from './rings';
import { Rules } from './rules';
import { session } from './session.svelte';
import { Twin } from './twin';

const TICK_MS = 250;
const SILENCE_MS = 15_000; // three of the 5 s in which the delta stream says something even if nothing changed
const RESYNC_MS = 2_100; // EGO answers one every 2 s

export type Connection = 'connecting' | 'live' | 'silent' | 'lost';

class World {
  readonly live = new Twin();
  readonly rings = new Rings(this.live);
  /** The twin on show: the live one, or one of the past */
  twin = $state.raw(this.live);
  tick = $state(0);
  /** EGO's clock, moved on every second */
  clock = $state(Date.now());
  connection = $state<Connection>('connecting');
  hasFrame = $state(false);
  /** Date.now() of the next try to connect, while it is lost */
  retryAt = $state(0);
  lostReason = $state<string | null>(null);
  /** EGO's clock at the last frame */
  frameAt = $state(0);
  info = $state.raw<Info | null>(null);
  readonly rules = $derived(new Rules(this.info?.rules ?? []));
  readonly isPast = $derived(this.twin !== this.live);
  /** The moment on show: EGO's clock, that of the past, or that of the last frame while none comes. Ages are reckoned from it. */
  readonly now = $derived.by(() => {
    void this.tick;
    if (this.isPast) return this.twin.generatedAt;
    const isStill = this.hasFrame && (this.connection === 'lost' || this.connection === 'silent');
    return isStill ? this.frameAt : this.clock;
  });
  /** Milliseconds that EGO's clock is ahead of this one's */
  private clockOffset = -Infinity;
  private heardAt = 0;
  private tickedAt = 0;
  private tickTimer: ReturnType<typeof setTimeout> | undefined;
  private resyncedAt = 0;

  readonly link = new Link({
    opened: () => undefined,
    lost: (retryAt, reason) => {
      this.connection = 'lost';
      this.retryAt = retryAt;
      this.lostReason = reason;
      void session.ask(); // perhaps nobody is signed in any more
    },
  });
  readonly twinChannel = this.link.channel('/digital-twin', { stream: 'delta' });

  /** Connect, and keep the clock going. Call it once. */
  start(): void {
    const channel = this.twinChannel;
    channel.on('connect', () => this.welcome());
    channel.on('twin-snapshot', (snapshot: Snapshot) => this.taken(snapshot, true));
    channel.on('twin-state', (snapshot: Snapshot) => this.taken(snapshot, false)); // an EGO without the delta stream
    channel.on('twin-delta', (delta: Delta) => this.changed(delta));
    const isOpen = session.start({
      opened: () => {
        this.link.stop();
        this.link.start();
      },
      closed: () => {
        this.link.stop();
        this.connection = 'connecting'; // the sign-in says what to do, no banner
      },
    });
    if (isOpen) this.link.start();
    setInterval(() => this.beat(), 1_000);
    document.addEventListener('visibilitychange', () => this.ticked());
  }

  /** Show a twin of the past, or the live one again. */
  show(twin: Twin): void {
    this.twin = twin;
    this.ticked();
  }

  /** Whether EGO has a feature (of `/api/info`): what it has not is not shown. */
  has(feature: string): boolean {
    return this.info?.features.includes(feature) ?? false;
  }

  private welcome(): void {
    if (this.connection === 'lost') void session.ask(); // it may be another EGO now
    this.heard();
    this.learn();
  }

  /** Ask EGO what it is and by which rules it judges. */
  learn(): void {
    void get('/api/info').then(
      (info) => (this.info = info),
      () => undefined, // asked again at the next connect; nothing that is shown depends on it until then
    );
  }

  private taken(snapshot: Snapshot, answers: boolean): void {
    this.live.take(snapshot);
    this.settle(snapshot.revision, answers);
  }

  private changed(delta: Delta): void {
    if (this.live.apply(delta) === 'gap') {
      if (Date.now() - this.resyncedAt > RESYNC_MS) {
        this.resyncedAt = Date.now();
        this.twinChannel.emit('resync');
      }
      return;
    }
    this.settle(delta.revision, true);
  }

  private settle(revision: number, answers: boolean): void {
    if (answers) this.twinChannel.emit('seen', { revision });
    const generatedAt = this.live.generatedAt;
    if (generatedAt !== this.frameAt) {
      // The frame with the shortest way says most about the clocks; drift is followed slowly.
      const offset = generatedAt - Date.now();
      this.clockOffset = offset > this.clockOffset ? offset : this.clockOffset + (offset - this.clockOffset) / 100;
      this.frameAt = generatedAt;
    }
    this.hasFrame = true;
    this.heard();
    this.ticked();
  }

  private heard(): void {
    this.heardAt = performance.now();
    this.connection = this.hasFrame ? 'live' : 'connecting';
    this.lostReason = null;
  }

  private beat(): void {
    this.clock = Date.now() + (Number.isFinite(this.clockOffset) ? this.clockOffset : 0);
    if (this.connection === 'live') {
      this.rings.beat(this.clock);
      if (performance.now() - this.heardAt > SILENCE_MS) this.connection = 'silent';
    }
  }

  private ticked(): void {
    if (document.hidden || this.tickTimer !== undefined) return;
    const wait = this.tickedAt + TICK_MS - performance.now();
    if (wait <= 0) {
      this.tickedAt = performance.now();
      this.tick++;
    } else {
      this.tickTimer = setTimeout(() => {
        this.tickTimer = undefined;
        this.ticked();
      }, wait);
    }
  }
}

export const world = new World();
