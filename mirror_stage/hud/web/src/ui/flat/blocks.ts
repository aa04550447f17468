/** The flat plan's rooms and racks, or one block for each value that hosts are grouped by. Pure. */

import { homeOf, type GroupBy, type Placed } from '../../store/homes';

export interface Block {
  /** null: of these hosts nobody said it */
  readonly name: string | null;
  readonly seats: readonly number[];
}

export interface Section {
  /** null: it needs no heading */
  readonly name: string | null;
  readonly blocks: readonly Block[];
}

interface Fleet {
  readonly end: number;
  readonly entries: readonly ((Placed & { readonly isSynthetic: boolean }) | undefined)[];
  readonly columns: { readonly slot: ArrayLike<number> };
}

const collator = new Intl.Collator('en', { numeric: true });
/** By name, as people count; what has no name comes last. */
const byName = (one: string | null, other: string | null): number =>
  one === other ? 0 : one === null ? 1 : other === null ? -1 : collator.compare(one, other) || (one < other ? -1 : 1);

/** Every host that reports, in a block; in a block by EGO's number, so that a new one comes last and moves nobody. */
export function sectionsOf({ end, entries, columns }: Fleet, groupBy: GroupBy): Section[] {
  const rooms = new Map<string | null, Map<string | null, number[]>>();
  for (let seat = 0; seat < end; seat++) {
    const entry = entries[seat];
    if (!entry || entry.isSynthetic) continue;
    const home = homeOf(entry, groupBy);
    const [room, block] = groupBy === 'rack' ? [home.room || null, home.rack] : [null, home.room];
    const racks = rooms.get(room) ?? new Map<string | null, number[]>();
    rooms.set(room, racks);
    const seats = racks.get(block);
    if (seats) seats.push(seat);
    else racks.set(block, [seat]);
  }
  const bySlot = (one: number, other: number): number => (columns.slot[one] as number) - (columns.slot[other] as number);
  return [...rooms]
    .sort(([one], [other]) => byName(one, other))
    .map(([name, racks]) => ({
      name,
      blocks: [...racks].sort(([one], [other]) => byName(one, other)).map(([rack, seats]) => ({ name: rack, seats: seats.sort(bySlot) })),
    }));
}
