/** A made-up fleet to measure the drawing with, and what is said of the frames. Pure. */

import { GAUGES, METRICS } from '../metrics';
import type { Delta, HostEntry, Snapshot } from '../net/wire';

const [PER_RACK, RACKS_PER_ROOM] = [40, 16];

/** Hosts in racks and rooms; a few are in trouble, as in a real network. `at`: an instant as text. */
export function fleetOf(count: number, at: string): Snapshot {
  const hosts = Array.from({ length: count }, (_, number): HostEntry => {
    const rack = Math.floor(number / PER_RACK);
    const hostname = `host-${String(number + 1).padStart(4, '0')}`;
    return {
      hostname, displayName: hostname, label: hostname, role: 'host', ip: null, status: number % 211 === 3 ? 'offline' : 'online',
      severity: number % 97 === 5 ? 'critical' : number % 41 === 7 ? 'warning' : null, isSynthetic: false, lastSeen: at, agentVersion: '', platform: '',
      rack: `R${rack + 1}`, room: `M${Math.floor(rack / RACKS_PER_ROOM) + 1}`, tier: null, uplink: null, position: { x: 0, y: 0, z: 0 }, positionSource: 'computed', slot: number + 1,
      metrics: {} as HostEntry['metrics'],
    };
  });
  const links = hosts.map(({ hostname }, number) => ({
    id: hostname, source: 'hub', target: hostname, throughputGbps: 1, rxGbps: (number % 7) / 7, txGbps: (number % 5) / 5, utilization: (number % 100) / 100, capacityGbps: 10, measured: true,
  }));
  return { type: 'twin-state', twinId: 'bench', epoch: 'bench', revision: 1, generatedAt: at, hosts, links };
}

/** The next frame: every number of every host is another one. */
export function changeOf(count: number, revision: number, at: string): Delta {
  const slots = Array.from({ length: count }, (_, number) => number + 1);
  const columns = Object.fromEntries(
    GAUGES.map((gauge, row) => [gauge, slots.map((slot) => ((slot * 7 + revision * 13 + row * 29) % 100) * (METRICS[gauge].unit === 'percent' || METRICS[gauge].unit === 'celsius' ? 1 : 0.01))]),
  );
  return {
    epoch: 'bench', revision, previous: revision - 1, generatedAt: at, removed: [], upserted: { hosts: [], links: [] }, slots,
    status: slots.map((slot) => ((slot - 1) % 211 === 3 ? 2 : 0)), ageSeconds: slots.map(() => 1), ...columns,
  } as unknown as Delta;
}

/** The value that a part of all does not exceed; null: there are none. */
export function quantileOf(values: readonly number[], part: number): number | null {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? null;
}
