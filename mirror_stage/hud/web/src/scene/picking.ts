/** Which host is under a ray or in a rectangle: plain loops over the boxes. */

import { BOX } from './plan';

export interface Ray {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly dx: number;
  readonly dy: number;
  readonly dz: number;
}

/** How far along `ray` it enters the box, Infinity if never. */
export function distanceTo(ray: Ray, x: number, y: number, z: number, width: number, height: number, depth: number): number {
  let enter = 0;
  let leave = Infinity;
  // Division by zero gives infinities of the right sign: a ray along an axis needs no case of its own.
  let near = (x - width / 2 - ray.x) / ray.dx;
  let far = (x + width / 2 - ray.x) / ray.dx;
  enter = Math.max(enter, Math.min(near, far));
  leave = Math.min(leave, Math.max(near, far));
  near = (y - ray.y) / ray.dy;
  far = (y + height - ray.y) / ray.dy;
  enter = Math.max(enter, Math.min(near, far));
  leave = Math.min(leave, Math.max(near, far));
  near = (z - depth / 2 - ray.z) / ray.dz;
  far = (z + depth / 2 - ray.z) / ray.dz;
  enter = Math.max(enter, Math.min(near, far));
  leave = Math.min(leave, Math.max(near, far));
  return leave >= enter ? enter : Infinity;
}

/** The seat whose box the ray meets first, -1 if none. */
export function pick(ray: Ray, boxes: Float32Array, end: number): number {
  let [best, found] = [Infinity, -1];
  for (let seat = 0, at = 0; seat < end; seat++, at += BOX) {
    const width = boxes[at + 3] as number;
    if (width === 0) continue;
    const distance = distanceTo(ray, boxes[at] as number, boxes[at + 1] as number, boxes[at + 2] as number, width, boxes[at + 4] as number, boxes[at + 5] as number);
    if (distance < best) [best, found] = [distance, seat];
  }
  return found;
}

export interface Rectangle {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** The seats whose middles `project` into the rectangle. `project` answers null for what is behind the camera. */
export function within(rectangle: Rectangle, boxes: Float32Array, end: number, project: (x: number, y: number, z: number) => { x: number; y: number } | null): number[] {
  const seats: number[] = [];
  for (let seat = 0, at = 0; seat < end; seat++, at += BOX) {
    if (boxes[at + 3] === 0) continue;
    const point = project(boxes[at] as number, (boxes[at + 1] as number) + (boxes[at + 4] as number) / 2, boxes[at + 2] as number);
    if (point && point.x >= rectangle.left && point.x <= rectangle.right && point.y >= rectangle.top && point.y <= rectangle.bottom) seats.push(seat);
  }
  return seats;
}
