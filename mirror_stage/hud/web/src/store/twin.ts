/**
 * The twin in the browser: one seat for each host, its numbers in typed columns, changed in place by each frame.
 *
 * A *slot* is EGO's number for a host (rising, never reused in an epoch; it orders the layout). A *seat* is the host's
 * place in the columns here: dense, kept as long as the host is there, given to another when it left. Nothing in here
 * is reactive: who draws calls `listen` and is told which seats changed.
 */

import { GAUGES, LIVE, METRICS, OF_HOST, OF_LINK, type Live } from '../metrics';
import type { Link } from '../net/openapi';
import type { Delta, HostEntry, Snapshot, Status } from '../net/wire';
import { severityCode, stateOf } from './status';

const FIRST_CAPACITY = 1024;
const STATUS_CODES: Record<Status, number> = { online: 0, stale: 1, offline: 2 };

/** What one frame did. A seat can be in `removed` and `upserted` at once: another host took it. */
export interface Changes {
  /** All seats may hold other hosts than before: a snapshot came. */
  readonly whole: boolean;
  readonly removed: readonly number[];
  /** New hosts, and hosts of which something other than a gauge changed (name, rack, severity, place, …). */
  readonly upserted: readonly number[];
  /** Hosts of which status, age or a gauge was sent. */
  readonly touched: readonly number[];
}

export type Applied = 'applied' | 'gap';
export type Listener = (changes: Changes) => void;

/** Columns, indexed by seat. NaN: unknown. Replaced when they grow, so do not keep a column across frames. */
export type Columns = Record<Live, Float32Array | Float64Array> & {
  /** 0 online, 1 stale, 2 offline */
  status: Uint8Array;
  /** 0 none, 1 info, 2 warning, 3 critical */
  severity: Uint8Array;
  /** a place in STATES */
  state: Uint8Array;
  /** EGO's number of the host */
  slot: Float64Array;
  /** milliseconds since 1970 by EGO's clock */
  lastSeenAt: Float64Array;
};

export class Twin {
  twinId = '';
  epoch = '';
  revision = -1;
  /** EGO's clock in the last frame, milliseconds since 1970; 0 before the first frame */
  generatedAt = 0;
  /** How many hosts there are, the hub among them */
  size = 0;
  /** One more than the highest seat taken: columns are read up to here, and `entries[seat]` says whether it is taken */
  end = 0;
  columns: Columns = columnsOf(FIRST_CAPACITY);
  entries: (HostEntry | undefined)[] = [];
  readonly seatsByHostname = new Map<string, number>();

  private readonly seatsBySlot = new Map<number, number>();
  private readonly free: number[] = [];
  private readonly listeners = new Set<Listener>();

  get capacity(): number {
    return this.columns.status.length;
  }

  /** Call `listener` after every frame; the returned function ends it. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Every taken seat, lowest first. */
  *seats(): Generator<number> {
    for (let seat = 0; seat < this.end; seat++) if (this.entries[seat]) yield seat;
  }

  /** The host of a name, or undefined. */
  host(hostname: string | null): HostEntry | undefined {
    const seat = hostname === null ? undefined : this.seatsByHostname.get(hostname);
    return seat === undefined ? undefined : this.entries[seat];
  }

  /** The name of a host for whoever acts on it: its hostname first, which no other host has, then its display name. */
  fullName(hostname: string): string {
    const { displayName = hostname } = this.host(hostname) ?? {};
    return displayName === hostname ? hostname : `${hostname} (${displayName})`;
  }

  /** Take a whole twin. Hosts that were there keep their seats, also across a restart of EGO. */
  take(snapshot: Snapshot): void {
    const present = new Set(snapshot.hosts.map((host) => host.hostname));
    const removed: number[] = [];
    for (const [hostname, seat] of [...this.seatsByHostname]) {
      if (!present.has(hostname)) removed.push(this.release(seat));
    }
    this.head(snapshot);
    this.twinId = snapshot.twinId;
    this.seatsBySlot.clear();
    let fallbackSlot = this.highestSlot();
    const upserted = snapshot.hosts.map((host) => {
      const known = this.seatsByHostname.get(host.hostname);
      // The older stream has no slots: then a host keeps the number it has here.
      const slot = host.slot ?? (known === undefined ? ++fallbackSlot : (this.columns.slot[known] as number));
      return this.seat(host, slot);
    });
    this.takeLinks(snapshot.links);
    this.tell({ whole: true, removed, upserted, touched: upserted });
  }

