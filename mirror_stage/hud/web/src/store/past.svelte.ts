/**
 * Time travel: the twin of the moment that the address says is put on show, and the clock that moves that moment on.
 *
 * The live twin goes on behind it, unseen; what happens meanwhile is counted, and coming back shows now at once.
 */

import { untrack } from 'svelte';
import type { Host, Snapshot } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import { alerts } from './alerts.svelte';
import { advanced, nextSpeed, SPEEDS } from './playback';
import { Twin } from './twin';
import { view } from './view.svelte';
import { world } from './world.svelte';

const BEAT_MS = 500;
const WRITE_MS = 300; // browsers refuse an address that changes all the time
const UNKNOWN_SLOT = 1e9; // hosts that are gone stand behind those that are there

class Past {
  /** The moment that is asked for, milliseconds since 1970; null: now */
  at = $state<number | null>(null);
  isLoading = $state(false);
  isPlaying = $state(false);
  speed = $state<number>(SPEEDS[0]);
  error = $state.raw<Refusal | null>(null);
  /** How finely EGO still knows the moment on show */
  resolution = $state<NonNullable<Snapshot['resolution']>>('raw');
  /** What happened live since the past is on show */
  missed = $state.raw({ fired: 0, critical: 0, resolved: 0 });

  private readonly twin = new Twin();
  private readonly goneSlots = new Map<string, number>();
  private shownAt: number | null = null;
  private written: string | null = null;
  private writeTimer: ReturnType<typeof setTimeout> | undefined;
  private beatTimer: ReturnType<typeof setInterval> | undefined;
  private beatAt = 0;
  private abort: AbortController | null = null;

  /** Follow the address. Call it once, inside a component. */
  start(): void {
    $effect(() => {
      const said = world.has('replay') ? view.at : null;
      untrack(() => {
        if (said === this.written) return;
        this.written = said;
        this.set(said === null ? null : Date.parse(said));
      });
    });
    alerts.listen(({ transition, alert }) => {
      if (!world.isPast || transition === 'updated') return;
      const { fired, critical, resolved } = this.missed;
      this.missed =
        transition === 'fired'
          ? { fired: fired + 1, critical: critical + (alert.severity === 'critical' ? 1 : 0), resolved }
          : { fired, critical, resolved: resolved + 1 };
    });
  }

  /** Show a moment, null: now. The address follows. */
  go(at: number | null): void {
    this.set(at);
    if (at === null) {
      clearTimeout(this.writeTimer);
      this.writeTimer = undefined;
      this.write();
    } else {
      this.writeTimer ??= setTimeout(() => this.write(), WRITE_MS);
    }
  }

  toggle(): void {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  play(): void {
    if (this.at === null) return;
    this.isPlaying = true;
    this.beatAt = performance.now();
    this.beatTimer ??= setInterval(() => this.beat(), BEAT_MS);
  }

  pause(): void {
    this.isPlaying = false;
    clearInterval(this.beatTimer);
    this.beatTimer = undefined;
  }

  faster(): void {
    this.speed = nextSpeed(this.speed);
  }

  /** Ask for the same moment once more. */
  retry(): void {
    this.shownAt = null;
    void this.ask();
  }

  private set(at: number | null): void {
    this.at = at === null ? null : Math.floor(at / 1000) * 1000;
    if (this.at === null) this.leave();
    else void this.ask();
  }

  private write(): void {
    this.writeTimer = undefined;
    this.written = this.at === null ? null : new Date(this.at).toISOString();
    view.set({ at: this.written });
  }

  private beat(): void {
    const passed = performance.now() - this.beatAt;
    if (this.at === null || passed * this.speed < 1_000) return; // a moment is a whole second
    this.beatAt += passed;
    this.go(advanced(this.at, passed, this.speed, world.clock));
  }

  private leave(): void {
    this.pause();
    this.abort?.abort();
    this.error = null;
    this.shownAt = null;
    this.written = null;
    alerts.past = null;
    if (world.isPast) world.show(world.live);
  }

  /** Bring what is asked for; of moments that were asked for meanwhile only the last. */
  private async ask(): Promise<void> {
    if (this.isLoading) return;
    this.isLoading = true;
    const abort = (this.abort = new AbortController());
    try {
      while (this.at !== null && this.at !== this.shownAt) {
        const at = this.at;
        const query = { at: new Date(at).toISOString() };
        const snapshot = await get('/api/twin/state', { query, signal: abort.signal });
        if (this.at === null) break;
        this.take(snapshot);
        this.shownAt = at;
        this.error = null;
      }
    } catch (error) {
      if (!abort.signal.aborted) { // else it was left meanwhile, and the question with it
        if (!(error instanceof Refusal)) throw error;
        this.error = error;
        this.pause();
      }
    } finally {
      this.isLoading = false;
    }
    if (this.at !== null && this.at !== this.shownAt && this.error === null) void this.ask();
  }

  private take(snapshot: Snapshot): void {
    if (!world.isPast) this.missed = { fired: 0, critical: 0, resolved: 0 };
    this.twin.take({ ...snapshot, hosts: snapshot.hosts.map((host) => ({ ...host, slot: this.slotOf(host) })) });
    this.resolution = snapshot.resolution ?? 'raw';
    alerts.past = snapshot.alerts ?? [];
    world.show(this.twin);
  }

  /** The slot that the host has now, so that it stands where it stands now. */
  private slotOf(host: Host): number {
    const seat = world.live.seatsByHostname.get(host.hostname);
    if (seat !== undefined) return world.live.columns.slot[seat] as number;
    const slot = this.goneSlots.get(host.hostname) ?? UNKNOWN_SLOT + this.goneSlots.size;
    this.goneSlots.set(host.hostname, slot);
    return slot;
  }
}

export const past = new Past();
