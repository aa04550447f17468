/** What the racks stand on: sky, glossy floor and what is written on it. Three draw calls. */

import { BufferAttribute, BufferGeometry, Matrix4, Mesh } from 'three';
import { Instances, tile } from './instances';
import { BOX, RACK, type Plan } from './plan';
import { Words } from './lettering';
import { DECAL_FRAGMENT, DECAL_VERTEX, FLOOR_FRAGMENT, FLOOR_VERTEX, SKY_FRAGMENT, SKY_VERTEX } from './shaders/stage.glsl';
import { material, ORDER, type Shared } from './stage';

const FIRST_CAPACITY = 2_048;
const KIND = { writing: 0, room: 1, shadow: 2 } as const;

interface Decal {
  readonly kind: keyof typeof KIND;
  readonly x: number;
  readonly z: number;
  readonly width: number;
  readonly depth: number;
  readonly strength: number;
  readonly cell?: readonly [number, number, number, number];
}

export class Ground {
  readonly sky: Mesh;
  readonly floor: Mesh;
  readonly decals: Mesh;
  private readonly uUnproject = { value: new Matrix4() };
  private readonly words = new Words();
  private readonly instances = new Instances(tile(), { aRect: 4, aCell: 4, aKind: 2 }, FIRST_CAPACITY);

  constructor(shared: Shared) {
    const screen = new BufferGeometry().setAttribute('position', new BufferAttribute(new Float32Array([-1, -1, 0, 3, -1, 0, -1, 3, 0]), 3));
    this.sky = new Mesh(screen, material(shared, { vertexShader: SKY_VERTEX, fragmentShader: SKY_FRAGMENT, isBackdrop: true, uniforms: { uUnproject: this.uUnproject } }));
    this.sky.renderOrder = ORDER.sky;
    this.floor = new Mesh(tile(), material(shared, { vertexShader: FLOOR_VERTEX, fragmentShader: FLOOR_FRAGMENT, isOverlay: true }));
    this.floor.renderOrder = ORDER.floor;
    this.decals = new Mesh(this.instances.geometry, material(shared, {
      vertexShader: DECAL_VERTEX,
      fragmentShader: DECAL_FRAGMENT,
      isOverlay: true,
      uniforms: { uWriting: { value: this.words.texture } },
    }));
    this.decals.renderOrder = ORDER.written;
    for (const mesh of [this.sky, this.floor, this.decals]) mesh.frustumCulled = false;
  }

  /** The camera moved: the sky is drawn along its rays. */
  look(projectionInverse: Matrix4, world: Matrix4): void {
    this.uUnproject.value.multiplyMatrices(world, projectionInverse);
  }

  /** Write the floor of `plan`: shadows first, then rooms, then names. `unracked`: what hosts without rack are called. */
  place(plan: Plan, unracked: string): void {
    const decals: Decal[] = [];
    for (const { x, z, isFramed, seats } of plan.racks) {
      const at = seats[0]! * BOX;
      const [width, depth] = isFramed ? [RACK.width, RACK.depth] : [plan.boxes[at + 3]!, plan.boxes[at + 5]!];
      decals.push({ kind: 'shadow', x, z: z + 0.06, width: width + 1.5, depth: depth + 1.5, strength: 0.5 });
    }
    if (plan.crystal.radius > 0) decals.push({ kind: 'shadow', x: plan.hub.x, z: plan.hub.z, width: plan.kind === 'desk' ? 3.3 : 4, depth: plan.kind === 'desk' ? 3.3 : 4, strength: 0.5 });
    for (const room of plan.rooms) {
      decals.push({ kind: 'room', x: (room.minX + room.maxX) / 2, z: (room.minZ + room.maxZ) / 2, width: room.maxX - room.minX, depth: room.maxZ - room.minZ, strength: 1 });
    }
    const rackNames = plan.racks.map((rack) => (rack.isFramed ? (rack.name ?? '') : ''));
    const roomNames = plan.rooms.map((room) => (room.name ?? (room.isUnracked ? unracked : '')));
    const written = this.words.write([...roomNames, ...rackNames]);
    plan.rooms.forEach((room, index) => {
      const one = written[index];
      if (!one || roomNames[index] === '') return;
      const depth = plan.racks.length > 12 ? 1.15 : 0.8;
      const width = Math.min(depth * one.aspect, room.maxX - room.minX - 0.6);
      decals.push({ kind: 'writing', x: room.minX + 0.35 + width / 2, z: room.maxZ + 0.75, width, depth: width / one.aspect, strength: 0.5, cell: one.cell });
    });
    plan.racks.forEach((rack, index) => {
      const one = written[plan.rooms.length + index];
      if (!one || rackNames[index] === '') return;
      const depth = 0.46;
      const width = Math.min(depth * one.aspect, RACK.width * 1.12);
      decals.push({ kind: 'writing', x: rack.x, z: rack.z + RACK.depth / 2 + 0.42, width, depth: width / one.aspect, strength: 0.85, cell: one.cell });
    });
    const { instances } = this;
    instances.reserve(decals.length);
    instances.count = decals.length;
    decals.forEach(({ kind, x, z, width, depth, strength, cell }, index) => {
      instances.array('aRect').set([x, z, width, depth], index * 4);
      instances.array('aCell').set(cell ?? [0, 0, 0, 0], index * 4);
      instances.array('aKind').set([KIND[kind], strength], index * 2);
    });
    instances.sendAll();
  }
}
