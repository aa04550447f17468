/** The ways of the links, as a pure function of the plan: arcs for few, one trunk a rack for more, floor aisles for many. */

import { BOX, RACK, type Plan, type Rack } from './plan';
import type { LinkKind } from './colouring';

export type Point = readonly [x: number, y: number, z: number];

/** A curve and what flows through it: all hosts of some racks, or one host. */
export interface Ribbon {
  readonly start: Point;
  readonly control: Point;
  readonly end: Point;
  readonly racks: readonly number[];
  /** -1: the racks count */
  readonly seat: number;
  readonly strength: number;
}

const [CABLED_RACKS, ARC_RACKS] = [4, 60];
const BUSIEST = 20;
const FLOOR = 0.035;

/** What one ribbon of a plan stands for. */
export function linkKindOf(plan: Plan): LinkKind {
  if (plan.kind === 'desk' || framed(plan).length <= CABLED_RACKS) return 'host';
  return framed(plan).length <= ARC_RACKS ? 'rack' : 'aisle';
}

/** The ribbons that are always there. `uplinkOf`: the seat another hangs from, -1 if it is the hub or unknown. */
export function routesOf(plan: Plan, uplinkOf: (seat: number) => number): Ribbon[] {
  const lone = plan.racks.filter((rack) => !rack.isFramed).flatMap((rack) => rack.seats.map((seat) => hostArc(plan, seat, uplinkOf(seat))));
  const kind = linkKindOf(plan);
  const racks = framed(plan);
  if (plan.crystal.radius === 0) return [];
  if (plan.kind === 'desk') return [...lone, beam(plan)];
  if (kind === 'aisle') return [...lone, ...aisles(plan), beam(plan)];
  const arcs = racks.map((index) => rackArc(plan, index));
  return kind === 'host' ? [...lone, ...arcs, ...racks.flatMap((index) => cables(plan, index))] : [...lone, ...arcs];
}

/** The ribbons that come and go: the cables of racks with a selected host, and where only aisles are drawn the busiest hosts' arcs. */
export function extrasOf(plan: Plan, selected: readonly number[], utilization: ArrayLike<number>, end: number): Ribbon[] {
  const kind = linkKindOf(plan);
  if (kind === 'host') return [];
  const racks = new Set(selected.map((seat) => plan.rackOf[seat] as number).filter((rack) => rack >= 0 && plan.racks[rack]!.isFramed));
  const cabled = [...racks].flatMap((rack) => cables(plan, rack));
  if (kind === 'rack') return cabled;
  const arcs = new Set([...selected.filter((seat) => (plan.rackOf[seat] as number) >= 0), ...busiest(utilization, plan.rackOf, end)]);
  return [...cabled, ...[...arcs].map((seat) => hostArc(plan, seat, -1))];
}

function busiest(utilization: ArrayLike<number>, rackOf: Int32Array, end: number): number[] {
  const top: number[] = [];
  for (let seat = 0; seat < end; seat++) {
    const load = utilization[seat] as number;
    if (!(load > 0.5) || (rackOf[seat] as number) < 0) continue;
    if (top.length === BUSIEST && load <= (utilization[top[BUSIEST - 1] as number] as number)) continue;
    let at = top.length === BUSIEST ? BUSIEST - 1 : top.length;
    while (at > 0 && (utilization[top[at - 1] as number] as number) < load) {
      top[at] = top[at - 1] as number;
      at--;
    }
    top[at] = seat;
  }
  return top;
}

function framed(plan: Plan): number[] {
  return plan.racks.flatMap((rack, index) => (rack.isFramed ? [index] : []));
}

function tipOf({ crystal }: Plan): Point {
  return [crystal.x, crystal.y - crystal.radius * 1.32, crystal.z];
}

function rackArc(plan: Plan, index: number): Ribbon {
  const rack = plan.racks[index] as Rack;
  return { ...arc(tipOf(plan), [rack.x, rack.base + rack.height + 0.08, rack.z - RACK.depth * 0.42]), racks: [index], seat: -1, strength: 1 };
}

function hostArc(plan: Plan, seat: number, uplink: number): Ribbon {
  const start = uplink >= 0 && plan.boxes[uplink * BOX + 3] ? topOf(plan, uplink) : plan.kind === 'desk' ? ([plan.hub.x, plan.hub.top, plan.hub.z] as const) : tipOf(plan);
  const isInRack = plan.racks[plan.rackOf[seat] as number]?.isFramed;
  return { ...arc(start, isInRack ? frontOf(plan, seat) : topOf(plan, seat), plan.kind === 'desk'), racks: [], seat, strength: isInRack ? 0.55 : 1 };
}

function arc(start: Point, end: Point, isRound = false): Pick<Ribbon, 'start' | 'control' | 'end'> {
  const span = Math.hypot(end[0] - start[0], end[2] - start[2]);
  const lean = isRound ? 0.5 : 0.8; // from the crystal it goes out, then down to the rack
  const y = isRound ? Math.max(start[1], end[1]) + span * 0.42 : start[1] + span * 0.015;
  return { start, control: [start[0] + (end[0] - start[0]) * lean, y, start[2] + (end[2] - start[2]) * lean], end };
}

