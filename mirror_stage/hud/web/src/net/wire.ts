/**
 * What EGO sends over Socket.IO, as docs/contract.md says it: its OpenAPI document describes REST only. The schemas
 * that both share come from `openapi.ts`, which `make hud-types` writes from that document.
 */

import type { Gauge } from '../metrics';
import type { Alert, Host, Link, Output, Snapshot as RestSnapshot } from './openapi';

export type Status = Host['status'];
export type Severity = Alert['severity'];

/** A host in the stream also has a slot: EGO's number for it. */
export type HostEntry = Host & { slot?: number };

/** `twin-snapshot`, and `twin-state` from an EGO without the delta stream */
export type Snapshot = Omit<RestSnapshot, 'hosts'> & { hosts: HostEntry[] };

/** `twin-delta` */
export interface Delta extends Record<Gauge, (number | null)[]> {
  epoch: string;
  revision: number;
  previous: number;
  generatedAt: string;
  removed: number[];
  upserted: { hosts: HostEntry[]; links: Link[] };
  slots: number[];
  /** 0 online, 1 stale, 2 offline */
  status: number[];
  ageSeconds: (number | null)[];
}

/** `alert-update` */
export interface AlertUpdate {
  transition: 'fired' | 'updated' | 'resolved';
  version: number;
  alert: Alert;
}

/** `command-output` */
export type CommandOutput = Output & { id: string };
