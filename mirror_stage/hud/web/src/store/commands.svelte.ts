/**
 * Commands and their output: loaded from EGO when first looked at, then kept by its updates.
 *
 * Whoever shows a running command says `watch(id)`; EGO streams at most 16 commands to one browser, so the shown ones
 * alone are watched.
 */

import { newKey } from '../net/keys';
import type { Command } from '../net/openapi';
import { get, post, Refusal } from '../net/rest';
import type { CommandOutput } from '../net/wire';
import { asItWas, following, isOpen, runsOf } from './runs';
import { session } from './session.svelte';
import { world } from './world.svelte';

const PAGE_SIZE = 100;
/** A run that a page cuts in two is completed, up to so many pages */
const PAGES_MOST = 10;
const AT_ONCE = 6;
const TRIES = 4;
const LONGEST_PAUSE_SECONDS = 10;
const UPDATE_MS = 200;

/** One host's command on its way to EGO; the key makes a second try the same command. */
export interface Errand {
  readonly hostname: string;
  readonly retryOf: string | null;
  /** That nobody can verify this host was confirmed */
  readonly isConfirmed: boolean;
  readonly key: string;
  refusal: Refusal | null;
}

export interface Sending {
  readonly run: string;
  readonly command: string;
  readonly timeoutSeconds: number;
  /** Of the whole run, also while only a part of it is sent again */
  readonly size: number;
  readonly errands: readonly Errand[];
  done: number;
}

interface Watched {
  chunks: CommandOutput[];
  watchers: number;
}

class Commands {
  /** Changed at most 5 times a second, however fast commands end */
  private live = $state.raw(runsOf([]));
  /** Those of the moment on show */
  readonly runs = $derived.by(() => {
    if (!world.isPast) return this.live;
    const at = world.now;
    return runsOf(this.live.flatMap((run) => run.commands.flatMap((command) => asItWas(command, at) ?? [])));
  });
  isLoaded = $state(false);
  isLoading = $state(false);
  error = $state.raw<Refusal | null>(null);
  total = $state(0);
  /** One more with each piece of output, at most 5 times a second */
  beat = $state(0);
  /** Errands that EGO refused or that are under way, by run */
  sendings = $state.raw<ReadonlyMap<string, Sending>>(new Map());

  private readonly byId = new Map<string, Command>();
  private readonly outputs = new Map<string, Watched>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private channel: ReturnType<typeof world.link.channel> | undefined;

  /** Follow EGO from now on; again is harmless. */
  open(): void {
    if (this.channel) return;
    this.channel = world.link.channel('/commands', {}, () => session.may('read-commands'));
    this.channel.on('connect', () => {
      void this.load();
      for (const id of this.outputs.keys()) this.ask(id);
    });
    this.channel.on('command-update', (command: Command) => this.take(command));
    this.channel.on('command-output', (chunk: CommandOutput) => this.hear(chunk));
  }

  /** The newest commands. */
  load(): Promise<void> {
    return this.fetch(1);
  }

  /** The commands before those that are here. */
  loadOlder(): Promise<void> {
    return this.fetch(Math.floor(this.byId.size / PAGE_SIZE) + 1);
  }

  /** Load until the commands of a moment are here, a bounded number of pages. */
  async loadUntil(at: number): Promise<void> {
    for (let page = 0; page < PAGES_MOST && this.hasOlder && !this.isLoading; page++) {
      if ([...this.byId.values()].some((command) => Date.parse(command.requestedAt) < at)) return;
      await this.loadOlder();
    }
  }

  get hasOlder(): boolean {
    return this.isLoaded && this.byId.size < this.total && this.byId.size < 10_000;
  }

  /** What a command has printed as far as it was heard here. */
  chunksOf(id: string): readonly CommandOutput[] {
    return this.outputs.get(id)?.chunks ?? [];
  }

  /** Have a command's output streamed until the returned function is called. */
  watch(id: string): () => void {
    const watched = this.outputs.get(id) ?? { chunks: [], watchers: 0 };
    this.outputs.set(id, watched);
    if (watched.watchers++ === 0) this.ask(id);
    return () => {
      watched.watchers--;
    };
  }

  /** Create a command for each host. Answers the run's name at once; `sendings` tells how far it is. */
  send(command: string, timeoutSeconds: number, hosts: readonly { hostname: string; retryOf?: string; isConfirmed?: boolean }[]): string {
    const run = newKey();
    const errands = hosts.map(({ hostname, retryOf, isConfirmed }): Errand => ({ hostname, retryOf: retryOf ?? null, isConfirmed: isConfirmed ?? false, key: newKey(), refusal: null }));
    void this.run({ run, command, timeoutSeconds, size: hosts.length, errands, done: 0 });
    return run;
  }

