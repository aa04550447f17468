/** The hosts as slabs: place, state, the metric on the face. One instance for each seat of the twin, two draw calls. */

import { BackSide, FrontSide, Mesh, Vector2, type Texture } from 'three';
import type { ColourBy, Live } from '../metrics';
import { CRITICAL, WARNING } from '../store/status';
import type { FleetView } from './fleet';
import { Instances, openBox } from './instances';
import { BOX, type Plan } from './plan';
import { NAME_GRID } from './lettering';
import { BARS, codedFigure, METRIC_BARS, type Limits } from './colouring';
import { SLAB_FRAGMENT, SLAB_VERTEX } from './shaders/slab.glsl';
import { material, ORDER, type Shared } from './stage';

export const FIRST_CAPACITY = 8_192;
const STEPS = 400; // a bar is about that many pixels at most: smaller changes are not sent
const UNKNOWN = -1;

export class Slabs {
  private readonly instances = new Instances(openBox(), { aFrom: 3, aPlace: 3, aSize: 3, aBar: 4, aTint: 4 }, FIRST_CAPACITY);
  private readonly uByMetric = { value: 0 };
  private colourBy: ColourBy = 'status';
  private limits: Limits = {};
  private fired: ReadonlyMap<string, Live> = new Map();
  private mask: Uint8Array | null = null;
  private selected: ReadonlySet<number> = new Set();
  readonly standing: Mesh;
  readonly mirrored: Mesh;
  /** What a search has found, drawn again over what stands before it */
  readonly found: Mesh;

  constructor(private readonly shared: Shared, names: Texture, digits: Texture) {
    const look = (mirror: 1 | -1, isSeenThrough = false): Mesh => {
      const mesh = new Mesh(this.instances.geometry, material(shared, {
        vertexShader: SLAB_VERTEX,
        fragmentShader: SLAB_FRAGMENT,
        side: mirror === 1 ? FrontSide : BackSide,
        isSeenThrough,
        uniforms: {
          uMirror: { value: mirror },
          uThrough: { value: isSeenThrough ? 1 : 0 },
          uByMetric: this.uByMetric,
          uNames: { value: names },
          uNameGrid: { value: new Vector2(NAME_GRID.across, NAME_GRID.down) },
          uDigits: { value: digits },
        },
      }));
      mesh.frustumCulled = false;
      mesh.renderOrder = isSeenThrough ? ORDER.rings : mirror === 1 ? ORDER.standing : ORDER.mirrored;
      return mesh;
    };
    this.standing = look(1);
    this.mirrored = look(-1);
    this.found = look(1, true);
    this.found.visible = false;
  }

  /** Stand where `plan` says, coming from where they were; `hidden`: drawn as something else. */
  place(plan: Plan, end: number, hidden: number): void {
    const { instances } = this;
    const before = instances.count;
    instances.reserve(Math.max(end, 1));
    instances.count = end;
    const [from, place, size] = [instances.array('aFrom'), instances.array('aPlace'), instances.array('aSize')];
    const moved = this.shared.uMove.value;
    for (let seat = 0; seat < end; seat++) {
      const isNew = seat >= before || size[seat * 3] === 0;
      for (let axis = 0; axis < 3; axis++) {
        const at = seat * 3 + axis;
        const to = plan.boxes[seat * BOX + axis] as number;
        // In the middle of a move the next one starts from where it is seen.
        from[at] = isNew ? to : (from[at] as number) + ((place[at] as number) - (from[at] as number)) * moved;
        place[at] = to;
        size[at] = seat === hidden ? 0 : (plan.boxes[seat * BOX + 3 + axis] as number);
      }
    }
    instances.sendAll();
  }

  colour(by: ColourBy, limits: Limits): void {
    this.colourBy = by;
    this.limits = limits;
    this.uByMetric.value = by === 'status' ? 0 : 1;
  }

  /** By hostname, the metric that its worst alert is about: where the colour is the state's, the bar shows that one. */
  fire(fired: ReadonlyMap<string, Live>): void {
    this.fired = fired;
  }

