/**
 * Where everything stands: rooms > rows > racks > hosts, as a pure function of the hosts and of the plan before.
 *
 * A fresh plan depends only on names and slots, never on the order of arrival. The plan before is asked for what it
 * already gave away (rooms, bays, units), so a host never moves because another one joined or left: newcomers take the
 * next free unit, bay or room. Only a fleet that has outgrown its hall (half as many racks again, or stacks out of
 * proportion) is laid out anew. Places that a sample brought win over all of this.
 *
 * The hall: a corridor along x with the hub in its middle; rooms on one or both sides of it, growing away from it; in
 * a room, rows of racks parallel to the corridor, parted by a spine that leads to it. Fronts look towards +z.
 */

import { BAY, byName, bySlot, columnAt, CORRIDOR, draftOf, groupsOf, hasSpine, NOWHERE, placeRooms, ROOM_GAP, ROW, SPINE, takeFree, widthOf, type Draft } from './hall';
import { BOX, RACK, type Memory, type Plan, type Rack, type Resident, type Room, type RoomMemory } from './plan';

const APRON = 1.5; // floor of a room beyond its racks
const NAME_DEPTH = 1.4; // of a room's name on the floor before it
const STACK_HEIGHT = 4.8;
const [LEAST_UNIT, MOST_UNIT] = [0.12, 0.408]; // 1 to 3.4
const [DESK_FRESH, DESK_KEPT, NEAR_DEVICES] = [8, 12, 7];
const DEVICE = { width: 2.3, height: 0.66, depth: 1.5 } as const; // of the desk
const HUB_BACK = 1.6; // the desk's hub stands behind the middle, its devices before it
const BODY = 0.9; // of a unit's height; the rest is the gap above it
const FEW_RACKS = 12; // seen all at once from the front, so none is put behind the hub

/** The plan of `residents`, with everybody who was in `before` where they were. `capacity`: how many seats there may be. */
export function arrange(residents: readonly Resident[], before: Plan | null, capacity: number): Plan {
  const hub = residents.find((one) => one.role === 'hub');
  const ego = residents.find((one) => one.role === 'ego');
  const placed: Resident[] = [];
  const others: Resident[] = [];
  for (const one of residents) if (one !== hub && one !== ego) (one.place ? placed : others).push(one);
  const site = new Site(capacity);
  const isDesk = placed.length === 0 && others.length <= (before?.kind === 'desk' ? DESK_KEPT : DESK_FRESH);
  const offset = placed.length > 0 ? site.setPlaced(placed, before?.memory.offset) : 0;
  const memory = isDesk
    ? site.setDesk(others, before?.kind === 'desk' ? before.memory : null, !hub && others.length === 1)
    : site.setHall(others, before?.kind === 'hall' ? before.memory : null, offset);
  return site.finish(isDesk ? 'desk' : 'hall', memory, hub, ego);
}

/** A plan being drawn up. */
class Site {
  private readonly boxes: Float32Array;
  private readonly rackOf: Int32Array;
  private readonly racks: Rack[] = [];
  private readonly rooms: Room[] = [];
  private isAnew = true;

  constructor(capacity: number) {
    this.boxes = new Float32Array(capacity * BOX);
    this.rackOf = new Int32Array(capacity).fill(-1);
  }

  /** Hosts where their samples put them; those above each other are a rack. Returns where the hall may begin (x). */
  setPlaced(placed: readonly Resident[], offset: number | undefined): number {
    const stacks = groupsOf(placed, ({ place, rack }) => `${rack ?? ''}\n${place!.x.toFixed(2)}\n${place!.z.toFixed(2)}`);
    let east = -Infinity;
    for (const key of [...stacks.keys()].sort(byName)) {
      const stack = stacks.get(key)!.sort((one, other) => one.place!.y - other.place!.y || bySlot(one, other));
      const { x, z } = stack[0]!.place!;
      const gaps = stack.slice(1).map((one, index) => one.place!.y - stack[index]!.place!.y).filter((gap) => gap > 0.01);
      const unit = Math.min(MOST_UNIT, ...gaps);
      const seats = stack.map((one) => {
        this.box(one.seat, x, Math.max(0, one.place!.y) + RACK.plinth, z, unit * BODY, this.racks.length);
        return one.seat;
      });
      const height = Math.max(...stack.map((one) => one.place!.y)) + unit + RACK.plinth;
      this.racks.push({ name: stack[0]!.rack ?? stack[0]!.hostname, room: -1, x, z, base: 0, height, seats, row: 0, isFramed: stack.length > 1 });
      east = Math.max(east, x);
    }
    return offset || east + ROOM_GAP + RACK.width;
  }

