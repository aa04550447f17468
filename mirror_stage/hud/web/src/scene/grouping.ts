/** What stands together: for each grouping, in which room and rack a host is put. */

import { homeOf, type GroupBy } from '../store/homes';
import type { FleetEntry, FleetView } from './fleet';
import type { Resident } from './plan';

/**
 * The hosts of a fleet as the layout wants them. Places of samples only count where the real racks are shown. A single
 * host stands for itself, also if EGO runs on it, and without the hub that EGO makes up.
 */
export function residentsOf(fleet: FleetView, grouping: GroupBy): Resident[] {
  const residents: Resident[] = [];
  const isAlone = fleet.entries.reduce((count, entry) => count + (entry && !entry.isSynthetic ? 1 : 0), 0) <= 1;
  for (let seat = 0; seat < fleet.end; seat++) {
    const entry = fleet.entries[seat];
    if (!entry || (isAlone && entry.isSynthetic)) continue;
    const { hostname } = entry;
    const role = isAlone ? 'host' : entry.role;
    const place = grouping === 'rack' && entry.positionSource === 'sample' ? entry.position : null;
    residents.push({ seat, slot: fleet.columns.slot[seat] as number, hostname, role, place, ...homeOf(entry, grouping) });
  }
  return residents;
}

/** Whether two entries of a seat would stand in different places or hang from different ones. */
export function isMoved(before: FleetEntry | undefined, after: FleetEntry | undefined): boolean {
  if (!before || !after) return before !== after;
  if (before === after) return false;
  const [one, other] = [before.position, after.position];
  return (
    before.hostname !== after.hostname || before.isSynthetic !== after.isSynthetic || before.role !== after.role || before.rack !== after.rack || before.room !== after.room ||
    before.tier !== after.tier || before.uplink !== after.uplink || before.platform !== after.platform || before.agentVersion !== after.agentVersion || before.positionSource !== after.positionSource ||
    (after.positionSource === 'sample' && (one.x !== other.x || one.y !== other.y || one.z !== other.z))
  );
}