  filter(mask: Uint8Array | null): void {
    this.mask = mask;
  }

  select(seats: readonly number[]): void {
    this.selected = new Set(seats);
  }

  /** Write all seats. */
  applyAll(fleet: FleetView): void {
    this.apply(fleet, undefined);
  }

  /** Write those of `seats` that changed (all if undefined); how many did. */
  apply(fleet: FleetView, seats: readonly number[] | undefined): number {
    const { instances, mask, selected, limits } = this;
    const [bar, tint] = [instances.array('aBar'), instances.array('aTint')];
    const usual = BARS[this.colourBy];
    const usualFireAt = usual.fireAt(limits);
    const { columns } = fleet;
    const { state } = columns;
    const now = this.shared.uTime.value;
    const isStill = this.shared.uMotion.value === 0;
    const count = seats ? seats.length : instances.count;
    let [firstBar, lastBar, firstTint, lastTint, changed] = [Infinity, -1, Infinity, -1, 0];
    for (let index = 0; index < count; index++) {
      const seat = seats ? (seats[index] as number) : index;
      const at = seat * 4;
      const isTroubled = state[seat] === WARNING || state[seat] === CRITICAL;
      const metric = isTroubled && this.colourBy === 'status' ? this.fired.get(fleet.entries[seat]?.hostname ?? '') : undefined;
      const own = metric && METRIC_BARS[metric];
      const { fraction, figure, unit } = own ?? usual;
      const fireAt = own ? own.fireAt(limits) : usualFireAt;
      const exact = fraction(columns, seat);
      const to = exact === exact ? Math.round(exact * STEPS) / STEPS : UNKNOWN;
      const isOther = bar[at + 3] !== state[seat] || Math.abs((bar[at + 1] as number) - to) > 1e-6;
      if (isOther) {
        const since = (now - (bar[at + 2] as number)) / 0.4;
        const eased = since >= 1 ? 1 : since <= 0 ? 0 : since * since * (3 - 2 * since);
        const shown = (bar[at] as number) + ((bar[at + 1] as number) - (bar[at] as number)) * eased;
        bar[at] = isStill ? to : Math.max(0, shown);
        bar[at + 1] = to;
        bar[at + 2] = now;
        bar[at + 3] = state[seat] as number;
        if (seat < firstBar) firstBar = seat;
        if (seat > lastBar) lastBar = seat;
        changed++;
      }
      const told = codedFigure(figure(columns, seat), unit);
      const passes = (mask === null || mask[seat] === 1 ? 1 : 0) + (selected.has(seat) ? 2 : 0) + (own ? 4 : 0);
      if (tint[at] !== told || tint[at + 2] !== passes || tint[at + 3] !== fireAt) {
        tint[at] = told;
        tint[at + 2] = passes;
        tint[at + 3] = fireAt;
        if (seat < firstTint) firstTint = seat;
        if (seat > lastTint) lastTint = seat;
      }
    }
    if (lastBar >= 0) instances.send('aBar', firstBar, lastBar);
    if (lastTint >= 0) instances.send('aTint', firstTint, lastTint);
    return changed;
  }

  /** Write the names of the seats in `cells`; all others have none. */
  name(cells: ReadonlyMap<number, number>): void {
    const { instances } = this;
    const tint = instances.array('aTint');
    let [first, last] = [Infinity, -1];
    for (let seat = 0; seat < instances.count; seat++) {
      const cell = cells.get(seat) ?? -1;
      if (tint[seat * 4 + 1] === cell) continue;
      tint[seat * 4 + 1] = cell;
      if (seat < first) first = seat;
      last = seat;
    }
    if (last >= 0) instances.send('aTint', first, last);
  }

  /** The clock was set back by `seconds`: so is what it is compared with. */
  rewind(seconds: number): void {
    const bar = this.instances.array('aBar');
    for (let seat = 0; seat < this.instances.count; seat++) bar[seat * 4 + 2] = (bar[seat * 4 + 2] as number) - seconds;
    if (this.instances.count > 0) this.instances.send('aBar', 0, this.instances.count - 1);
  }
}

