/** The camera: orbit by hand and by key, framing that leaves the docks free, flights, and the slow drift of the wall. */

import { MathUtils, PerspectiveCamera, Spherical, Vector3 } from 'three';
import { OrbitControls } from 'three/addons/controls/OrbitControls.js';
import { BOX, type Bounds, type Plan } from './plan';

/** Pixels of the canvas that something covers. */
export interface Insets {
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
  readonly left: number;
}

const FIELD = 30; // degrees, upright: long enough a lens that rows stay parallel
const FLIGHT_MS = 700;
const VISIT_SECONDS = 14;
const DRIFT_TURN = 0.045; // radians a second at most
const SETTLED = 1e-4;

interface Pose {
  readonly target: Vector3;
  readonly turn: number;
  readonly tilt: number;
  readonly distance: number;
}

export class Rig {
  readonly camera = new PerspectiveCamera(FIELD, 1, 0.2, 2_000);
  private readonly controls: OrbitControls;
  private flight: { from: Pose; to: Pose; start: number; length: number } | null = null;
  private insets: Insets = { top: 0, right: 0, bottom: 0, left: 0 };
  private size = { width: 1, height: 1 };
  private drifting = false;
  private visitedAt = -Infinity;
  private visits = 0;
  private isHandled = false;
  isMotionReduced = false;

