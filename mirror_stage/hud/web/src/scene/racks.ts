/** Rack frames with their caps: what stands around the hosts, and how many of them need somebody. Two draw calls. */

import { BackSide, BufferAttribute, BufferGeometry, FrontSide, Mesh, type Texture } from 'three';
import { CRITICAL, OFFLINE } from '../store/status';
import type { FleetView } from './fleet';
import { Instances, openBox } from './instances';
import { RACK, type Plan } from './plan';
import { RACK_FRAGMENT, RACK_VERTEX } from './shaders/rack.glsl';
import { material, ORDER, type Shared } from './stage';

const FIRST_CAPACITY = 1_024;
const PARTS = { plinth: 0, post: 1, cap: 2 } as const;

/** How a rack is seen from above. */
export interface Cap {
  /** How many the number says */
  readonly number: number;
  /** The state the number is about; -1: it only says how many hosts there are */
  readonly state: number;
  readonly isMarked: boolean;
}

/** Neutral unless somebody must act: the worst of critical and offline, and how many of `seats` are in it. */
export function capOf(seats: readonly number[], states: ArrayLike<number>): Cap {
  let [critical, offline] = [0, 0];
  for (const seat of seats) {
    const state = states[seat];
    if (state === CRITICAL) critical++;
    else if (state === OFFLINE) offline++;
  }
  if (critical > 0) return { number: critical, state: CRITICAL, isMarked: true };
  if (offline > 0) return { number: offline, state: OFFLINE, isMarked: true };
  return { number: seats.length, state: -1, isMarked: false };
}

export class Racks {
  private readonly instances = new Instances(frame(), { aFrom: 3, aPlace: 3, aSize: 3, aCap: 4 }, FIRST_CAPACITY);
  private places = new Map<string, number>();
  readonly standing: Mesh;
  readonly mirrored: Mesh;

  constructor(private readonly shared: Shared, digits: Texture) {
    const look = (mirror: 1 | -1): Mesh => {
      const mesh = new Mesh(this.instances.geometry, material(shared, {
        vertexShader: RACK_VERTEX,
        fragmentShader: RACK_FRAGMENT,
        side: mirror === 1 ? FrontSide : BackSide,
        uniforms: { uMirror: { value: mirror }, uDigits: { value: digits } },
      }));
      mesh.frustumCulled = false;
      mesh.renderOrder = mirror === 1 ? ORDER.standing : ORDER.mirrored;
      return mesh;
    };
    this.standing = look(1);
    this.mirrored = look(-1);
  }

  place({ racks, rooms }: Plan): void {
    const { instances } = this;
    instances.reserve(Math.max(racks.length, 1));
    const [from, place, size] = [instances.array('aFrom'), instances.array('aPlace'), instances.array('aSize')];
    const before = new Map([...this.places].map(([key, index]) => {
      const at = (axis: number): number => {
        const [a, b] = [from[index * 3 + axis] as number, place[index * 3 + axis] as number];
        return a + (b - a) * this.shared.uMove.value;
      };
      return [key, [at(0), at(1), at(2)] as const];
    }));
    this.places = new Map();
    instances.count = racks.length;
    racks.forEach((rack, index) => {
      const key = `${rooms[rack.room]?.name ?? ''}\n${rack.name ?? rack.seats[0]}`;
      this.places.set(key, index);
      from.set(before.get(key) ?? [rack.x, rack.base, rack.z], index * 3);
      place.set([rack.x, rack.base, rack.z], index * 3);
      size.set(rack.isFramed ? [RACK.width, rack.height, RACK.depth] : [0, 0, 0], index * 3);
    });
    instances.sendAll();
  }

  /** Count again. `mask`: the hosts that match the filter. */
  apply(fleet: FleetView, plan: Plan, mask: Uint8Array | null): void {
    const caps = this.instances.array('aCap');
    const { state } = fleet.columns;
    let [first, last] = [Infinity, -1];
    plan.racks.forEach((rack, index) => {
      const cap = capOf(rack.seats, state);
      const passes = mask === null || rack.seats.some((seat) => mask[seat] === 1) ? 1 : 0;
      const at = index * 4;
      const next = [cap.number, cap.state, passes, cap.isMarked ? 1 : 0];
      if (next.every((value, part) => caps[at + part] === value)) return;
      caps.set(next, at);
      first = Math.min(first, index);
      last = index;
    });
    if (last >= 0) this.instances.send('aCap', first, last);
  }
}

/** Plinth, four posts and cap in one geometry; `aPart` says which is which. */
function frame(): BufferGeometry {
  const box = openBox();
  const parts: [part: number, x: number, z: number][] = [
    [PARTS.plinth, 0, 0],
    [PARTS.post, -1, -1], [PARTS.post, 1, -1], [PARTS.post, -1, 1], [PARTS.post, 1, 1],
    [PARTS.cap, 0, 0],
  ];
  const corners = box.getAttribute('position');
  const positions: number[] = [];
  const normals: number[] = [];
  const kinds: number[] = [];
  const index: number[] = [];
  parts.forEach(([part, x, z], number) => {
    for (let corner = 0; corner < corners.count; corner++) {
      // A post's place is in the sign of its corners, its own corners are 0 to 1 away from that.
      const across = (value: number, side: number): number => (side === 0 ? value : side * (0.75 + value * 0.5 * side));
      positions.push(across(corners.getX(corner), x), corners.getY(corner), across(corners.getZ(corner), z));
      kinds.push(part);
    }
    normals.push(...(box.getAttribute('normal').array as Float32Array));
    for (const corner of box.index!.array) index.push(corner + number * corners.count);
  });
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new BufferAttribute(new Float32Array(positions), 3));
  geometry.setAttribute('normal', new BufferAttribute(new Float32Array(normals), 3));
  geometry.setAttribute('aPart', new BufferAttribute(new Float32Array(kinds), 1));
  geometry.setIndex(index);
  return geometry;
}
