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

export interface Resident {
  readonly seat: number;
  readonly slot: number;
  readonly hostname: string;
  readonly role: 'hub' | 'ego' | 'host';
  /** null: unknown */
  readonly room: string | null;
  /** null: unknown, or the grouping has no racks */
  readonly rack: string | null;
  /** The sample's own place */
  readonly place: { readonly x: number; readonly y: number; readonly z: number } | null;
}

/** Boxes by seat, six numbers each: centre x, underside y, centre z, width, height, depth. Width 0: not there. */
export const BOX = 6;

export function boxOf({ boxes }: Plan, seat: number): [x: number, y: number, z: number, width: number, height: number, depth: number] {
  const at = seat * BOX;
  return [boxes[at] as number, boxes[at + 1] as number, boxes[at + 2] as number, boxes[at + 3] as number, boxes[at + 4] as number, boxes[at + 5] as number];
}

export interface Rack {
  readonly name: string | null;
  readonly room: number;
  /** Centre on the floor */
  readonly x: number;
  readonly z: number;
  readonly base: number;
  /** Of the frame, from the floor to the cap */
  readonly height: number;
  readonly seats: readonly number[];
  /** Its row's number in the room and whether a frame stands around it (free-standing hosts have none) */
  readonly row: number;
  readonly isFramed: boolean;
}

export interface Room {
  /** null: the hosts of which nobody said a rack or room */
  readonly name: string | null;
  readonly isUnracked: boolean;
  readonly minX: number;
  readonly maxX: number;
  readonly minZ: number;
  readonly maxZ: number;
  /** x of the way between the wings, where the room's trunk runs */
  readonly spine: number;
  /** 1: on the +z side of the corridor, -1: on the other */
  readonly side: number;
}

export interface Bounds {
  readonly minX: number;
  readonly maxX: number;
  readonly maxY: number;
  readonly minZ: number;
  readonly maxZ: number;
}

export interface Plan {
  readonly kind: 'desk' | 'hall';
  readonly boxes: Float32Array;
  /** Rack of a seat, -1: none */
  readonly rackOf: Int32Array;
  readonly racks: readonly Rack[];
  readonly rooms: readonly Room[];
  readonly hub: { readonly x: number; readonly z: number; readonly top: number };
  readonly crystal: { readonly x: number; readonly y: number; readonly z: number; readonly radius: number };
  readonly bounds: Bounds;
  readonly unit: number;
  /** Nobody was asked where he stood before: the first plan, another kind, or the fleet has outgrown the last one */
  readonly isAnew: boolean;
  readonly memory: Memory;
}

