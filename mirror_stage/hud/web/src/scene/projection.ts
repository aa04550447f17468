/** Between the scene and the pixels of the canvas, both ways. */

import { Vector3, type PerspectiveCamera } from 'three';
import type { Ray } from './picking';

export interface Projected {
  readonly x: number;
  readonly y: number;
  /** Pixels that one unit of the scene has there */
  readonly scale: number;
}

export class Projection {
  /** Of the canvas, CSS pixels */
  size = { width: 0, height: 0 };
  private readonly scratch = new Vector3();

  constructor(private readonly camera: PerspectiveCamera) {}

  /** Where a point of the scene is seen; null: it is behind the camera. */
  project(x: number, y: number, z: number): Projected | null {
    const { camera } = this;
    const at = this.scratch.set(x, y, z).applyMatrix4(camera.matrixWorldInverse);
    const away = -at.z;
    if (away < camera.near) return null;
    at.applyMatrix4(camera.projectionMatrix);
    const { width, height } = this.size;
    return { x: ((at.x + 1) / 2) * width, y: ((1 - at.y) / 2) * height, scale: (camera.projectionMatrix.elements[5] as number) * height / 2 / away };
  }

  /** The ray from the eye through a pixel. */
  ray(x: number, y: number): Ray {
    const eye = this.camera.position;
    const way = this.scratch.set((x / this.size.width) * 2 - 1, 1 - (y / this.size.height) * 2, 0.5).unproject(this.camera).sub(eye).normalize();
    return { x: eye.x, y: eye.y, z: eye.z, dx: way.x, dy: way.y, dz: way.z };
  }
}
