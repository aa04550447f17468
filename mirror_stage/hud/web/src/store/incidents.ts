/**
 * Alerts put together by what they have in common: everything that went silent because of one cause, as EGO has found it, or one
 * rule in the smallest place that holds most of it. Pure.
 */

import type { Alert } from '../net/openapi';
import { ruleOf } from './rules';
import { urgencyOf, worstOf, type StateCode } from './status';

export interface Standing {
  readonly hostname: string;
  readonly rack: string | null;
  readonly room: string | null;
  readonly uplink: string | null;
}

export type PlaceKind = 'host' | 'rack' | 'room' | 'all' | 'ego';

export interface Incident {
  readonly key: string;
  readonly kind: PlaceKind;
  /** The hostname, rack or room; '' is everywhere */
  readonly name: string;
  /** The name of the host or switch that the others are silent because of; where EGO is cut off */
  readonly cause: string | null;
  readonly rule: string;
  readonly state: StateCode;
  /** In the order in which they came */
  readonly alerts: readonly Alert[];
  readonly hostnames: readonly string[];
  /** How many hosts stand in the place */
  readonly of: number;
  /** When the first of them fired */
  readonly since: string;
  /** The one with the highest value */
  readonly worst: Alert;
}

export interface Judge {
  readonly stateOf: (alert: Alert) => StateCode;
  readonly isSilence: (alert: Alert) => boolean;
}

const MANY = 4; // so many hosts under one rule are said together, wherever they stand

/** Incidents, the most urgent first, then the largest, then the newest. */
export function incidentsOf(alerts: readonly Alert[], hosts: readonly Standing[], judge: Judge): Incident[] {
  const standing = new Map(hosts.map((one) => [one.hostname, one]));
  const found: Incident[] = [];
  const add = (kind: PlaceKind, name: string, of: number, some: readonly Alert[], cause: string | null = null): void => {
    const [first] = some as readonly [Alert, ...Alert[]];
    const rule = ruleOf(first);
    found.push({
      key: [cause === null ? kind : 'behind', cause ?? name, rule, kind === 'host' ? first.subject : standing.get(first.hostname)?.room].join('\n'), kind, name, cause, rule, of, alerts: some,
      state: worstOf(some.map(judge.stateOf)),
      hostnames: [...new Set(some.map(({ hostname }) => hostname))],
      since: some.reduce((least, { createdAt }) => (createdAt < least ? createdAt : least), first.createdAt),
      worst: some.reduce((most, one) => (one.currentValue > most.currentValue ? one : most), first),
    });
  };

  const silent = new Set(alerts.filter(judge.isSilence).map(({ hostname }) => hostname));
  const [behind, others] = [new Map<string, Alert[]>(), new Map<string, Alert[]>()];
  for (const alert of alerts) {
    const cause = alert.cause ?? (judge.isSilence(alert) ? { kind: 'host', name: rootOf(alert.hostname, silent, standing) } : null);
    if (cause) put(behind, `${cause.kind}\n${cause.name}`, alert);
    else put(others, ruleOf(alert), alert);
  }
  const population = { rack: counted(hosts, rackOf), room: counted(hosts, roomOf), all: hosts.length };
  for (const [key, some] of behind) {
    const [kind, cause] = key.split('\n') as [string, string];
    if (some.length === 1) put(others, ruleOf(some[0] as Alert), some[0] as Alert);
    else if (kind === 'rack' || kind === 'room') add(kind, cause, hostsIn(some), some);
    else add(kind === 'ego' ? 'ego' : 'host', cause, some.length, some, cause);
  }
  const racksOfRoom = counted([...new Map(hosts.filter(({ rack }) => rack !== null).map((one) => [rackOf(one), one])).values()], roomOf);
  for (const some of others.values()) {
    const place = (alert: Alert): Standing => standing.get(alert.hostname) ?? { hostname: alert.hostname, rack: null, room: null, uplink: null };
    const racks = grouped(some, (alert) => rackOf(place(alert)));
    const full = new Set([...racks].filter(([rack, inside]) => rack !== null && isMost(hostsIn(inside), population.rack.get(rack))).map(([rack]) => rack));
    const rooms = grouped(some, (alert) => roomOf(place(alert)));
    const fullRooms = new Set([...rooms].filter(([room, inside]) => {
      const several = new Set(inside.map((alert) => rackOf(place(alert))).filter((rack) => full.has(rack))).size;
      return room !== null && several > 1 && several * 2 > (racksOfRoom.get(room) ?? 0) && isMost(hostsIn(inside), population.room.get(room));
    }).map(([room]) => room));
    if (fullRooms.size > 1 && isMost(hostsIn(some), population.all)) {
      add('all', '', population.all, some);
      continue;
    }
    for (const room of fullRooms) add('room', room as string, population.room.get(room) as number, rooms.get(room) as Alert[]);
    const left: Alert[] = [];
    for (const [rack, inside] of racks) {
      const first = place(inside[0] as Alert);
      if (fullRooms.has(roomOf(first))) continue;
      if (full.has(rack)) add('rack', first.rack as string, population.rack.get(rack) as number, inside);
      else left.push(...inside);
    }
    const leftOf = grouped(left, ({ hostname }) => hostname);
    if (leftOf.size >= MANY) {
      const [oneRack, oneRoom] = [only(left.map((alert) => rackOf(place(alert)))), only(left.map((alert) => roomOf(place(alert))))];
      if (oneRack !== null) add('rack', place(left[0] as Alert).rack as string, population.rack.get(oneRack) as number, left);
      else if (oneRoom !== null) add('room', oneRoom, population.room.get(oneRoom) as number, left);
      else add('all', '', population.all, left);
    } else for (const alert of left) add('host', alert.hostname, 1, [alert]);
  }
  const size = (one: Incident): number => one.hostnames.length;
  return found.sort((one, other) => urgencyOf(other.state) - urgencyOf(one.state) || size(other) - size(one) || other.since.localeCompare(one.since));
}

