/** Where the selection goes next: from problem to problem, from host to host of a rack. Pure. */

import { OK, urgencyOf } from '../store/status';
import type { Twin } from '../store/twin';

/** The hostname of the next host in trouble among those that match; the worst first; null if there is none. */
export function nextProblem(twin: Twin, mask: Uint8Array | null, from: string | null, step: 1 | -1): string | null {
  const { columns } = twin;
  const troubled = [...twin.seats()]
    .filter((seat) => columns.state[seat] !== OK && (mask?.[seat] ?? 1) === 1)
    .sort(
      (one, other) =>
        urgencyOf(columns.state[other] as number) - urgencyOf(columns.state[one] as number) ||
        (columns.slot[one] as number) - (columns.slot[other] as number),
    );
  return neighbour(twin, troubled, from, step);
}

/** The hostname of the next host in the same rack, by slot; null without a selection. */
export function nextInRack(twin: Twin, from: string | null, step: 1 | -1): string | null {
  const rack = twin.host(from)?.rack;
  if (rack === undefined) return null;
  const inRack = [...twin.seats()]
    .filter((seat) => twin.entries[seat]?.rack === rack)
    .sort((one, other) => (twin.columns.slot[one] as number) - (twin.columns.slot[other] as number));
  return neighbour(twin, inRack, from, step);
}

function neighbour(twin: Twin, seats: readonly number[], from: string | null, step: 1 | -1): string | null {
  if (seats.length === 0) return null;
  const here = from === null ? -1 : seats.indexOf(twin.seatsByHostname.get(from) ?? -1);
  const there = here === -1 ? (step === 1 ? 0 : seats.length - 1) : (here + step + seats.length) % seats.length;
  return twin.entries[seats[there] as number]?.hostname ?? null;
}
