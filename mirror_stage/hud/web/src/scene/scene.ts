/**
 * The scene of the mirror world: puts the parts together, keeps the loop, and answers what the stage asks.
 *
 * Nothing is built after a frame of data: a delta writes the changed seats into buffers that are there. Drawing stops
 * when nobody looks, and with reduced motion whenever nothing has changed.
 */

import { Scene, WebGLRenderer } from 'three';
import type { ColourBy, Live } from '../metrics';
import type { GroupBy } from '../store/homes';
import { urgencyOf, worstOf } from '../store/status';
import { Crystal } from './crystal';
import type { FleetChanges, FleetEntry, FleetView } from './fleet';
import { Ground } from './ground';
import { isMoved, residentsOf } from './grouping';
import { arrange } from './layout';
import { BOX, boxOf, type Plan } from './plan';
import { digitStrip } from './lettering';
import { Links } from './links';
import { legendOf, type Legend, type Limits } from './colouring';
import { foundIn } from './labels';
import { Names } from './names';
import { dayOf, PALETTE, rgb } from './palette';
import { pick, within, type Rectangle } from './picking';
import { Projection } from './projection';
import { Quality } from './quality';
import { Racks } from './racks';
import { Rig, type Insets } from './rig';
import { Rings } from './rings';
import { linkKindOf } from './routes';
import './scene.css';
import { Slabs } from './slabs';
import { sharedUniforms } from './stage';

/** What the person chose; the scene is a function of it and of the fleet. */
export interface Choices {
  readonly groupBy: GroupBy;
  readonly colourBy: ColourBy;
  /** 1 for each seat that matches the filter; null: all */
  readonly mask: Uint8Array | null;
  /** By hostname, what stands before its name; null: nothing */
  readonly signs: ReadonlyMap<string, string> | null;
  /** Hostnames, the first is the one in the detail */
  readonly selection: readonly string[];
  /** The hosts that others are silent because of */
  readonly causes: ReadonlySet<string>;
  readonly limits: Limits;
  /** By hostname, the metric that its worst alert is about */
  readonly fired: ReadonlyMap<string, Live>;
  readonly isMotionReduced: boolean;
  readonly isWall: boolean;
  /** The stream is lost or silent: colour goes */
  readonly isStale: boolean;
  /** What hosts without rack are called */
  readonly unracked: string;
}

export interface SceneEvents {
  hover(card: HoverCard | null): void;
  legend(legend: Legend): void;
  quality(isReduced: boolean): void;
  context(state: 'lost' | 'restored'): void;
}

/** What is under the pointer and where, in CSS pixels of the canvas. */
export interface HoverCard {
  readonly seat: number;
  readonly hostname: string;
  readonly x: number;
  readonly y: number;
}

export interface SceneStats {
  draws: number;
  drawCalls: number;
  triangles: number;
  applyMs: number;
  pickMs: number;
  frameMs: number;
  labels: number;
  isReduced: boolean;
}

export interface SceneOptions {
  /** Never change the quality by itself: for pictures and tests on machines without a GPU */
  readonly isQualityPinned?: boolean;
}

const MOVE_MS = 400;
const EASE_MS = 450; // of a bar, and a little
const LIFE_MS = 600;
const LIFE_OF_STALE = 0.4; // of its colour: states must still be told apart
const LONGEST_STEP = 0.1; // seconds: after a stall the view goes on, it does not leap
const CLOCK_SECONDS = 3_600; // a shader's seconds stay small enough to be exact
const DEFAULTS: Choices = {
  groupBy: 'rack', colourBy: 'status', mask: null, signs: null, selection: [], causes: new Set(), limits: {}, fired: new Map(), isMotionReduced: false, isWall: false, isStale: false, unracked: '',
};

