/** What the scene reads of the twin: a structural part of `store/twin.ts`, so that tests and benches can bring their own. */

import type { Live } from '../metrics';

export interface FleetEntry {
  readonly hostname: string;
  readonly displayName: string;
  /** EGO has made it up: no agent reports it */
  readonly isSynthetic: boolean;
  readonly role: 'hub' | 'ego' | 'host';
  readonly ip: string | null;
  readonly rack: string | null;
  readonly room: string | null;
  readonly tier: string | null;
  readonly platform: string;
  readonly agentVersion: string;
  readonly uplink: string | null;
  readonly position: { readonly x: number; readonly y: number; readonly z: number };
  readonly positionSource: 'sample' | 'computed';
}

/** Numbers by seat; NaN is unknown. */
export type FleetColumns = Readonly<Record<Live, ArrayLike<number>>> & {
  readonly state: ArrayLike<number>;
  readonly slot: ArrayLike<number>;
  readonly lastSeenAt: ArrayLike<number>;
};

export interface FleetChanges {
  readonly whole: boolean;
  readonly removed: readonly number[];
  readonly upserted: readonly number[];
  readonly touched: readonly number[];
}

export interface FleetView {
  readonly revision: number;
  /** One more than the highest seat taken */
  readonly end: number;
  readonly columns: FleetColumns;
  readonly entries: readonly (FleetEntry | undefined)[];
  readonly seatsByHostname: ReadonlyMap<string, number>;
  listen(listener: (changes: FleetChanges) => void): () => void;
}
