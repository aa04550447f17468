/** The names in the scene: those written on the faces of slabs, and the labels that float over it. */

import type { Vector3 } from 'three';
import type { FleetView } from './fleet';
import { Labels, labelsOf, placed, type Away, type Label } from './labels';
import { boxOf, type Plan } from './plan';
import { NamePlates } from './lettering';
import type { Projection } from './projection';
import type { Insets } from './rig';

const LABELS_MS = 250;
const NAMES_MS = 400;
const NAME_PIXELS = 9.5; // of a slab's height from which on its name is worth writing

export interface Chosen {
  readonly selected: readonly number[];
  readonly hovered: number;
  /** 1 for each seat that matches the filter; null: all */
  readonly mask: Uint8Array | null;
  /** By hostname, what stands before its name; null: nothing */
  readonly signs?: ReadonlyMap<string, string> | null;
}

export class Names {
  readonly plates = new NamePlates();
  private readonly labels: Labels;
  private shown: readonly { label: Label; away: Away }[] = [];
  private writtenAt = 0;
  private chosenAt = 0;

  /** `overlay` lies on the canvas and holds the labels. */
  constructor(overlay: HTMLElement, private readonly projection: Projection) {
    this.labels = new Labels(overlay);
    overlay.classList.add('scene-labels');
  }

  /** How many labels there are */
  get count(): number {
    return this.shown.length;
  }

  /** Write the names on the faces anew with the next picture. */
  rewrite(): void {
    this.writtenAt = 0;
  }

  /** Choose the labels anew with the next picture. */
  rechoose(): void {
    this.chosenAt = 0;
  }

  clear(): void {
    this.labels.show([]);
  }

  /** The cells of the names by seat, those of the largest slabs; null: what is written stays. */
  write(fleet: FleetView, plan: Plan, now: number, isViewMoving: boolean): Map<number, number> | null {
    const passed = now - this.writtenAt;
    if (passed <= NAMES_MS || (isViewMoving && passed < NAMES_MS * 3)) return null;
    this.writtenAt = now;
    const { width, height } = this.projection.size;
    const seen: { seat: number; pixels: number }[] = [];
    for (let seat = 0; seat < fleet.end; seat++) {
      const [x, y, z, wide, tall] = boxOf(plan, seat);
      if (!wide) continue;
      const point = this.projection.project(x, y, z);
      if (!point) continue;
      const pixels = tall * point.scale;
      if (pixels < NAME_PIXELS || point.x < -200 || point.x > width + 200 || point.y < -60 || point.y > height + 60) continue;
      seen.push({ seat, pixels });
    }
    seen.sort((one, other) => other.pixels - one.pixels || one.seat - other.seat);
    const names = new Map(seen.slice(0, NamePlates.CAPACITY).map(({ seat }) => [seat, fleet.entries[seat]?.displayName ?? '']));
    const cells = this.plates.show([...names.values()]);
    return new Map([...names].flatMap(([seat, name]) => (cells.has(name) ? [[seat, cells.get(name) as number]] : [])));
  }

  /** Move the labels to where their points are now; which there are is chosen a few times a second. */
  label(fleet: FleetView, plan: Plan, chosen: Chosen, eye: Vector3, insets: Insets, now: number): void {
    const { projection } = this;
    const project = projection.project.bind(projection);
    if (now - this.chosenAt > LABELS_MS) {
      this.chosenAt = now;
      const wanted = labelsOf(fleet, plan, chosen, (x, y, z) => project(x, y, z)?.scale ?? 0);
      const { width, height } = projection.size;
      const { top, right, bottom, left } = insets;
      const free = { left: left + 4, top: top + 4, right: width - right - 4, bottom: height - bottom - 4 };
      this.shown = placed(wanted, plan, eye, project, free).map(({ label, away }) => ({ label, away }));
    }
    this.labels.show(this.shown.flatMap(({ label, away }) => {
      const point = project(...label.at);
      return point ? [{ label, x: point.x + away.x, y: point.y + away.y, away }] : [];
    }));
  }
}
