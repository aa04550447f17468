/** One connection to EGO for all namespaces, opened again with growing, jittered pauses whenever it breaks. */

import { Manager, type Socket } from 'socket.io-client';
import { socketOrigin, socketPath } from './base';
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
  private readonly channels: Socket[] = [];
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly events: LinkEvents) {
    this.manager.on('open', () => events.opened());
    this.manager.on('close', () => this.retryLater(null));
    this.manager.on('error', () => this.retryLater(null));
  }

  /** The socket of a namespace. Add it before `start`. */
  channel(namespace: string, auth: Record<string, unknown> = {}): Socket {
    const socket = this.manager.socket(namespace, { auth });
    socket.on('connect', () => (this.attempt = 0));
    socket.on('connect_error', (error) => this.retryLater(error.message));
    this.channels.push(socket);
    return socket;
  }

  /** Try now, whatever the pause. */
  start(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const socket of this.channels) if (!socket.connected) socket.connect();
  }

  private retryLater(reason: string | null): void {
    if (this.timer !== undefined) return;
    const pause = pauseBefore(this.attempt++, Math.random());
    this.timer = setTimeout(() => this.start(), pause);
    this.events.lost(Date.now() + pause, reason);
  }
}