/** Two racks of different rooms may have one name. */
const rackOf = ({ rack, room }: Standing): string | null => (rack === null ? null : `${room ?? ''}\n${rack}`);
const roomOf = ({ room }: Standing): string | null => room;

/** The silent host that a silent host hangs from in the end; itself if its uplink is heard. */
function rootOf(hostname: string, silent: ReadonlySet<string>, standing: ReadonlyMap<string, Standing>): string {
  const passed = new Set<string>();
  let at = hostname;
  for (let up = standing.get(at)?.uplink; up && silent.has(up) && !passed.has(up); up = standing.get(at)?.uplink) {
    passed.add(at);
    at = up;
  }
  return at;
}

function isMost(count: number, of: number | undefined): boolean {
  return count > 1 && of !== undefined && count * 2 >= of;
}

const hostsIn = (alerts: readonly Alert[]): number => new Set(alerts.map(({ hostname }) => hostname)).size;

function put<Key, Thing>(groups: Map<Key, Thing[]>, key: Key, thing: Thing): void {
  const there = groups.get(key);
  if (there) there.push(thing);
  else groups.set(key, [thing]);
}

function grouped<Key, Thing>(things: readonly Thing[], keyOf: (thing: Thing) => Key): Map<Key, Thing[]> {
  const groups = new Map<Key, Thing[]>();
  for (const thing of things) put(groups, keyOf(thing), thing);
  return groups;
}

function counted<Thing>(things: readonly Thing[], keyOf: (thing: Thing) => string | null): Map<string | null, number> {
  return new Map([...grouped(things, keyOf)].map(([key, some]) => [key, some.length]));
}

function only(values: readonly (string | null)[]): string | null {
  return new Set(values).size === 1 ? (values[0] as string | null) : null;
}

/** Alerts that came again and again, as one: the newest of each host, rule and subject in front, at its place. */
export function repeated(alerts: readonly Alert[]): (readonly [Alert, ...Alert[]])[] {
  return [...grouped(alerts, (alert) => `${alert.hostname}\n${ruleOf(alert)}\n${alert.subject ?? ''}`).values()] as unknown as [Alert, ...Alert[]][];
}
