/** The incidents of the moment on show, of the hosts that match the search. */

import { alerts } from './alerts.svelte';
import { fleet } from './fleet.svelte';
import { incidentsOf, type Incident, type Standing } from './incidents';
import { SILENCE } from './rules';
import { saidOf, type Target } from './targets';
import { world } from './world.svelte';

class Incidents {
  readonly all = $derived.by((): readonly Incident[] => {
    void [fleet.total, world.tick >> 3]; // hosts are no reactive values: looked at when their number changes, and every 2 s
    const found = alerts.active.filter((alert) => fleet.isFound(alert.hostname));
    if (found.length === 0) return [];
    const hosts: Standing[] = [];
    for (const entry of world.twin.entries) if (entry && !entry.isSynthetic) hosts.push(entry);
    return incidentsOf(found, hosts, { stateOf: (alert) => world.rules.stateOf(alert), isSilence: (alert) => world.rules.measureOf(alert) === SILENCE });
  });
}

const MOST_NAMED = 20;

/** Whom a command about an incident is for, as the address of the console says it; null: more than can be named. */
export function targetsOfIncident({ kind, name, hostnames }: Incident): string | null {
  const few: Target[] = hostnames.slice(0, MOST_NAMED).map((value) => ({ kind: 'host', value }));
  if (hostnames.length <= MOST_NAMED) return saidOf(few);
  if (kind === 'rack') return saidOf([{ kind: 'rack', value: name }]);
  return kind === 'room' ? saidOf([{ kind: 'filter', value: `room:"${name}"` }]) : null;
}

export const incidents = new Incidents();