function straight(start: Point, end: Point): Pick<Ribbon, 'start' | 'control' | 'end'> {
  return { start, control: [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2], end };
}

function topOf({ boxes }: Plan, seat: number): Point {
  const at = seat * BOX;
  return [boxes[at] as number, (boxes[at + 1] as number) + (boxes[at + 4] as number), boxes[at + 2] as number];
}

function frontOf({ boxes }: Plan, seat: number): Point {
  const at = seat * BOX;
  return [(boxes[at] as number) + (boxes[at + 3] as number) * 0.5, (boxes[at + 1] as number) + (boxes[at + 4] as number) * 0.5, (boxes[at + 2] as number) + (boxes[at + 5] as number) * 0.5];
}

/** A rack's cables: from each host to a riser at the side, which goes up to the cap. */
function cables(plan: Plan, index: number): Ribbon[] {
  const rack = plan.racks[index] as Rack;
  const x = rack.x + RACK.width / 2 + 0.16;
  const z = rack.z + RACK.depth / 2 - 0.1;
  const top = rack.base + rack.height + 0.03;
  const ribbons = rack.seats.map((seat): Ribbon => {
    const [left, y] = frontOf(plan, seat);
    return { start: [x, y + 0.05, z], control: [x, y, z], end: [left, y, z], racks: [], seat, strength: 0.85 };
  });
  const lowest = Math.min(...rack.seats.map((seat) => frontOf(plan, seat)[1]));
  return [
    ...ribbons,
    { ...straight([x, top, z], [x, lowest, z]), racks: [index], seat: -1, strength: 0.9 },
    { start: [rack.x, top + 0.06, rack.z], control: [x, top + 0.06, z], end: [x, top, z], racks: [index], seat: -1, strength: 0.9 },
  ];
}

/** Trunks on the floor: racks into the row's aisle, aisles into the room's spine, spines into the corridor, that to the hub. */
function aisles(plan: Plan): Ribbon[] {
  const ribbons: Ribbon[] = [];
  const lay = (from: readonly [number, number], to: readonly [number, number], racks: readonly number[]): void => {
    if (racks.length > 0 && Math.hypot(to[0] - from[0], to[1] - from[1]) > 0.01) {
      // It flows from the hub outwards, so the ribbon starts at the inner end.
      ribbons.push({ ...straight([to[0], FLOOR, to[1]], [from[0], FLOOR, from[1]]), racks, seat: -1, strength: 0.6 });
    }
  };
  /** Along one line towards `end`: each stop adds its racks. */
  const gather = (stops: { at: number; racks: readonly number[] }[], end: number, place: (at: number) => readonly [number, number]): number[] => {
    const carried: number[] = [];
    const order = [...stops].sort((one, other) => Math.abs(other.at - end) - Math.abs(one.at - end));
    order.forEach((stop, index) => {
      carried.push(...stop.racks);
      lay(place(stop.at), place(order[index + 1]?.at ?? end), [...carried]);
    });
    return carried;
  };
  const toCorridor: { at: number; racks: number[] }[] = [];
  plan.rooms.forEach((room, number) => {
    const rows = new Map<number, number[]>();
    plan.racks.forEach((rack, index) => {
      if (rack.room === number && rack.isFramed) rows.set(rack.row, [...(rows.get(rack.row) ?? []), index]);
    });
    const toSpine: { at: number; racks: number[] }[] = [];
    for (const members of rows.values()) {
      const z = plan.racks[members[0]!]!.z + RACK.depth / 2 + 0.95;
      for (const index of members) {
        const rack = plan.racks[index]!;
        lay([rack.x, rack.z + RACK.depth / 2], [rack.x, z], [index]);
      }
      const wings = [-1, 1].map((wing) => members.filter((index) => Math.sign(plan.racks[index]!.x - room.spine || 1) === wing));
      const carried = wings.flatMap((wing) => gather(wing.map((index) => ({ at: plan.racks[index]!.x, racks: [index] })), room.spine, (at) => [at, z]));
      toSpine.push({ at: z, racks: carried });
    }
    toCorridor.push({ at: room.spine, racks: gather(toSpine, plan.hub.z, (at) => [room.spine, at]) });
  });
  for (const wing of [-1, 1]) {
    gather(toCorridor.filter(({ at }) => Math.sign(at - plan.hub.x || 1) === wing), plan.hub.x, (at) => [at, plan.hub.z]);
  }
  return ribbons;
}

/** From the crystal to the hub below it: all that flows. */
function beam(plan: Plan): Ribbon {
  return { ...straight(tipOf(plan), [plan.hub.x, plan.hub.top, plan.hub.z]), racks: plan.racks.map((_, index) => index), seat: -1, strength: 0.55 };
}
