/** One connection to EGO for all namespaces, opened again with growing, jittered pauses whenever it breaks. */

import { Manager, type Socket } from 'socket.io-client';
import { socketOrigin, socketPath } from './base';
import type { Problem } from './openapi';
import { pageHalf } from './pagehalf';
import { pauseBefore } from './pause';

export interface LinkEvents {
  opened(): void;
  /** It broke or could not be opened; tried again at `retryAt` (Date.now()). `reason` is EGO's, if it gave one. */
  lost(retryAt: number, reason: string | null): void;
}

export class Link {
  private readonly manager = new Manager(socketOrigin, {
    path: socketPath,
    transports: ['websocket', 'polling'],
    tryAllTransports: true, // a proxy that refuses websockets still lets polling through
    autoConnect: false,
    reconnection: false, // the next try is shown to the person, so its time must be known
    timeout: 8_000,
  });
  private readonly channels: { socket: Socket; isWanted: () => boolean }[] = [];
  private attempt = 0;
  private isRunning = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly events: LinkEvents) {
    this.manager.on('open', () => events.opened());
    this.manager.on('close', () => this.retryLater(null));
    this.manager.on('error', (error) => this.retryLater(reasonIn(error)));
  }

  /** The socket of a namespace: opened by `start`, at once if that was before, but only while `isWanted`. */
  channel(namespace: string, auth: Record<string, unknown> = {}, isWanted = () => true): Socket {
    const socket = this.manager.socket(namespace, { auth: (give) => give({ ...auth, ...(pageHalf.value !== null && { page: pageHalf.value }) }) });
    socket.on('connect', () => (this.attempt = 0));
    socket.on('connect_error', (error) => this.retryLater(error.message));
    socket.on('disconnect', (reason) => reason === 'io server disconnect' && this.retryLater(null));
    this.channels.push({ socket, isWanted });
    // Not by another `start`: that would ask again for namespaces whose answer is on its way, and EGO would hang up.
    if (this.isRunning && this.timer === undefined && isWanted()) socket.connect();
    return socket;
  }

  /** Try now, whatever the pause. */
  start(): void {
    this.isRunning = true;
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const { socket, isWanted } of this.channels) if (!socket.connected && isWanted()) socket.connect();
  }

  /** Hang up, and do not try again until `start`. */
  stop(): void {
    this.isRunning = false;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.attempt = 0;
    for (const { socket } of this.channels) socket.disconnect();
  }

  private retryLater(reason: string | null): void {
    if (this.timer !== undefined || !this.isRunning) return;
    const pause = pauseBefore(this.attempt++, Math.random());
    this.timer = setTimeout(() => this.start(), pause);
    this.events.lost(Date.now() + pause, reason);
  }
}

/** What EGO said when it refused a poll; null if the answer is not EGO's, or there is none. */
function reasonIn(error: unknown): string | null {
  try {
    return (JSON.parse((error as { context: XMLHttpRequest }).context.responseText) as Problem).detail;
  } catch {
    return null;
  }
}