export class MirrorScene {
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly shared = sharedUniforms();
  private readonly digits = digitStrip();
  private readonly slabs: Slabs;
  private readonly racks = new Racks(this.shared, this.digits);
  private readonly ground = new Ground(this.shared);
  private readonly crystal = new Crystal(this.shared);
  private readonly links = new Links(this.shared);
  private readonly rings = new Rings(this.shared);
  private readonly rig: Rig;
  private readonly projection: Projection;
  private readonly names: Names;
  private readonly quality: Quality;
  private readonly sizes: ResizeObserver;
  private choices = DEFAULTS;
  private plan: Plan = arrange([], null, 1);
  /** The entries that the plan was made of, by seat */
  private planned: (FleetEntry | undefined)[] = [];
  private selected: readonly number[] = [];
  private ego = -1;
  private hovered = -1;
  private pointer: { x: number; y: number } | null = null;
  private insets: Insets = { top: 0, right: 0, bottom: 0, left: 0 };
  private isActive = true;
  private isLost = false;
  private hasFleet = false;
  private isSwapped = false;
  private request = 0;
  private drawnAt = 0;
  private movedAt = -Infinity;
  /** Draw at least until then (performance.now()) */
  private busyUntil = 0;
  private stopListening = (): void => undefined;
  readonly stats: SceneStats = { draws: 0, drawCalls: 0, triangles: 0, applyMs: 0, pickMs: 0, frameMs: 0, labels: 0, isReduced: false };