  /** Few hosts: each a device of its own on the floor, in arcs around the hub. */
  setDesk(others: readonly Resident[], before: Memory | null, isAlone: boolean): Memory {
    this.isAnew = before === null;
    const desk = takeFree(before?.desk ?? new Map<string, number>(), [...others].sort(bySlot).map((one) => one.hostname));
    for (const one of others) {
      const index = desk.get(one.hostname)!;
      // The first straight before the hub, then by turns left and right; the second arc stands in the gaps of the first.
      const isNear = index < NEAR_DEVICES;
      const step = isNear ? index : index - NEAR_DEVICES;
      const side = step % 2 === 0 ? 1 : -1;
      const turn = side * (isNear ? Math.ceil(step / 2) * 0.58 : 0.29 + Math.floor(step / 2) * 0.45);
      const radius = isNear ? 5.6 : 8.6;
      const [x, z] = isAlone ? [0, 0] : [Math.sin(turn) * radius * 1.15, Math.cos(turn) * radius - HUB_BACK];
      const { width, height, depth } = DEVICE;
      this.box(one.seat, x, RACK.plinth, z, height, this.racks.length, width, depth);
      this.racks.push({ name: one.rack, room: -1, x, z, base: 0, height: RACK.plinth + height, seats: [one.seat], row: 0, isFramed: false });
    }
    return { unit: MOST_UNIT, racks: 0, isTwoSided: false, rooms: new Map(), desk, offset: 0 };
  }

  /** Rooms of rows of racks. */
  setHall(others: readonly Resident[], before: Memory | null, offset: number): Memory {
    const byRoom = groupsOf(others, (one) => one.room ?? NOWHERE);
    const names = [...byRoom.keys()].sort(byName);
    const drafts = names.map((name) => draftOf(name, byRoom.get(name)!, before?.rooms.get(name)));
    const deepest = Math.max(1, ...drafts.flatMap((draft) => draft.stacks.map((stack) => Math.max(...stack.units) + 1)));
    const racks = drafts.reduce((sum, draft) => sum + draft.stacks.length, 0);
    const isOutgrown = before !== null && (racks > before.racks * 1.5 + 1 || deepest * before.unit > STACK_HEIGHT * 1.6);
    if (isOutgrown) return this.setHall(others, null, offset);
    this.isAnew = before === null;
    const unit = before?.unit ?? Math.min(MOST_UNIT, Math.max(LEAST_UNIT, STACK_HEIGHT / deepest));
    const isTwoSided = before?.isTwoSided ?? (names.length > 2 && racks > FEW_RACKS);
    const start = before?.offset || offset;
    const rooms = placeRooms(drafts, before, isTwoSided, start);
    drafts.forEach((draft) => this.setRoom(draft, rooms.get(draft.name)!, unit));
    return { unit, racks: before?.racks ?? racks, isTwoSided, rooms, desk: new Map(), offset: start };
  }

