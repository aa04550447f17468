/** The few names that float over the scene: what is selected, hosts in trouble, racks in trouble. Text, not pictures. */

import { CRITICAL, OFFLINE, OK, STATES, urgencyOf, worstOf } from '../store/status';
import type { FleetView } from './fleet';
import { BOX, type Plan } from './plan';
import { distanceTo } from './picking';
import type { Projected } from './projection';
import { capOf } from './racks';

export const MOST_LABELS = 24;
const MOST_FOUND = 16;
const MOST_RACKS = 12; // their caps tell the rest
const NAMED = 12.5; // from which on the name on its face can be read
const READABLE = 3.2; // pixels of a slab's height from which on a label may point at it
const [HEIGHT, PER_LETTER, PADDING] = [22, 7.2, 30];

const RINGS = 12;

/** From the point to its label's upper left corner, in pixels */
export interface Away {
  readonly x: number;
  readonly y: number;
}

export interface Label {
  readonly key: string;
  readonly text: string;
  readonly state: number;
  readonly isSelected: boolean;
  /** Its name can be read on its face, so it needs no label further away */
  readonly isNamed: boolean;
  /** Where it points, in the scene */
  readonly at: readonly [x: number, y: number, z: number];
}

/** What should be labelled, the most urgent first: a host where it can be seen apart, else its rack with a count. */
export function labelsOf(
  fleet: FleetView,
  plan: Plan,
  seats: { readonly selected: readonly number[]; readonly hovered: number; readonly mask: Uint8Array | null; readonly signs?: ReadonlyMap<string, string> | null },
  scaleAt: (x: number, y: number, z: number) => number,
): Label[] {
  const { state } = fleet.columns;
  const { boxes, rackOf, racks } = plan;
  const labels: Label[] = [];
  const host = (seat: number, isSelected: boolean): void => {
    const entry = fleet.entries[seat];
    const at = seat * BOX;
    const width = boxes[at + 3] as number;
    if (!entry || !width) return;
    const sign = seats.signs?.get(entry.hostname);
    labels.push({
      key: `h${seat}`,
      text: (sign === undefined ? '' : `${sign} `) + (entry.displayName || entry.hostname),
      state: state[seat] as number,
      isSelected,
      isNamed: (boxes[at + 4] as number) * scaleAt(boxes[at] as number, boxes[at + 1] as number, boxes[at + 2] as number) >= NAMED,
      at: [(boxes[at] as number) + width / 2, (boxes[at + 1] as number) + (boxes[at + 4] as number) / 2, (boxes[at + 2] as number) + (boxes[at + 5] as number) / 2],
    });
  };
  for (const seat of seats.selected.slice(0, 8)) host(seat, true);
  const found = foundIn(fleet, plan, seats.mask);
  for (const seat of found) if (!seats.selected.includes(seat)) host(seat, true);
  if (seats.hovered >= 0 && !seats.selected.includes(seats.hovered) && !found.includes(seats.hovered)) host(seats.hovered, true);
  if (found.length === 0) labels.push(...matchesOf(fleet, plan, seats.mask));
  const troubled: number[] = [];
  for (let seat = 0; seat < fleet.end; seat++) {
    if (!fleet.entries[seat] || state[seat] === OK || rackOf[seat] === undefined) continue;
    if (seats.mask !== null && seats.mask[seat] !== 1) continue;
    if (!seats.selected.includes(seat) && seat !== seats.hovered && !found.includes(seat)) troubled.push(seat);
  }
  troubled.sort((one, other) => urgencyOf(state[other] as number) - urgencyOf(state[one] as number) || one - other);
  const told = new Map<number, Label>();
  const counts = new Map<number, number>();
  for (const seat of troubled) {
    const rack = rackOf[seat] as number;
    const at = seat * BOX;
    const scale = scaleAt(boxes[at] as number, boxes[at + 1] as number, boxes[at + 2] as number);
    if (rack < 0 || !racks[rack]!.isFramed || (boxes[at + 4] as number) * scale >= READABLE) {
      if ((boxes[at + 4] as number) * scale < NAMED) host(seat, false);
      continue;
    }
    const { name, seats: members, x, z, height } = racks[rack]!;
    const isLoud = state[seat] === CRITICAL || state[seat] === OFFLINE;
    if (told.has(rack) || !isLoud || name === null) continue;
    const cap = capOf(members, state);
    told.set(rack, { key: `r${rack}`, text: `${name}  ${cap.number}`, state: cap.state, isSelected: false, isNamed: false, at: [x, height + 0.2, z] });
    counts.set(rack, urgencyOf(cap.state) * 1_000 + cap.number);
  }
  const worst = [...told.keys()].sort((one, other) => (counts.get(other) as number) - (counts.get(one) as number) || one - other);
  return [...labels, ...worst.slice(0, MOST_RACKS).map((rack) => told.get(rack) as Label)];
}