  /** Throws where there is no WebGL 2. `overlay` lies on the canvas and holds the labels. */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    overlay: HTMLElement,
    private fleet: FleetView,
    private readonly events: SceneEvents,
    { isQualityPinned = false }: SceneOptions = {},
  ) {
    this.renderer = new WebGLRenderer({ canvas, antialias: true, powerPreference: 'high-performance', stencil: false });
    this.quality = new Quality(devicePixelRatio, isQualityPinned);
    this.rig = new Rig(canvas, () => this.wake());
    this.projection = new Projection(this.rig.camera);
    this.names = new Names(overlay, this.projection);
    this.slabs = new Slabs(this.shared, this.names.plates.texture, this.digits);
    this.scene.matrixWorldAutoUpdate = false; // nothing has a matrix of its own: places are in the buffers
    this.scene.add(
      this.ground.sky, this.slabs.mirrored, this.racks.mirrored, this.crystal.mesh, this.ground.floor,
      this.slabs.standing, this.racks.standing, this.ground.decals, this.links.mesh, this.rings.mesh, this.slabs.found,
    );
    this.sizes = new ResizeObserver(() => this.measure());
    this.sizes.observe(canvas);
    canvas.addEventListener('webglcontextlost', this.lost);
    canvas.addEventListener('webglcontextrestored', this.restored);
    document.addEventListener('visibilitychange', this.wake);
    this.measure();
    this.adjust();
    this.show(fleet);
  }

  /** Show another fleet: the live one, or one of the past. */
  show(fleet: FleetView): void {
    this.stopListening();
    this.isSwapped = fleet !== this.fleet; // its seats are others': nobody moves from one to the other
    this.fleet = fleet;
    this.stopListening = fleet.listen((changes) => this.changed(changes));
    this.changed({ whole: true, removed: [], upserted: [], touched: [] });
  }

  /** Take what the person chose now; only what differs is done. */
  choose(choices: Choices): void {
    const before = this.choices;
    this.choices = choices;
    const { shared } = this;
    this.rig.isMotionReduced = choices.isMotionReduced;
    shared.uMotion.value = choices.isMotionReduced ? 0 : 1;
    this.rig.drift(choices.isWall);
    const isRegrouped = choices.groupBy !== before.groupBy;
    if (isRegrouped) this.planned = [];
    if (isRegrouped || choices.unracked !== before.unracked) this.place(isRegrouped);
    if (choices.colourBy !== before.colourBy || choices.limits !== before.limits) this.slabs.colour(choices.colourBy, choices.limits);
    this.slabs.fire(choices.fired);
    this.slabs.filter(choices.mask);
    this.slabs.found.visible = foundIn(this.fleet, this.plan, choices.mask).length > 0;
    this.racks.apply(this.fleet, this.plan, choices.mask);
    this.select();
    this.tellLegend();
    this.stir(LIFE_MS);
  }

  /** Take the colours of a theme: '#rrggbb' for each token. */
  paint(colour: (token: string) => string): void {
    const { uPalette, uDay } = this.shared;
    PALETTE.forEach((token, at) => uPalette.value[at]?.set(...rgb(colour(token))));
    uDay.value = dayOf(rgb(colour('stage-floor')));
    this.stir(0);
  }

  set active(isActive: boolean) {
    this.isActive = isActive;
    this.wake();
  }

  inset(insets: Insets): void {
    const before = this.insets;
    this.insets = insets;
    this.rig.inset(insets);
    const isMoved_ = (['top', 'right', 'bottom', 'left'] as const).some((side) => Math.abs(before[side] - insets[side]) > 1);
    if (isMoved_ && !this.rig.isOwn && this.hasFleet) this.rig.fit(this.plan, this.stats.draws < 2);
    this.stir(0);
  }

  fit(): void {
    this.rig.fit(this.plan);
    this.stir(0);
  }

  /** Fly to a host; to everything if it is not there. */
  fly(hostname: string | null): void {
    const seat = hostname === null ? undefined : this.fleet.seatsByHostname.get(hostname);
    if (seat === undefined) this.rig.fit(this.plan);
    else this.rig.fly(this.plan, seat);
    this.stir(0);
  }

  orbit(turn: number, tilt: number): void {
    this.rig.orbit(turn, tilt);
    this.stir(0);
  }

  zoom(factor: number): void {
    this.rig.zoom(factor);
    this.stir(0);
  }

  pan(right: number, up: number): void {
    this.rig.pan(right, up);
    this.stir(0);
  }

  /** The hostname at a point of the canvas, in CSS pixels from its corner. */
  hostAt(x: number, y: number): string | null {
    return this.fleet.entries[this.seatAt(x, y)]?.hostname ?? null;
  }

  /** The hostnames in a rectangle of the canvas, by slot, without the hub. */
  hostsWithin(rectangle: Rectangle): string[] {
    const seats = within(rectangle, this.plan.boxes, this.fleet.end, (x, y, z) => this.projection.project(x, y, z));
    const { mask } = this.choices;
    return seats.filter((seat) => mask === null || mask[seat] === 1).flatMap((seat) => {
      const entry = this.fleet.entries[seat];
      return entry && entry.role !== 'hub' ? [entry.hostname] : [];
    });
  }

  /** The pointer is at a point of the canvas, or nowhere: looked at once a frame. */
  point(at: { x: number; y: number } | null): void {
    this.pointer = at;
    this.stir(0);
  }

  /** Where the middle of a host's front is, in CSS pixels of the canvas; null if it is not in front of the camera. */
  screen(hostname: string): { x: number; y: number } | null {
    const seat = this.fleet.seatsByHostname.get(hostname);
    if (seat === undefined || !this.plan.boxes[seat * BOX + 3]) return null;
    const [x, y, z, , height, depth] = boxOf(this.plan, seat);
    const isBehind = this.rig.camera.position.z < z;
    return this.projection.project(x, y + height / 2, z + (isBehind ? -depth / 2 : depth / 2));
  }

  /** What must stay the same while data flows. */
  probe(): { objectIds: number[]; geometries: number; textures: number } {
    const { geometries, textures } = this.renderer.info.memory;
    return { objectIds: this.scene.children.map((child) => child.id), geometries, textures };
  }

  /** For tests of the loss of the context. */
  loseContext(): void {
    this.renderer.forceContextLoss();
  }

  restoreContext(): void {
    this.renderer.forceContextRestore();
  }

  dispose(): void {
    cancelAnimationFrame(this.request);
    this.stopListening();
    this.sizes.disconnect();
    this.canvas.removeEventListener('webglcontextlost', this.lost);
    this.canvas.removeEventListener('webglcontextrestored', this.restored);
    document.removeEventListener('visibilitychange', this.wake);
    this.rig.dispose();
    this.names.clear();
    this.renderer.dispose();
  }

  private readonly lost = (event: Event): void => {
    event.preventDefault(); // or it never comes back
    this.isLost = true;
    this.events.context('lost');
  };

  private readonly restored = (): void => {
    this.isLost = false;
    this.events.context('restored');
    this.stir(0);
  };

  // ── data ──

  private changed({ whole, removed, upserted, touched }: FleetChanges): void {
    const start = performance.now();
    const isElsewhere = whole
      ? this.planned.length !== this.fleet.end || this.planned.some((entry, seat) => isMoved(entry, this.fleet.entries[seat]))
      : removed.length > 0 || upserted.some((seat) => isMoved(this.planned[seat], this.fleet.entries[seat]));
    if (isElsewhere) {
      this.place(false);
      this.select();
    } else {
      const seats = whole ? undefined : upserted.length === 0 ? touched : [...new Set([...touched, ...upserted])];
      this.slabs.apply(this.fleet, seats);
      this.links.choose(this.plan, this.fleet, this.selected);
    }
    this.racks.apply(this.fleet, this.plan, this.choices.mask);
    this.links.apply(this.fleet, this.plan, this.choices.mask);
    this.crystal.show(worstOf(this.states()));
    this.stats.applyMs = performance.now() - start;
    this.stir(EASE_MS);
  }

  /** Give everybody a place. `isFresh`: as if nobody had had one. */
  private place(isFresh: boolean): void {
    const { fleet, shared } = this;
    const residents = residentsOf(fleet, this.choices.groupBy);
    this.planned = fleet.entries.slice(0, fleet.end);
    this.plan = arrange(residents, isFresh || !this.hasFleet ? null : this.plan, Math.max(1, fleet.end));
    const { plan } = this;
    this.ego = residents.find((one) => one.role === 'ego')?.seat ?? -1;
    this.slabs.place(plan, fleet.end, this.ego);
    this.racks.place(plan);
    this.crystal.place(plan);
    this.ground.place(plan, this.choices.unracked);
    this.links.place(plan, fleet);
    this.links.apply(fleet, plan, this.choices.mask);
    const { minX, maxX, minZ, maxZ } = plan.bounds;
    shared.uCentre.value.set((minX + maxX) / 2, 0, (minZ + maxZ) / 2);
    shared.uReach.value = Math.max(7, Math.hypot(maxX - minX, maxZ - minZ) / 2);
    const isFirst = !this.hasFleet;
    this.hasFleet ||= residents.length > 0;
    const isStill = isFirst || this.isSwapped || this.choices.isMotionReduced;
    this.isSwapped = false;
    this.movedAt = isStill ? -Infinity : performance.now();
    shared.uMove.value = isStill ? 1 : 0;
    if (!this.rig.isOwn || plan.isAnew) this.rig.fit(plan, isFirst);
    this.names.rewrite();
    this.tellLegend();
    this.stir(MOVE_MS);
  }

  private select(): void {
    const { fleet } = this;
    this.selected = this.choices.selection.flatMap((hostname) => fleet.seatsByHostname.get(hostname) ?? []);
    this.slabs.select(this.selected);
    this.slabs.applyAll(fleet);
    this.ring();
    this.links.choose(this.plan, fleet, this.selected);
    this.links.apply(fleet, this.plan, this.choices.mask);
    this.names.rechoose();
  }

  private ring(): void {
    this.rings.show(this.plan, this.selected, this.hovered, [...this.choices.causes].flatMap((hostname) => this.fleet.seatsByHostname.get(hostname) ?? []));
  }

  private tellLegend(): void {
    this.events.legend(legendOf(this.choices.colourBy, this.choices.limits, linkKindOf(this.plan)));
  }

  // ── the loop ──

  /** Something changed that needs drawing for so many milliseconds. */
  private stir(length: number): void {
    this.busyUntil = Math.max(this.busyUntil, performance.now() + length);
    this.wake();
  }

  private readonly wake = (): void => {
    if (this.request !== 0 || !this.isActive || document.hidden) return;
    this.quality.pause();
    this.drawnAt = performance.now();
    this.request = requestAnimationFrame(this.frame);
  };

  private readonly frame = (): void => {
    this.request = 0;
    if (!this.isActive || document.hidden) return;
    const now = performance.now();
    const cap = this.choices.isWall ? 30 : this.quality.level.framesPerSecond;
    const passed = now - this.drawnAt;
    // A little early is on time: a display of 60 Hz under a cap of 30 would else show every third frame.
    if (passed < 1000 / cap - 4) {
      this.request = requestAnimationFrame(this.frame);
      return;
    }
    const isViewMoving = this.advance(now, passed / 1000);
    if (!this.isLost && this.projection.size.width > 0) this.draw(now, isViewMoving);
    this.drawnAt = now;
    if (this.quality.frame(now, cap)) this.adjust();
    const isAnimated = !this.choices.isMotionReduced && this.hasFleet;
    if (isAnimated || isViewMoving || now < this.busyUntil) this.request = requestAnimationFrame(this.frame);
  };

  /** Move everything on by `seconds`; whether the view changed. */
  private advance(now: number, seconds: number): boolean {
    const { shared, choices } = this;
    shared.uTime.value += seconds;
    if (shared.uTime.value > CLOCK_SECONDS) {
      shared.uTime.value -= CLOCK_SECONDS;
      this.slabs.rewind(CLOCK_SECONDS);
    }
    shared.uMove.value = smooth((now - this.movedAt) / MOVE_MS);
    const life = choices.isStale ? LIFE_OF_STALE : 1;
    const step = choices.isMotionReduced ? 1 : (seconds * 1000) / LIFE_MS;
    shared.uLife.value += Math.max(-step, Math.min(step, life - shared.uLife.value));
    if (!choices.isMotionReduced) this.crystal.turn(seconds);
    return this.rig.update(now, Math.min(seconds, LONGEST_STEP), this.plan, () => this.troubledRacks());
  }

  private draw(now: number, isViewMoving: boolean): void {
    const { camera } = this.rig;
    camera.updateMatrixWorld();
    this.ground.look(camera.projectionMatrixInverse, camera.matrixWorld);
    this.hover();
    const cells = this.names.write(this.fleet, this.plan, now, isViewMoving);
    if (cells) this.slabs.name(cells);
    this.names.label(this.fleet, this.plan, { selected: this.selected, hovered: this.hovered, mask: this.choices.mask, signs: this.choices.signs }, camera.position, this.insets, now);
    const start = performance.now();
    this.renderer.render(this.scene, camera);
    const { stats } = this;
    stats.labels = this.names.count;
    stats.frameMs = performance.now() - start;
    stats.draws++;
    stats.drawCalls = this.renderer.info.render.calls;
    stats.triangles = this.renderer.info.render.triangles;
  }

  private hover(): void {
    const seat = this.pointer ? this.seatAt(this.pointer.x, this.pointer.y) : -1;
    const hostname = this.fleet.entries[seat]?.hostname;
    this.events.hover(hostname === undefined || !this.pointer ? null : { seat, hostname, ...this.pointer });
    if (seat === this.hovered) return;
    this.hovered = seat;
    this.ring();
    this.names.rechoose();
  }

  /** The state of every host */
  private *states(): Generator<number> {
    const { columns, end, entries } = this.fleet;
    for (let seat = 0; seat < end; seat++) if (entries[seat]) yield columns.state[seat] as number;
  }

  private troubledRacks(): number[] {
    const { state } = this.fleet.columns;
    return this.plan.racks
      .map((rack, index) => ({ index, urgency: Math.max(...rack.seats.map((seat) => urgencyOf(state[seat] as number))) }))
      .filter(({ urgency }) => urgency >= 3)
      .sort((one, other) => other.urgency - one.urgency)
      .map(({ index }) => index);
  }

  // ── where things are ──

  private seatAt(x: number, y: number): number {
    const start = performance.now();
    const seat = pick(this.projection.ray(x, y), this.plan.boxes, this.fleet.end);
    this.stats.pickMs = performance.now() - start;
    return seat;
  }

  private measure(): void {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width === 0 || height === 0 || (width === this.projection.size.width && height === this.projection.size.height)) return;
    const isFirst = this.projection.size.width === 0;
    this.projection.size = { width, height };
    this.renderer.setSize(width, height, false);
    this.links.resize(width, height);
    this.rig.resize(width, height);
    if (!this.rig.isOwn) this.rig.fit(this.plan, isFirst || this.stats.draws < 2);
    this.stir(0);
  }

  /** Draw as much as the quality allows. */
  private adjust(): void {
    const { level, isReduced } = this.quality;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, level.pixelRatio));
    this.slabs.mirrored.visible = this.racks.mirrored.visible = level.hasReflection;
    this.links.mesh.visible = level.hasArcs;
    this.stats.isReduced = isReduced;
    this.events.quality(isReduced);
    this.stir(0);
  }
}

function smooth(part: number): number {
  const at = Math.max(0, Math.min(1, part));
  return at * at * (3 - 2 * at);
}

export type { Legend };
