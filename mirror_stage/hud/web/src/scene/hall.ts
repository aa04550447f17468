/** The hall: who stands in which rack at which unit, how many racks a row has, and where each room lies. Pure. */

import type { Memory, Resident, RoomMemory } from './plan';

export const BAY = 2.0; // from rack to rack in a row
export const ROW = 4.7; // from row to row: a row's faces must show above the row before it
export const SPINE = 2.2;
export const [ROOM_GAP, CLOSE_ROOM_GAP, MANY_ROOMS] = [4.4, 2.6, 8];
export const CORRIDOR = 4.6; // half of it, to the middle of the nearest row
const [UNITS_OF_RACK, UNITS_OF_UNNAMED] = [48, 40];
const ASPECT = 1.75; // of a fresh hall
export const NOWHERE = '\uffff'; // sorts after every name

const collator = new Intl.Collator('en', { numeric: true });
export const byName = (one: string, other: string): number =>
  one === other ? 0 : one === NOWHERE ? 1 : other === NOWHERE ? -1 : collator.compare(one, other) || (one < other ? -1 : 1);
export const bySlot = (one: Resident, other: Resident): number => one.slot - other.slot || (one.hostname < other.hostname ? -1 : 1);

/** A room of which it is known who stands in which stack at which unit, but not yet where. */
export interface Draft {
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

export function draftOf(name: string, residents: readonly Resident[], before: RoomMemory | undefined): Draft {
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
export function placeRooms(drafts: readonly Draft[], before: Memory | null, isTwoSided: boolean, start: number): Map<string, RoomMemory> {
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

export function hasSpine(rowLength: number): boolean {
  return rowLength > 7; // a shorter row is walked round
}

export function widthOf(rowLength: number): number {
  return rowLength * BAY + (hasSpine(rowLength) ? SPINE : 0);
}

export function columnAt(column: number, rowLength: number): number {
  const x = (column + 0.5) * BAY - widthOf(rowLength) / 2;
  return hasSpine(rowLength) && column >= Math.ceil(rowLength / 2) ? x + SPINE : x;
}

/** `names` with a number each: the one they had, else the lowest that nobody has. */
export function takeFree(before: ReadonlyMap<string, number>, names: readonly string[]): Map<string, number> {
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

export function groupsOf(residents: readonly Resident[], key: (one: Resident) => string): Map<string, Resident[]> {
  const groups = new Map<string, Resident[]>();
  for (const one of residents) {
    const name = key(one);
    const group = groups.get(name);
    if (group) group.push(one);
    else groups.set(name, [one]);
  }
  return groups;
}