  private setRoom(draft: Draft, room: RoomMemory, unit: number): void {
    const { rowLength, side, centre } = room;
    const number = this.rooms.length;
    let [minZ, maxZ] = [Infinity, -Infinity];
    for (const stack of draft.stacks) {
      const bay = room.bays.get(stack.key)!;
      const [row, column] = [Math.floor(bay / rowLength), bay % rowLength];
      const x = centre + columnAt(column, rowLength);
      const z = side * (CORRIDOR + row * ROW);
      minZ = Math.min(minZ, z);
      maxZ = Math.max(maxZ, z);
      const tallest = Math.max(...stack.units) + 1;
      stack.residents.forEach((one, index) => {
        this.box(one.seat, x, RACK.plinth + stack.units[index]! * unit, z, unit * BODY, this.racks.length);
      });
      const height = RACK.plinth + Math.max(tallest * unit, stack.name === null ? 0 : unit * 4);
      this.racks.push({ name: stack.name, room: number, x, z, base: 0, height, seats: stack.residents.map((one) => one.seat), row, isFramed: true });
    }
    const half = widthOf(rowLength) / 2 + APRON * 0.6;
    this.rooms.push({
      name: draft.name === NOWHERE ? null : draft.name,
      isUnracked: draft.name === NOWHERE && draft.stacks.every((stack) => stack.name === null),
      minX: centre - half,
      maxX: centre + half,
      minZ: minZ - RACK.depth / 2 - APRON * 0.5,
      maxZ: maxZ + RACK.depth / 2 + APRON,
      spine: centre + (hasSpine(rowLength) ? columnAt(Math.ceil(rowLength / 2) - 1, rowLength) + (BAY + SPINE) / 2 : -widthOf(rowLength) / 2 - BAY * 0.2),
      side,
    });
  }

  /** The rest: hub and EGO at the centre, and how far it all reaches. */
  finish(kind: Plan['kind'], memory: Memory, hub: Resident | undefined, ego: Resident | undefined): Plan {
    const isDesk = kind === 'desk';
    const hubPlace = hub?.place ?? { x: 0, y: 0, z: 0 };
    const [x, z] = [hubPlace.x, hubPlace.z - (isDesk ? HUB_BACK : 0)];
    const tallest = this.racks.reduce((most, rack) => Math.max(most, rack.height), 0);
    const ends = { minX: x - 2, maxX: x + 2, minZ: z - 2, maxZ: z + 2 };
    for (const rack of this.racks) {
      ends.minX = Math.min(ends.minX, rack.x - RACK.width);
      ends.maxX = Math.max(ends.maxX, rack.x + RACK.width);
      ends.minZ = Math.min(ends.minZ, rack.z - RACK.depth);
      ends.maxZ = Math.max(ends.maxZ, rack.z + RACK.depth);
    }
    for (const room of this.rooms) {
      ends.minX = Math.min(ends.minX, room.minX);
      ends.maxX = Math.max(ends.maxX, room.maxX);
      ends.minZ = Math.min(ends.minZ, room.minZ);
      ends.maxZ = Math.max(ends.maxZ, room.maxZ + NAME_DEPTH);
    }
    const breadth = Math.hypot(ends.maxX - ends.minX, ends.maxZ - ends.minZ);
    const isBare = !hub && this.racks.length <= 1; // a single machine, or none yet: EGO is no part of the picture
    const radius = isBare ? 0 : isDesk ? 0.72 : Math.min(2.6, 0.66 + breadth * 0.018);
    const hubTop = 0.34;
    // The more racks stand before it, the higher it must be to be seen.
    const lift = isDesk ? 1.3 : tallest * Math.min(1.35, 0.82 + this.racks.length * 0.02) + 0.2;
    const y = lift + radius * 1.32 + breadth * 0.014;
    if (hub) this.box(hub.seat, x, 0.06, z, hubTop - 0.06, -1, isDesk ? 1.9 : 2.6, isDesk ? 1.9 : 2.6);
    if (ego) this.box(ego.seat, x, y - radius * 1.35, z, radius * 2.7, -1, radius * 1.5, radius * 1.5);
    return {
      kind,
      boxes: this.boxes,
      rackOf: this.rackOf,
      racks: this.racks,
      rooms: this.rooms,
      hub: { x, z, top: hubTop },
      crystal: { x, y, z, radius },
      bounds: { ...ends, maxY: Math.max(tallest, hubTop) },
      unit: memory.unit,
      isAnew: this.isAnew,
      memory,
    };
  }

  private box(seat: number, x: number, y: number, z: number, height: number, rack: number, width: number = RACK.width * 0.92, depth: number = RACK.depth * 0.92): void {
    this.boxes.set([x, y, z, width, height, depth], seat * BOX);
    this.rackOf[seat] = rack;
  }
}
