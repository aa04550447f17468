/** Many copies of one shape: its attributes by place, allocated once, grown by doubling, sent to the GPU by range. */

import { BufferAttribute, BufferGeometry, DynamicDrawUsage, InstancedBufferAttribute, InstancedBufferGeometry } from 'three';

export type Attributes = Readonly<Record<string, number>>;

export class Instances<Shape extends Attributes> {
  readonly geometry = new InstancedBufferGeometry();
  capacity = 0;

  /** `shape`: the numbers of each attribute. */
  constructor(base: BufferGeometry, private readonly shape: Shape, capacity: number) {
    this.geometry.setIndex(base.index);
    for (const [name, attribute] of Object.entries(base.attributes)) this.geometry.setAttribute(name, attribute as BufferAttribute);
    this.geometry.instanceCount = 0;
    this.reserve(capacity);
  }

  get count(): number {
    return this.geometry.instanceCount;
  }

  set count(count: number) {
    this.geometry.instanceCount = count;
  }

  array(name: keyof Shape & string): Float32Array {
    return this.attribute(name).array as Float32Array;
  }

  /** Make room for `count` places; what was written stays. */
  reserve(count: number): void {
    if (count <= this.capacity) return;
    const isFirst = this.capacity === 0;
    // Other sizes of buffer cannot be uploaded in place: the GPU's are let go and made again.
    if (!isFirst) this.geometry.dispose();
    this.capacity = isFirst ? count : 2 ** Math.ceil(Math.log2(count));
    for (const [name, size] of Object.entries(this.shape)) {
      const array = new Float32Array(this.capacity * size);
      if (!isFirst) array.set(this.array(name));
      this.geometry.setAttribute(name, new InstancedBufferAttribute(array, size).setUsage(DynamicDrawUsage));
    }
  }

  /** Send places `first` to `last` of an attribute at the next draw, in one range with what is still to be sent. */
  send(name: keyof Shape & string, first: number, last: number): void {
    const attribute = this.attribute(name);
    const { itemSize, updateRanges: waiting } = attribute; // emptied by the renderer when it has sent them
    const start = Math.min(first * itemSize, ...waiting.map((range) => range.start));
    const end = Math.max((last + 1) * itemSize, ...waiting.map((range) => range.start + range.count));
    attribute.clearUpdateRanges();
    attribute.addUpdateRange(start, end - start);
    attribute.needsUpdate = true;
  }

  /** Send everything at the next draw. */
  sendAll(): void {
    for (const name of Object.keys(this.shape)) {
      if (this.count > 0) this.send(name, 0, this.count - 1);
    }
  }

  private attribute(name: string): InstancedBufferAttribute {
    return this.geometry.getAttribute(name) as InstancedBufferAttribute;
  }
}

/** A box of unit size, its underside at y 0 and, being never seen, without it. */
export function openBox(): BufferGeometry {
  const faces: [normal: number[], corners: number[][]][] = [
    [[0, 0, 1], [[-0.5, 0, 0.5], [0.5, 0, 0.5], [0.5, 1, 0.5], [-0.5, 1, 0.5]]],
    [[0, 0, -1], [[0.5, 0, -0.5], [-0.5, 0, -0.5], [-0.5, 1, -0.5], [0.5, 1, -0.5]]],
    [[1, 0, 0], [[0.5, 0, 0.5], [0.5, 0, -0.5], [0.5, 1, -0.5], [0.5, 1, 0.5]]],
    [[-1, 0, 0], [[-0.5, 0, -0.5], [-0.5, 0, 0.5], [-0.5, 1, 0.5], [-0.5, 1, -0.5]]],
    [[0, 1, 0], [[-0.5, 1, 0.5], [0.5, 1, 0.5], [0.5, 1, -0.5], [-0.5, 1, -0.5]]],
  ];
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new BufferAttribute(new Float32Array(faces.flatMap(([, corners]) => corners.flat())), 3));
  geometry.setAttribute('normal', new BufferAttribute(new Float32Array(faces.flatMap(([normal, corners]) => corners.flatMap(() => normal))), 3));
  geometry.setIndex(faces.flatMap((_, face) => [0, 1, 2, 0, 2, 3].map((corner) => face * 4 + corner)));
  return geometry;
}

/** A unit square lying on the floor, facing up. */
export function tile(): BufferGeometry {
  const geometry = new BufferGeometry();
  geometry.setAttribute('position', new BufferAttribute(new Float32Array([-0.5, 0, 0.5, 0.5, 0, 0.5, 0.5, 0, -0.5, -0.5, 0, -0.5]), 3));
  geometry.setIndex([0, 1, 2, 0, 2, 3]);
  return geometry;
}
