/** Made-up fleets from a seed. */

import type { Resident } from '../../../src/scene/plan';
import { Twin } from '../../../src/store/twin';
import { host, snapshot } from '../frames';

/** Numbers from 0 to 1, the same for the same seed. */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

export function resident(slot: number, more: Partial<Resident> = {}): Resident {
  return { seat: slot, slot, hostname: `host-${String(slot).padStart(4, '0')}`, role: 'host', room: '', rack: 'R1', place: null, ...more };
}

/** Hub, EGO and `count` hosts in racks of up to `perRack`, in `rooms` rooms. */
export function residents(count: number, { perRack = 40, rooms = 1 } = {}): Resident[] {
  const racks = Math.ceil(count / perRack);
  return [
    resident(0, { role: 'hub', hostname: 'core-switch', rack: null, room: null }),
    resident(1, { role: 'ego', hostname: 'ego', rack: null, room: null }),
    ...Array.from({ length: count }, (_, index) => {
      const rack = Math.floor(index / perRack);
      return resident(index + 2, { rack: `R${rack + 1}`, room: `Hall ${1 + Math.floor((rack / racks) * rooms)}` });
    }),
  ];
}

/** The twin of a fleet of `count` hosts in racks of 40. */
export function twinOf(count: number): Twin {
  const twin = new Twin();
  const names = Array.from({ length: count }, (_, index) => `host-${index}`);
  twin.take(snapshot(names.map((name, index) => host(name, index, { rack: `R${Math.floor(index / 40)}` }))));
  return twin;
}
