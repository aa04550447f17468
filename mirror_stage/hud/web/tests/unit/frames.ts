/** Builders of what EGO sends. */

import { GAUGES, type Gauge } from '../../src/metrics';
import type { Link } from '../../src/net/openapi';
import type { Delta, HostEntry, Snapshot } from '../../src/net/wire';

export const AT = '2026-11-24T12:00:00.000Z';

export function host(hostname: string, slot: number, more: Partial<HostEntry> = {}): HostEntry {
  return {
    hostname, displayName: hostname, label: hostname, role: 'host', ip: `10.0.0.${slot}`, status: 'online', severity: null,
    isSynthetic: false, lastSeen: AT, agentVersion: '1', platform: 'Linux-x86_64', rack: 'R1', room: null, tier: null,
    uplink: 'core-switch', position: { x: 0, y: 0, z: 0 }, positionSource: 'computed', slot,
    metrics: {
      cpuLoad: 10, memoryUsedPercent: 20, loadAverage: 1, uptimeSeconds: 60, cpuTemperature: 40, gpuTemperature: null,
      memoryTotalBytes: 2 ** 34, memoryAvailableBytes: null, swapUsedPercent: null, netBytesTx: null, netBytesRx: null,
      netThroughputGbps: null, netCapacityGbps: 10, diskReadBytesPerSecond: null, fullestDiskPercent: null, diskDaysToFull: 0.5,
    },
    ...more,
  };
}

export function link(target: string, more: Partial<Link> = {}): Link {
  return {
    id: `core-switch::${target}`, source: 'core-switch', target, throughputGbps: 3, rxGbps: 2, txGbps: 1, utilization: 0.2,
    capacityGbps: 10, measured: true, ...more,
  };
}

export function snapshot(hosts: HostEntry[], more: Partial<Snapshot> = {}): Snapshot {
  return {
    type: 'twin-state', twinId: 'twin', epoch: 'e1', revision: 1, generatedAt: AT, hosts,
    links: hosts.map((one) => link(one.hostname)), ...more,
  };
}

/** A delta from revision 1 to 2; `rows` are [slot, status code, values]. */
export function delta(rows: [slot: number, status: number, gauges?: Partial<Record<Gauge, number | null>>][], more: Partial<Delta> = {}): Delta {
  const columns = Object.fromEntries(
    GAUGES.map((gauge) => [gauge, rows.map(([, , gauges]) => gauges?.[gauge] ?? null)]),
  ) as Record<Gauge, (number | null)[]>;
  return {
    epoch: 'e1', revision: 2, previous: 1, generatedAt: '2026-11-24T12:00:01.000Z', removed: [],
    upserted: { hosts: [], links: [] }, slots: rows.map(([slot]) => slot), status: rows.map(([, status]) => status),
    ageSeconds: rows.map(() => 0.5), ...columns, ...more,
  };
}
