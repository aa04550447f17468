/** The rings of light around what is selected, what the pointer is on, and what silenced others. One draw call. */

import { Mesh } from 'three';
import { Instances, tile } from './instances';
import { BOX, type Plan } from './plan';
import { RING_FRAGMENT, RING_VERTEX } from './shaders/stage.glsl';
import { material, ORDER, type Shared } from './stage';

const MOST = 64; // more rings than that say nothing

export class Rings {
  readonly mesh: Mesh;
  private readonly instances = new Instances(tile(), { aMiddle: 3, aSize: 3, aStrength: 1 }, MOST);

  constructor(shared: Shared) {
    this.mesh = new Mesh(this.instances.geometry, material(shared, { vertexShader: RING_VERTEX, fragmentShader: RING_FRAGMENT, isOverlay: true }));
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = ORDER.rings;
  }

  /** Those of `causes` have the colour of what is silent: their strength is below 0. */
  show(plan: Plan, selected: readonly number[], hovered: number, causes: readonly number[]): void {
    const { instances } = this;
    const rings = selected.slice(0, MOST - 1).map((seat, index) => ({ seat, strength: index === 0 ? 1 : 0.7 }));
    if (hovered >= 0 && !selected.includes(hovered)) rings.push({ seat: hovered, strength: 0.45 });
    rings.unshift(...causes.slice(0, MOST - rings.length).map((seat) => ({ seat, strength: -0.9 })));
    instances.count = 0;
    for (const { seat, strength } of rings) {
      const [x, y, z, width, height, depth] = plan.boxes.subarray(seat * BOX, seat * BOX + BOX) as unknown as [number, number, number, number, number, number];
      if (!width) continue;
      const index = instances.count++;
      instances.array('aMiddle').set([x, y, z], index * 3); // at its foot: the face stays free
      instances.array('aSize').set([width, height, depth], index * 3);
      instances.array('aStrength').set([strength], index);
    }
    instances.sendAll();
  }
}
