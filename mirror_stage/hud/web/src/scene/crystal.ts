/** EGO: a slow crystal over the hub, and its mirror image. One draw call. */

import { BufferAttribute, BufferGeometry, Mesh, Vector4 } from 'three';
import type { Plan } from './plan';
import { CRYSTAL_FRAGMENT, CRYSTAL_VERTEX } from './shaders/stage.glsl';
import { material, ORDER, type Shared } from './stage';

const TURN_SECONDS = 60;

export class Crystal {
  readonly mesh: Mesh;
  private readonly uCrystal = { value: new Vector4(0, 4, 0, 1) };
  private readonly uTurn = { value: 0.35 };
  private readonly uState = { value: 0 };

  constructor(shared: Shared) {
    this.mesh = new Mesh(facets(), material(shared, {
      vertexShader: CRYSTAL_VERTEX,
      fragmentShader: CRYSTAL_FRAGMENT,
      uniforms: { uCrystal: this.uCrystal, uTurn: this.uTurn, uState: this.uState },
    }));
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = ORDER.mirrored;
  }

  place({ crystal }: Plan): void {
    this.uCrystal.value.set(crystal.x, crystal.y, crystal.z, crystal.radius);
  }

  turn(seconds: number): void {
    this.uTurn.value = (this.uTurn.value + (seconds / TURN_SECONDS) * Math.PI * 2) % (Math.PI * 2);
  }

  /** The worst state of all hosts. */
  show(state: number): void {
    this.uState.value = state;
  }
}

/** Two six-sided pyramids, twice: once upright, once for the mirror. */
function facets(): BufferGeometry {
  const positions: number[] = [];
  const normals: number[] = [];
  const corners: number[] = [];
  const mirrors: number[] = [];
  for (const mirror of [1, -1]) {
    for (const tip of [1, -1]) {
      for (let side = 0; side < 6; side++) {
        // Seen from outside the corners go round the same way on every facet, also after the mirror has turned it.
        const turn = tip * mirror;
        const [a, b] = [side, side + turn].map((corner) => (corner / 6) * Math.PI * 2) as [number, number];
        const middle = (a + b) / 2;
        positions.push(Math.cos(a), 0, Math.sin(a), 0, tip, 0, Math.cos(b), 0, Math.sin(b));
        for (let corner = 0; corner < 3; corner++) {
          normals.push(Math.cos(middle) * 0.76, tip * 0.65, Math.sin(middle) * 0.76);
          corners.push(...[0, 1, 2].map((one) => (one === corner ? 1 : 0)));
          mirrors.push(mirror);
        }
      }
    }
  }
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new BufferAttribute(new Float32Array(positions), 3));
  geometry.setAttribute('normal', new BufferAttribute(new Float32Array(normals), 3));
  geometry.setAttribute('aCorner', new BufferAttribute(new Float32Array(corners), 3));
  geometry.setAttribute('aMirror', new BufferAttribute(new Float32Array(mirrors), 1));
  return geometry;
}
