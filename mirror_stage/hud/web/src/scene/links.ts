/** The links as ribbons of light. One draw call, whatever their number. */

import { BufferAttribute, BufferGeometry, Mesh, Vector2 } from 'three';
import type { FleetView } from './fleet';
import { Instances } from './instances';
import type { Plan } from './plan';
import { trafficOf } from './colouring';
import { extrasOf, routesOf, type Ribbon } from './routes';
import { LINK_FRAGMENT, LINK_VERTEX } from './shaders/link.glsl';
import { material, ORDER, type Shared } from './stage';

const SEGMENTS = 16;
const FIRST_CAPACITY = 2_048;
const FILTERED_OUT = 0.2; // of its strength

export class Links {
  readonly mesh: Mesh;
  private readonly uHalf = { value: new Vector2(1, 1) };
  private readonly instances = new Instances(strip(), { aStart: 3, aControl: 3, aEnd: 3, aFlow: 4 }, FIRST_CAPACITY);
  private routes: Ribbon[] = [];
  private extras: Ribbon[] = [];
  /** Of each rack: traffic, busy capacity, capacity (Gbps), how many hosts match the filter */
  private sums = new Float64Array(0);

  constructor(shared: Shared) {
    this.mesh = new Mesh(this.instances.geometry, material(shared, { vertexShader: LINK_VERTEX, fragmentShader: LINK_FRAGMENT, isOverlay: true, uniforms: { uHalf: this.uHalf } }));
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = ORDER.links;
  }

  resize(width: number, height: number): void {
    this.uHalf.value.set(width / 2, height / 2);
  }

  place(plan: Plan, fleet: FleetView): void {
    this.routes = routesOf(plan, (seat) => {
      const uplink = fleet.entries[seat]?.uplink;
      const at = uplink == null ? undefined : fleet.seatsByHostname.get(uplink);
      return at === undefined || fleet.entries[at]?.role === 'hub' ? -1 : at;
    });
    this.sums = new Float64Array(plan.racks.length * 4);
    this.extras = [];
    this.write(this.routes, 0);
    this.instances.count = this.routes.length;
  }

  /** Draw the cables and arcs that the selection and the present load ask for. */
  choose(plan: Plan, fleet: FleetView, selected: readonly number[]): void {
    const extras = extrasOf(plan, selected, fleet.columns.utilization, fleet.end);
    const isSame = extras.length === this.extras.length && extras.every((one, index) => one.seat === this.extras[index]!.seat && one.racks[0] === this.extras[index]!.racks[0]);
    if (isSame) return;
    this.extras = extras;
    this.write(extras, this.routes.length);
    this.instances.count = this.routes.length + extras.length;
  }

  /** Let flow what the columns say. */
  apply(fleet: FleetView, plan: Plan, mask: Uint8Array | null): void {
    const { sums, instances } = this;
    const isMatching = (seat: number): boolean => mask === null || mask[seat] === 1;
    const { rxGbps, txGbps, utilization, capacityGbps } = fleet.columns;
    sums.fill(0);
    for (let seat = 0; seat < fleet.end; seat++) {
      const rack = plan.rackOf[seat] as number;
      if (rack < 0) continue;
      if (isMatching(seat)) sums[rack * 4 + 3] = (sums[rack * 4 + 3] as number) + 1;
      const traffic = (rxGbps[seat] as number) + (txGbps[seat] as number);
      if (traffic !== traffic) continue;
      sums[rack * 4] = (sums[rack * 4] as number) + traffic;
      const [load, capacity] = [utilization[seat] as number, capacityGbps[seat] as number];
      if (load !== load || capacity !== capacity) continue;
      sums[rack * 4 + 1] = (sums[rack * 4 + 1] as number) + load * capacity;
      sums[rack * 4 + 2] = (sums[rack * 4 + 2] as number) + capacity;
    }
    const flow = instances.array('aFlow');
    const write = (ribbon: Ribbon, index: number): void => {
      let [traffic, busy, capacity] = [0, 0, 0];
      if (ribbon.seat >= 0) {
        traffic = (rxGbps[ribbon.seat] as number) + (txGbps[ribbon.seat] as number);
        busy = utilization[ribbon.seat] as number;
        capacity = traffic === traffic ? 1 : 0;
      } else {
        for (const rack of ribbon.racks) {
          traffic += sums[rack * 4] as number;
          busy += sums[rack * 4 + 1] as number;
          capacity += sums[rack * 4 + 2] as number;
        }
      }
      const load = capacity > 0 ? busy / capacity : -1;
      flow[index * 4] = load === load ? load : 0;
      flow[index * 4 + 1] = trafficOf(traffic);
      const isShown = ribbon.seat >= 0 ? isMatching(ribbon.seat) : ribbon.racks.some((rack) => (sums[rack * 4 + 3] as number) > 0);
      flow[index * 4 + 3] = ribbon.strength * (isShown ? 1 : FILTERED_OUT);
    };
    this.routes.forEach(write);
    this.extras.forEach((ribbon, index) => write(ribbon, this.routes.length + index));
    if (instances.count > 0) instances.send('aFlow', 0, instances.count - 1);
  }

  private write(ribbons: readonly Ribbon[], first: number): void {
    const { instances } = this;
    instances.reserve(first + ribbons.length);
    const [start, control, end, flow] = [instances.array('aStart'), instances.array('aControl'), instances.array('aEnd'), instances.array('aFlow')];
    ribbons.forEach((ribbon, offset) => {
      const index = first + offset;
      start.set(ribbon.start, index * 3);
      control.set(ribbon.control, index * 3);
      end.set(ribbon.end, index * 3);
      // Dashes of neighbours must not march in step, and must not move when the page is loaded again.
      flow.set([-1, 0, ((index * 0.618) % 1) * 3, ribbon.strength], index * 4);
    });
    for (const name of ['aStart', 'aControl', 'aEnd', 'aFlow'] as const) {
      if (first + ribbons.length > 0) instances.send(name, 0, first + ribbons.length - 1);
    }
  }
}

function strip(): BufferGeometry {
  const along: number[] = [];
  const index: number[] = [];
  for (let step = 0; step <= SEGMENTS; step++) {
    along.push(step / SEGMENTS, -1, step / SEGMENTS, 1);
    const at = step * 2;
    if (step < SEGMENTS) index.push(at, at + 1, at + 2, at + 1, at + 3, at + 2);
  }
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new BufferAttribute(new Float32Array((SEGMENTS + 1) * 6), 3)); // three counts vertices by it
  geometry.setAttribute('aAlong', new BufferAttribute(new Float32Array(along), 2));
  geometry.setIndex(index);
  return geometry;
}