  /** Send again what EGO refused of a run, under the same keys. */
  sendAgain(run: string): void {
    const sending = this.sendings.get(run);
    if (!sending) return;
    const errands = sending.errands.filter((errand) => errand.refusal !== null);
    void this.run({ ...sending, errands, done: 0 });
  }

  /** Ask EGO to end a command. A refusal is thrown; one that it is over already means that there is nothing to do. */
  async cancel(ids: readonly string[]): Promise<void> {
    await inTurns(ids, async (id) => {
      try {
        this.take(await post('/api/commands/{id}/cancel', undefined, { path: { id } }));
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 409) throw error;
      }
    });
  }

  private async run(sending: Sending): Promise<void> {
    this.settleSending(sending.run, sending);
    await inTurns(sending.errands, async (errand) => {
      errand.refusal = await this.sendOne(sending, errand);
      sending.done++;
      this.settleSending(sending.run, sending);
    });
    this.settleSending(sending.run, sending.errands.some((errand) => errand.refusal) ? sending : null);
  }

  private async sendOne(sending: Sending, errand: Errand): Promise<Refusal | null> {
    const { command, timeoutSeconds, run } = sending;
    const { hostname, retryOf, isConfirmed } = errand;
    const body = { hostname, command, timeoutSeconds, metadata: { run, hosts: sending.size }, ...(retryOf && { retryOf }), ...(isConfirmed && { confirmUnverified: true }) };
    for (let left = TRIES - 1; ; left--) {
      try {
        this.take(await post('/api/commands', body, { headers: { 'Idempotency-Key': errand.key } }));
        return null;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        // No answer, overload and an unknown outcome pass; the key makes another try harmless.
        const mayPass = error.status === 0 || error.status >= 502;
        if (!mayPass || left === 0) return error;
        await pause(Math.min(error.retryAfterSeconds ?? TRIES - left, LONGEST_PAUSE_SECONDS));
      }
    }
  }

  private settleSending(run: string, sending: Sending | null): void {
    const all = new Map(this.sendings);
    if (sending) all.set(run, { ...sending });
    else all.delete(run);
    this.sendings = all;
  }

  private async fetch(first: number): Promise<void> {
    this.isLoading = true;
    try {
      for (let page = first; page < first + PAGES_MOST; page++) {
        const { items, total } = await get('/api/commands', { query: { page, pageSize: PAGE_SIZE } });
        for (const command of items) this.put(command);
        this.total = total;
        const oldest = runsOf(this.byId.values()).at(-1);
        if (!oldest || oldest.commands.length >= oldest.size || page * PAGE_SIZE >= total) break;
      }
      this.error = null;
      this.isLoaded = true;
      this.settle();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.error = error;
    } finally {
      this.isLoading = false;
    }
  }

  private take(command: Command): void {
    if (!this.byId.has(command.id)) this.total++;
    if (this.put(command)) this.settle();
  }

  /** Whether it is newer than what was known. An agent that comes or goes is no transition: `deliverable` may differ. */
  private put(command: Command): boolean {
    const known = this.byId.get(command.id);
    if (known && known.version > command.version) return false;
    this.byId.set(command.id, command);
    if (!isOpen(command) && this.outputs.get(command.id)?.watchers === 0) this.outputs.delete(command.id);
    return true;
  }

  private ask(id: string): void {
    if (!this.channel?.connected) return;
    this.channel.emit('watch-command', { id, afterSeq: this.outputs.get(id)?.chunks.at(-1)?.seq ?? -1 });
  }

  private hear(chunk: CommandOutput): void {
    const watched = this.outputs.get(chunk.id);
    if (!watched || chunk.seq <= (watched.chunks.at(-1)?.seq ?? -1)) return;
    watched.chunks.push(following(watched.chunks, chunk));
    this.settle();
  }

  private settle(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.live = runsOf(this.byId.values());
      this.beat++;
    }, UPDATE_MS);
  }
}

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1_000));

/** Do `work` for all, a few at a time. */
async function inTurns<One>(all: readonly One[], work: (one: One) => Promise<void>): Promise<void> {
  const waiting = [...all];
  await Promise.all(
    Array.from({ length: Math.min(AT_ONCE, waiting.length) }, async () => {
      for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await work(one);
    }),
  );
}

export const commands = new Commands();