  /** `onMove` is called when the person moves the camera. */
  constructor(canvas: HTMLCanvasElement, onMove: () => void) {
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, { enableDamping: true, dampingFactor: 0.12, zoomToCursor: true, maxPolarAngle: 1.53, minPolarAngle: 0.12, rotateSpeed: 0.7, zoomSpeed: 0.9, minDistance: 1.6 });
    this.controls.addEventListener('start', () => {
      this.flight = null;
      this.isHandled = true;
      onMove();
    });
    this.controls.addEventListener('change', onMove);
  }

  /** Whether the person has chosen a view of their own, which a change of the layout must not take away. */
  get isOwn(): boolean {
    return this.isHandled;
  }

  resize(width: number, height: number): void {
    this.size = { width: Math.max(1, width), height: Math.max(1, height) };
    this.frame();
  }

  inset(insets: Insets): void {
    this.insets = insets;
    this.frame();
  }

  /** Centre what is looked at in the part that no dock covers. */
  private frame(): void {
    const { width, height } = this.size;
    const { top, right, bottom, left } = this.insets;
    this.camera.aspect = width / height;
    this.camera.setViewOffset(width, height, (right - left) / 2, (bottom - top) / 2, width, height);
  }

  private get free(): { width: number; height: number } {
    const { width, height } = this.size;
    const { top, right, bottom, left } = this.insets;
    return { width: Math.max(width * 0.3, width - left - right), height: Math.max(height * 0.3, height - top - bottom) };
  }

  private get pose(): Pose {
    const spherical = new Spherical().setFromVector3(this.camera.position.clone().sub(this.controls.target));
    return { target: this.controls.target.clone(), turn: spherical.theta, tilt: spherical.phi, distance: spherical.radius };
  }

  private set pose({ target, turn, tilt, distance }: Pose) {
    this.controls.target.copy(target);
    this.camera.position.setFromSpherical(new Spherical(distance, MathUtils.clamp(tilt, 0.12, 1.53), turn)).add(target);
    this.controls.update();
  }

  /** See all of `plan` from where it reads best. */
  fit(plan: Plan, isAtOnce = false): void {
    const { bounds } = plan;
    const tilt = plan.kind === 'desk' ? 1.06 : MathUtils.lerp(1.24, 0.98, MathUtils.smoothstep(plan.racks.length, 2, 60));
    const pose = this.around(bounds, plan.kind === 'desk' ? -0.18 : -0.4, tilt, crownOf(plan));
    this.controls.maxDistance = pose.distance * 2.2;
    this.camera.far = pose.distance * 6 + 200;
    this.camera.near = Math.max(0.15, pose.distance / 600);
    this.isHandled = false;
    this.go(pose, isAtOnce);
  }

  /** Fly to a host, until its neighbours can be read. */
  fly(plan: Plan, seat: number): void {
    const at = seat * BOX;
    const [x, y, z, width, height] = plan.boxes.subarray(at, at + 5) as unknown as [number, number, number, number, number];
    if (!width) return;
    const span = plan.rackOf[seat]! < 0 ? 5 : plan.kind === 'desk' ? 3.4 : Math.max(3, Math.min(5.6, height * 20));
    const lens = Math.tan(MathUtils.degToRad(FIELD / 2));
    const distance = Math.max(span / (2 * lens * (this.free.height / this.size.height)), (width * 1.6) / (2 * lens * this.camera.aspect * (this.free.width / this.size.width)));
    const turn = this.pose.turn;
    const isBehind = Math.abs(MathUtils.euclideanModulo(turn + Math.PI, Math.PI * 2) - Math.PI) > Math.PI / 2;
    this.isHandled = true;
    this.go({ target: new Vector3(x, y + height / 2, z), turn: isBehind ? Math.PI - 0.22 : -0.22, tilt: 1.34, distance });
  }

  /** By key: radians round and up. */
  orbit(turn: number, tilt: number): void {
    this.handled({ ...this.pose, turn: this.pose.turn + turn, tilt: this.pose.tilt + tilt });
  }

  /** By key: closer with a factor below 1. */
  zoom(factor: number): void {
    const { distance, ...pose } = this.pose;
    this.handled({ ...pose, distance: MathUtils.clamp(distance * factor, this.controls.minDistance, this.controls.maxDistance) });
  }

  /** By key: in parts of what is seen, to the right and up. */
  pan(right: number, up: number): void {
    const pose = this.pose;
    const span = pose.distance * 0.5;
    const east = new Vector3().setFromMatrixColumn(this.camera.matrix, 0);
    const north = new Vector3(-Math.sin(pose.turn), 0, -Math.cos(pose.turn));
    this.handled({ ...pose, target: pose.target.clone().addScaledVector(east, right * span).addScaledVector(north, up * span) });
  }

  /** Drift by itself, from one rack in trouble to the next. */
  drift(isOn: boolean): void {
    if (isOn !== this.drifting) this.visitedAt = -Infinity;
    this.drifting = isOn;
    this.controls.enabled = !isOn;
  }

  /** Move on to `now`; whether the view changed. `problems`: racks to visit, the worst first. */
  update(now: number, seconds: number, plan: Plan, problems: () => readonly number[]): boolean {
    if (this.drifting && !this.isMotionReduced) this.roam(now, seconds, plan, problems);
    if (this.flight) {
      const { from, to, start, length } = this.flight;
      const raw = length === 0 ? 1 : MathUtils.clamp((now - start) / length, 0, 1);
      const part = raw * raw * raw * (raw * (raw * 6 - 15) + 10);
      this.pose = {
        target: from.target.clone().lerp(to.target, part),
        turn: from.turn + (to.turn - from.turn) * part,
        tilt: MathUtils.lerp(from.tilt, to.tilt, part),
        distance: from.distance * (to.distance / from.distance) ** part,
      };
      if (raw === 1) this.flight = null;
      return true;
    }
    return this.controls.update() || this.drifting;
  }

  dispose(): void {
    this.controls.dispose();
  }

  private roam(now: number, seconds: number, plan: Plan, problems: () => readonly number[]): void {
    if (now - this.visitedAt > VISIT_SECONDS * 1000) {
      this.visitedAt = now;
      const racks = problems();
      // Every third stop is the whole: who looks up must find where things are.
      const rack = this.visits++ % 3 === 0 ? undefined : plan.racks[racks[(this.visits * 2) % Math.max(1, racks.length)] ?? -1];
      const pose = rack
        ? { ...this.around({ minX: rack.x - 4, maxX: rack.x + 4, maxY: rack.height + 0.6, minZ: rack.z - 2, maxZ: rack.z + 2 }, -0.3, 1.22) }
        : this.around(plan.bounds, -0.42 + ((this.visits % 4) - 1.5) * 0.12, 1.08, crownOf(plan));
      this.go(pose, false, 4_000);
    } else if (!this.flight) {
      const pose = this.pose;
      this.pose = { ...pose, turn: pose.turn + DRIFT_TURN * seconds * Math.sin((now - this.visitedAt) / 4_500) };
    }
  }

  private handled(pose: Pose): void {
    this.flight = null;
    this.isHandled = true;
    this.pose = pose;
  }

  private go(to: Pose, isAtOnce = false, length = FLIGHT_MS): void {
    const from = this.pose;
    if (isAtOnce || this.isMotionReduced || !Number.isFinite(from.distance) || from.distance < SETTLED) {
      this.flight = null;
      this.pose = to;
      return;
    }
    const turn = from.turn + MathUtils.euclideanModulo(to.turn - from.turn + Math.PI, Math.PI * 2) - Math.PI; // the short way
    this.flight = { from, to: { ...to, turn }, start: performance.now(), length };
  }

  /** The nearest pose from a direction that holds all of a box in the free part of the canvas. */
  private around({ minX, maxX, maxY, minZ, maxZ }: Bounds, turn: number, tilt: number, crown: readonly Vector3[] = []): Pose {
    const back = new Vector3().setFromSpherical(new Spherical(1, tilt, turn));
    const right = new Vector3(0, 1, 0).cross(back).normalize();
    const up = back.clone().cross(right);
    const lens = Math.tan(MathUtils.degToRad(FIELD / 2));
    const [tallest, widest] = [lens * (this.free.height / this.size.height), lens * this.camera.aspect * (this.free.width / this.size.width)];
    const inward = Math.min(1.2, (maxX - minX) / 4); // what is tall does not stand on the edge
    const corners = [
      ...[minX, maxX].flatMap((x) => [minZ, maxZ].map((z) => new Vector3(x, 0, z))),
      ...[minX + inward, maxX - inward].flatMap((x) => [minZ + inward, maxZ - inward * 2].map((z) => new Vector3(x, maxY, z))),
      ...crown,
    ];
    const target = new Vector3((minX + maxX) / 2, maxY * 0.4, (minZ + maxZ) / 2);
    let distance = 0;
    // Perspective makes the near edge large: the middle of what is seen is found in a few rounds.
    for (let round = 0; round < 6; round++) {
      const seen = corners.map((corner) => corner.clone().sub(target)).map((corner) => ({ x: corner.dot(right), y: corner.dot(up), near: corner.dot(back) }));
      distance = Math.max(...seen.map(({ x, y, near }) => near + Math.max(Math.abs(x) / widest, Math.abs(y) / tallest)));
      const xs = seen.map(({ x, near }) => x / (distance - near));
      const ys = seen.map(({ y, near }) => y / (distance - near));
      target.addScaledVector(right, ((Math.min(...xs) + Math.max(...xs)) / 2) * distance * 0.8);
      target.addScaledVector(up, ((Math.min(...ys) + Math.max(...ys)) / 2) * distance * 0.8);
    }
    return { target, turn, tilt, distance: distance * 1.05 };
  }
}

/** The points of EGO's crystal that must be in the picture too. */
function crownOf({ crystal: { x, y, z, radius } }: Plan): Vector3[] {
  return [new Vector3(x, y + radius * 1.45, z), new Vector3(x - radius, y, z), new Vector3(x + radius, y, z)];
}