/** Where a search has found more hosts than can be named: how many in each rack, those with the most first. */
function matchesOf(fleet: FleetView, plan: Plan, mask: Uint8Array | null): Label[] {
  if (mask === null) return [];
  const counted = plan.racks.map((rack, index) => ({ rack, index, found: rack.seats.filter((seat) => mask[seat] === 1) }));
  return counted
    .filter(({ rack, found }) => rack.isFramed && rack.name !== null && found.length > 0)
    .sort((one, other) => other.found.length - one.found.length)
    .slice(0, MOST_RACKS)
    .map(({ rack, index, found }) => ({
      key: `m${index}`, text: `${rack.name}  ${found.length}`, state: worstOf(found.map((seat) => fleet.columns.state[seat] as number)), isSelected: true, isNamed: false, at: [rack.x, rack.height + 0.2, rack.z],
    }));
}

/** The hosts that a search has found, where they are few enough to be named each; then each has its label, and is seen through what stands before it. */
export function foundIn(fleet: FleetView, plan: Plan, mask: Uint8Array | null): readonly number[] {
  if (mask === null) return [];
  const found: number[] = [];
  for (let seat = 0; seat < fleet.end; seat++) {
    if (mask[seat] !== 1 || !fleet.entries[seat] || plan.boxes[seat * BOX + 3] === 0) continue;
    if (found.push(seat) > MOST_FOUND) return [];
  }
  return found;
}

/** Those that fit: in the free part of the canvas, in front of every rack, none over another, at most so many. */
export function placed(
  labels: readonly Label[],
  plan: Plan,
  eye: { readonly x: number; readonly y: number; readonly z: number },
  project: (x: number, y: number, z: number) => Projected | null,
  free: { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number },
  most = MOST_LABELS,
): { label: Label; x: number; y: number; away: Away }[] {
  const kept: { label: Label; x: number; y: number; width: number; away: Away }[] = [];
  for (const label of labels) {
    if (kept.length >= most) break;
    const point = project(...label.at);
    if (!point) continue;
    const width = label.text.length * PER_LETTER + PADDING;
    const isFree = (x: number, y: number): boolean =>
      x >= free.left && x + width <= free.right && y >= free.top && y + HEIGHT <= free.bottom &&
      !kept.some((one) => x < one.x + one.width + 4 && one.x < x + width + 4 && Math.abs(one.y - y) < HEIGHT + 2);
    const near = { x: point.x + 12, y: point.y - HEIGHT / 2 };
    // What is chosen or found always has its name: beside its place, else further away, with a line that leads there.
    const place = isFree(near.x, near.y) ? near : label.isSelected && !label.isNamed ? freePlace(point, width, isFree) : null;
    if (!place || (!label.isSelected && isHidden(label.at, plan, eye))) continue;
    kept.push({ label, ...place, width, away: { x: place.x - point.x, y: place.y - point.y } });
  }
  return kept.map(({ label, x, y, away }) => ({ label, x, y, away }));
}

/** The nearest free place for a label of a width, by rings of growing size; null: there is none. */
function freePlace(point: Projected, width: number, isFree: (x: number, y: number) => boolean): { x: number; y: number } | null {
  for (let ring = 1; ring <= RINGS; ring++) {
    for (const [right, down] of [[1, 0], [1, -1], [1, 1], [0, -1], [0, 1], [-1, 0], [-1, -1], [-1, 1]] as const) {
      const x = point.x + (right < 0 ? -width - 12 : 12) + right * ring * (HEIGHT + 4);
      const y = point.y - HEIGHT / 2 + down * ring * (HEIGHT + 4);
      if (isFree(x, y)) return { x, y };
    }
  }
  return null;
}

/** Whether a rack stands between the eye and a point (beyond the one the point is on). */
function isHidden([x, y, z]: readonly [number, number, number], plan: Plan, eye: { x: number; y: number; z: number }): boolean {
  const ray = { x: eye.x, y: eye.y, z: eye.z, dx: x - eye.x, dy: y - eye.y, dz: z - eye.z };
  return plan.racks.some((rack) => distanceTo(ray, rack.x, rack.base, rack.z, 1.4, rack.height, 1.4) < 0.985);
}

/** The labels' elements, kept and moved rather than made again. */
export class Labels {
  private readonly elements = new Map<string, HTMLElement>();

  constructor(private readonly overlay: HTMLElement) {}

  show(labels: readonly { label: Label; x: number; y: number; away: Away }[]): void {
    const gone = new Set(this.elements.keys());
    for (const { label, x, y, away } of labels) {
      gone.delete(label.key);
      let element = this.elements.get(label.key);
      if (!element) {
        element = document.createElement('div');
        element.append(document.createElement('i'), document.createElement('span'));
        this.elements.set(label.key, element);
        this.overlay.append(element);
      }
      const name = `scene-label ${STATES[label.state] ?? 'ok'}${label.isSelected ? ' chosen' : ''}`;
      if (element.dataset.name !== name) [element.className, element.dataset.name] = [name, name];
      const text = element.lastElementChild as HTMLElement;
      if (text.textContent !== label.text) text.textContent = label.text;
      element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
      // The leader goes from the middle of the label's left or right edge to the point.
      const isLeft = away.x < 0;
      const [across, down] = [isLeft ? -away.x - element.offsetWidth : -away.x, -away.y - HEIGHT / 2];
      element.style.setProperty('--leader', `${Math.hypot(across, down).toFixed(1)}px`);
      element.style.setProperty('--turn', `${Math.atan2(down, across).toFixed(3)}rad`);
      element.classList.toggle('left', isLeft);
    }
    for (const key of gone) {
      this.elements.get(key)?.remove();
      this.elements.delete(key);
    }
  }
}