interface RoomMemory {
  readonly rowLength: number;
  readonly side: number;
  readonly centre: number;
  readonly bays: ReadonlyMap<string, number>;
  readonly units: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

interface Memory {
  readonly unit: number;
  /** How many racks it was made for */
  readonly racks: number;
  readonly isTwoSided: boolean;
  readonly rooms: ReadonlyMap<string, RoomMemory>;
  readonly desk: ReadonlyMap<string, number>;
  readonly offset: number;
}

export const RACK = { width: 1.5, depth: 1.5, plinth: 0.14, cap: 0.1 } as const;
const BAY = 2.0; // from rack to rack in a row
const ROW = 4.7; // from row to row: a row's faces must show above the row before it
const SPINE = 2.2;
const [ROOM_GAP, CLOSE_ROOM_GAP, MANY_ROOMS] = [4.4, 2.6, 8];
const CORRIDOR = 4.6; // half of it, to the middle of the nearest row
const APRON = 1.5; // floor of a room beyond its racks
const NAME_DEPTH = 1.4; // of a room's name on the floor before it
const STACK_HEIGHT = 4.8;
const [LEAST_UNIT, MOST_UNIT] = [0.12, 0.408]; // 1 to 3.4
const [UNITS_OF_RACK, UNITS_OF_UNNAMED] = [48, 40];
const [DESK_FRESH, DESK_KEPT, NEAR_DEVICES] = [8, 12, 7];
const DEVICE = { width: 2.3, height: 0.66, depth: 1.5 } as const; // of the desk
const HUB_BACK = 1.6; // the desk's hub stands behind the middle, its devices before it
const BODY = 0.9; // of a unit's height; the rest is the gap above it
const FEW_RACKS = 12; // seen all at once from the front, so none is put behind the hub
const ASPECT = 1.75; // of a fresh hall
const NOWHERE = '\uffff'; // sorts after every name

const collator = new Intl.Collator('en', { numeric: true });
const byName = (one: string, other: string): number =>
  one === other ? 0 : one === NOWHERE ? 1 : other === NOWHERE ? -1 : collator.compare(one, other) || (one < other ? -1 : 1);
const bySlot = (one: Resident, other: Resident): number => one.slot - other.slot || (one.hostname < other.hostname ? -1 : 1);

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
    ? site.setDesk(others, before?.kind === 'desk' ? before.memory : null)
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
  setDesk(others: readonly Resident[], before: Memory | null): Memory {
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
      const [x, z] = [Math.sin(turn) * radius * 1.15, Math.cos(turn) * radius - HUB_BACK];
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
    const radius = isDesk ? 0.72 : Math.min(2.6, 0.66 + breadth * 0.018);
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

/** A room of which it is known who stands in which stack at which unit, but not yet where. */
interface Draft {
  readonly name: string;
  readonly stacks: readonly Stack[];
  readonly units: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

interface Stack {
  /** Names the bay: the rack and, where it is too tall for one, its part */
  readonly key: string;
  readonly name: string | null;
  readonly residents: readonly Resident[];
  readonly units: readonly number[];
}

function draftOf(name: string, residents: readonly Resident[], before: RoomMemory | undefined): Draft {
  const byRack = groupsOf(residents, (one) => one.rack ?? NOWHERE);
  const units = new Map<string, ReadonlyMap<string, number>>();
  const stacks: Stack[] = [];
  for (const rack of [...byRack.keys()].sort(byName)) {
    const members = byRack.get(rack)!.sort(bySlot);
    const taken = takeFree(before?.units.get(rack) ?? new Map<string, number>(), members.map((one) => one.hostname));
    units.set(rack, taken);
    const limit = rack === NOWHERE ? UNITS_OF_UNNAMED : UNITS_OF_RACK;
    const parts = new Map<number, { residents: Resident[]; units: number[] }>();
    for (const one of members) {
      const unit = taken.get(one.hostname)!;
      const number = Math.floor(unit / limit);
      const part = parts.get(number) ?? { residents: [], units: [] };
      part.residents.push(one);
      part.units.push(unit % limit);
      parts.set(number, part);
    }
    for (const number of [...parts.keys()].sort((one, other) => one - other)) {
      stacks.push({ key: `${rack}\n${number}`, name: rack === NOWHERE ? null : rack, ...parts.get(number)! });
    }
  }
  return { name, stacks, units };
}

/** Side, row length, middle and bays of every room; those that were there keep all of it. */
function placeRooms(drafts: readonly Draft[], before: Memory | null, isTwoSided: boolean, start: number): Map<string, RoomMemory> {
  const rooms = new Map<string, RoomMemory>();
  const bays = (draft: Draft, kept?: ReadonlyMap<string, number>): Map<string, number> =>
    takeFree(kept ?? new Map<string, number>(), draft.stacks.map((stack) => stack.key));
  const edges = new Map([[1, -Infinity], [-1, -Infinity]]);
  for (const draft of drafts) {
    const kept = before?.rooms.get(draft.name);
    if (!kept) continue;
    rooms.set(draft.name, { ...kept, bays: bays(draft, kept.bays), units: draft.units });
    edges.set(kept.side, Math.max(edges.get(kept.side)!, kept.centre + widthOf(kept.rowLength) / 2));
  }
  const fresh = drafts.filter((draft) => !rooms.has(draft.name));
  const gap = drafts.length > MANY_ROOMS ? CLOSE_ROOM_GAP : ROOM_GAP;
  const lengths = rowLengths(fresh.map((draft) => draft.stacks.length), isTwoSided, gap);
  const isFirst = rooms.size === 0;
  const sides = fresh.map((_, index) => (isTwoSided ? (index < Math.floor(fresh.length / 2) ? -1 : 1) : 1));
  for (const side of [1, -1]) {
    const here = fresh.map((draft, index) => ({ draft, length: lengths[index]! })).filter((_, index) => sides[index] === side);
    const breadth = here.reduce((sum, { length }) => sum + widthOf(length) + gap, -gap);
    let x = isFirst ? (start ? start : -breadth / 2) : (Number.isFinite(edges.get(side)!) ? edges.get(side)! + gap : start || -breadth / 2);
    for (const { draft, length } of here) {
      const width = widthOf(length);
      rooms.set(draft.name, { rowLength: length, side, centre: x + width / 2, bays: bays(draft), units: draft.units });
      x += width + gap;
    }
  }
  return rooms;
}

/** Racks per row for rooms of so many racks, so that the hall is about as wide to its depth as a screen is. */
function rowLengths(counts: readonly number[], isTwoSided: boolean, gap: number): number[] {
  let best: number[] = [];
  let bestMiss = Infinity;
  for (let stretch = 0.25; stretch < 9; stretch *= 1.18) {
    const lengths = counts.map((count) => {
      const raw = Math.min(count, Math.max(1, Math.round(Math.sqrt(count * stretch))));
      return Math.ceil(count / Math.ceil(count / raw)); // rows as even as can be
    });
    const sides = isTwoSided ? [0, 1] : [0];
    const half = Math.floor(counts.length / 2);
    const ofSide = (side: number): number[] => counts.map((_, index) => index).filter((index) => !isTwoSided || (index < half ? 0 : 1) === side);
    const width = Math.max(...sides.map((side) => ofSide(side).reduce((sum, index) => sum + widthOf(lengths[index]!) + gap, 0)));
    const depth = sides.reduce((sum, side) => sum + CORRIDOR + Math.max(0, ...ofSide(side).map((index) => Math.ceil(counts[index]! / lengths[index]!) * ROW)), 0);
    const miss = Math.abs(Math.log(width / depth / ASPECT));
    if (miss < bestMiss) [best, bestMiss] = [lengths, miss];
  }
  return best;
}

function hasSpine(rowLength: number): boolean {
  return rowLength > 7; // a shorter row is walked round
}

function widthOf(rowLength: number): number {
  return rowLength * BAY + (hasSpine(rowLength) ? SPINE : 0);
}

function columnAt(column: number, rowLength: number): number {
  const x = (column + 0.5) * BAY - widthOf(rowLength) / 2;
  return hasSpine(rowLength) && column >= Math.ceil(rowLength / 2) ? x + SPINE : x;
}

/** `names` with a number each: the one they had, else the lowest that nobody has. */
function takeFree(before: ReadonlyMap<string, number>, names: readonly string[]): Map<string, number> {
  const taken = new Map<string, number>();
  const used = new Set<number>();
  for (const name of names) {
    const number = before.get(name);
    if (number === undefined) continue;
    taken.set(name, number);
    used.add(number);
  }
  let free = 0;
  for (const name of names) {
    if (taken.has(name)) continue;
    while (used.has(free)) free++;
    taken.set(name, free);
    used.add(free);
  }
  return taken;
}

function groupsOf(residents: readonly Resident[], key: (one: Resident) => string): Map<string, Resident[]> {
  const groups = new Map<string, Resident[]>();
  for (const one of residents) {
    const name = key(one);
    const group = groups.get(name);
    if (group) group.push(one);
    else groups.set(name, [one]);
  }
  return groups;
}