  /** Take what changed. 'gap': a frame is missing, nothing was changed, ask for a snapshot. */
  apply(delta: Delta): Applied {
    if (delta.epoch !== this.epoch || delta.previous !== this.revision) return 'gap';
    this.head(delta);
    const removed: number[] = [];
    for (const slot of delta.removed) {
      const seat = this.seatsBySlot.get(slot);
      if (seat !== undefined) removed.push(this.release(seat));
    }
    const upserted = delta.upserted.hosts.map((host) => this.seat(host, host.slot as number));
    this.takeLinks(delta.upserted.links);
    const touched: number[] = [];
    const columns = this.columns;
    delta.slots.forEach((slot, place) => {
      const seat = this.seatsBySlot.get(slot);
      if (seat === undefined) return;
      touched.push(seat);
      columns.status[seat] = delta.status[place] as number;
      columns.state[seat] = stateOf(columns.status[seat] as number, columns.severity[seat] as number);
      const age = delta.ageSeconds[place];
      columns.lastSeenAt[seat] = age == null ? NaN : this.generatedAt - age * 1000;
      for (const gauge of GAUGES) columns[gauge][seat] = delta[gauge][place] ?? NaN;
    });
    this.tell({ whole: false, removed, upserted, touched });
    return 'applied';
  }

  private head(frame: { epoch: string; revision: number; generatedAt: string }): void {
    this.epoch = frame.epoch;
    this.revision = frame.revision;
    this.generatedAt = Date.parse(frame.generatedAt);
  }

  /** Write a host's entry into its seat, a new one if it has none. */
  private seat(host: HostEntry, slot: number): number {
    let seat = this.seatsByHostname.get(host.hostname) ?? this.seatsBySlot.get(slot);
    const before = seat === undefined ? undefined : this.entries[seat];
    if (before && before.hostname !== host.hostname) this.seatsByHostname.delete(before.hostname);
    if (seat === undefined) {
      seat = this.free.pop() ?? this.end++;
      if (seat >= this.capacity) this.columns = columnsOf(this.capacity * 2, this.columns);
    }
    if (!before) this.size++;
    this.entries[seat] = host;
    this.seatsByHostname.set(host.hostname, seat);
    this.seatsBySlot.set(slot, seat);
    const { columns } = this;
    const { metrics } = host;
    columns.slot[seat] = slot;
    columns.status[seat] = STATUS_CODES[host.status];
    columns.severity[seat] = severityCode(host.severity);
    columns.state[seat] = stateOf(columns.status[seat] as number, columns.severity[seat] as number);
    columns.lastSeenAt[seat] = host.lastSeen === null ? NaN : Date.parse(host.lastSeen);
    for (const metric of OF_HOST) columns[metric][seat] = metrics[METRICS[metric].host] ?? NaN;
    return seat;
  }

  /** A link's numbers stand with its target: each host has one uplink. */
  private takeLinks(links: readonly Link[]): void {
    for (const link of links) {
      const seat = this.seatsByHostname.get(link.target);
      if (seat === undefined) continue;
      for (const metric of OF_LINK) this.columns[metric][seat] = link.measured ? link[metric] : NaN;
      if (!link.capacityGbps) this.columns.utilization[seat] = NaN;
    }
  }

  private release(seat: number): number {
    const host = this.entries[seat] as HostEntry;
    this.seatsByHostname.delete(host.hostname);
    this.seatsBySlot.delete(this.columns.slot[seat] as number);
    this.entries[seat] = undefined;
    for (const column of Object.values(this.columns)) column[seat] = column instanceof Uint8Array ? 0 : NaN;
    this.free.push(seat);
    this.size--;
    return seat;
  }

  private highestSlot(): number {
    let highest = -1;
    for (const seat of this.seats()) highest = Math.max(highest, this.columns.slot[seat] as number);
    return highest;
  }

  private tell(changes: Changes): void {
    for (const listener of this.listeners) listener(changes);
  }
}

function columnsOf(capacity: number, before?: Columns): Columns {
  const columns = {
    status: new Uint8Array(capacity),
    severity: new Uint8Array(capacity),
    state: new Uint8Array(capacity),
    slot: new Float64Array(capacity),
    lastSeenAt: new Float64Array(capacity).fill(NaN),
    ...(Object.fromEntries(LIVE.map((metric) => [metric, blank(metric, capacity)])) as Record<Live, Float32Array | Float64Array>),
  };
  if (before) {
    for (const name of Object.keys(columns) as (keyof Columns)[]) columns[name].set(before[name] as never);
  }
  return columns;
}

/** A column of unknown values; bytes need more digits than 32 bits have. */
function blank(metric: Live, capacity: number): Float32Array | Float64Array {
  return (METRICS[metric].unit === 'bytes' ? new Float64Array(capacity) : new Float32Array(capacity)).fill(NaN);
}
