/** Draws the flat plan on a canvas, sharp on any display. What is drawn is said by its arguments alone. */

import { LOAD_STOPS, OFFLINE, OK, STALE, STATES, TROUBLES, urgencyOf } from '../../store/status';
import { SHAPES } from '../shapes';
import type { Box, Cell, Tiling } from './tiling';

/** The colours and the font of the page, as its style sheet has them now. */
export interface Look {
  readonly states: readonly string[];
  readonly loads: readonly string[];
  readonly ink: string;
  readonly inkSoft: string;
  readonly inkFaint: string;
  readonly panel: string;
  readonly raised: string;
  readonly line: string;
  readonly accent: string;
  readonly font: string;
}

export function lookOf(token: (name: string) => string, font: string): Look {
  return {
    states: STATES.map(token), loads: LOAD_STOPS.map((_, at) => token(`load-${at}`)), ink: token('ink'), inkSoft: token('ink-soft'),
    inkFaint: token('ink-faint'), panel: token('panel'), raised: token('raised'), line: token('line'), accent: token('accent'), font,
  };
}

export interface Shown {
  readonly tiling: Tiling;
  readonly states: ArrayLike<number>;
  /** 0 to 1 for the colour, NaN unknown; null: the colour is that of the state */
  readonly shade: ((seat: number) => number) | null;
  /** Whether the upper end of the colours is a bad value */
  readonly isAlarming: boolean;
  /** 0 to 1 for the size, NaN unknown; null: all the same */
  readonly size: ((seat: number) => number) | null;
  readonly name: (seat: number) => string;
  readonly figure: (seat: number) => string;
  readonly mask: Uint8Array | null;
  /** What stands before a name, or in a cell without one: how it differs from another moment; null: nothing is compared */
  readonly sign: ((seat: number) => string) | null;
  readonly selected: ReadonlySet<number>;
  /** What others are silent because of */
  readonly causes: ReadonlySet<number>;
  readonly hovered: number;
  /** The place of the cell that the keys are on; -1: they are elsewhere */
  readonly cursor: number;
  readonly nameless: string;
}

const [HEAD, ROOM_HEAD] = [17, 26]; // of a block, of a room: their middle is that of the line
const DIM = 0.16;
/** How strong the colour of a state is: what calls for nobody stays behind what does. */
const STRENGTH = STATES.map((_, state) => (state === OK ? 0.32 : state === STALE ? 0.5 : 1));
const paths = new Map<string, Path2D>();

/** Draw all of it. `pen` has its unit at one CSS pixel. */
export function paint(pen: CanvasRenderingContext2D, width: number, height: number, look: Look, shown: Shown): void {
  pen.clearRect(0, 0, width, height);
  pen.textBaseline = 'middle';
  for (const section of shown.tiling.sections) {
    if (section.name !== null) {
      round(pen, section, 8);
      pen.fillStyle = look.panel;
      pen.fill();
      pen.strokeStyle = look.line;
      pen.lineWidth = 1;
      pen.stroke();
      head(pen, look, shown, { ...section, x: section.x + 6, width: section.width - 12 }, section.blocks.flatMap(({ seats }) => seats), 13, ROOM_HEAD);
    }
    for (const block of section.blocks) head(pen, look, shown, block, block.seats, 11, HEAD);
  }
  shown.tiling.cells.forEach((cell) => host(pen, look, shown, cell));
  pen.globalAlpha = 1;
  for (const cell of shown.tiling.cells) {
    if (shown.causes.has(cell.seat)) ring(pen, grown(cell, 2), look.states[OFFLINE] as string, 2);
    if (shown.selected.has(cell.seat)) ring(pen, cell, look.accent, 2);
    else if (cell.seat === shown.hovered) ring(pen, cell, look.ink, 1);
  }
  const at = shown.tiling.cells[shown.cursor];
  if (at) ring(pen, grown(at, 2), look.ink, 2);
}

/** The name of a room or a block, and how many of its hosts are in which trouble; the name gives way to the counts. */
function head(pen: CanvasRenderingContext2D, look: Look, { states, nameless }: Shown, block: Box & { readonly name: string | null }, seats: readonly number[], size: number, height: number): void {
  const counts = TROUBLES.map((state) => ({ state, count: seats.filter((seat) => states[seat] === state).length })).filter(({ count }) => count > 0);
  const middle = Math.round(block.y + height / 2);
  let right = block.x + block.width - 4;
  pen.font = `600 11px ${look.font}`;
  for (const { state, count } of [...counts].reverse()) {
    const text = String(count);
    const wide = pen.measureText(text).width + 13;
    if (right - wide < block.x + 4) break;
    pen.fillStyle = look.states[state] as string;
    pen.fillText(text, right - wide + 12, middle);
    shape(pen, state, right - wide, middle - 5, 10);
    right -= wide + 4;
  }
  pen.font = `${counts.length > 0 || size > 11 ? 600 : 400} ${size}px ${look.font}`;
  pen.fillStyle = counts.length > 0 || size > 11 ? look.ink : look.inkSoft;
  pen.fillText(fitted(pen, block.name ?? nameless, right - block.x - 4), block.x + 4, middle);
}

function host(pen: CanvasRenderingContext2D, look: Look, shown: Shown, cell: Cell): void {
  const { seat } = cell;
  const state = shown.states[seat] ?? OK;
  const isTrouble = urgencyOf(state) > 0;
  const { height } = cell;
  const hasName = cell.width >= 72;
  const part = shown.shade?.(seat);
  const [fill, strength] = part === undefined ? [look.states[state] as string, (STRENGTH[state] as number) * (hasName && !isTrouble ? 0.6 : 1)] : Number.isNaN(part) ? [look.raised, 1] : [rampAt(look.loads, shown.isAlarming ? part : part * 0.6), 1];
  const isDim = shown.mask !== null && shown.mask[seat] !== 1;
  const alpha = isDim ? DIM : 1;
  const body = shown.size === null || hasName ? cell : scaled(cell, shown.size(seat));
  const radius = height >= 18 ? 3 : height >= 11 ? 2 : 0;
  if (body !== cell) {
    pen.globalAlpha = alpha;
    round(pen, cell, radius);
    pen.fillStyle = look.raised;
    pen.fill();
  }
  round(pen, body, radius);
  pen.globalAlpha = alpha * strength;
  pen.fillStyle = fill;
  pen.fill();
  pen.globalAlpha = alpha;
  if (hasName) written(pen, look, shown, cell, part === undefined ? (isTrouble ? inkOn(mixed(look.panel, fill, strength)) : look.ink) : Number.isNaN(part) ? look.ink : inkOn(fill));
  else if (shown.sign !== null && height >= 9) signed(pen, cell, inkOn(mixed(look.panel, fill, strength)), look.font, shown.sign(seat));
  else if (isTrouble && height >= 9 && part === undefined) {
    pen.fillStyle = inkOn(mixed(look.panel, fill, strength));
    const side = Math.min(12, height - 3);
    shape(pen, state, cell.x + (cell.width - side) / 2, cell.y + (height - side) / 2, side);
  }
  // Where the colour says something else, a frame says that something is wrong.
  if (isTrouble && (part !== undefined || body !== cell)) ring(pen, grown(cell, -1), look.states[state] as string, 2);
}

/** A cell that is wide enough says who it is and how much; a bar along its foot is its size. */
function written(pen: CanvasRenderingContext2D, look: Look, shown: Shown, cell: Cell, ink: string): void {
  const { seat, x, y, width, height } = cell;
  const state = shown.states[seat] ?? OK;
  const isTall = height >= 34;
  const line = isTall ? y + height / 2 - 7 : y + height / 2;
  let left = x + 6;
  pen.fillStyle = ink;
  if (urgencyOf(state) > 0) {
    shape(pen, state, left, line - 5, 10);
    left += 14;
  }
  pen.font = `500 12px ${look.font}`;
  pen.fillText(fitted(pen, `${shown.sign?.(seat) ?? ''} ${shown.name(seat)}`.trim(), x + width - 6 - left), left, line);
  if (isTall) {
    pen.font = `400 11px ${look.font}`;
    pen.fillText(fitted(pen, shown.figure(seat), width - 12), x + 6, line + 15);
  }
  const part = shown.size?.(seat) ?? NaN;
  if (part > 0) pen.fillRect(x + 3, y + height - 4, (width - 6) * part, 2);
}

/** A sign in the middle of a cell that is too small for a name. */
function signed(pen: CanvasRenderingContext2D, { x, y, width, height }: Cell, ink: string, font: string, sign: string): void {
  pen.fillStyle = ink;
  pen.font = `700 ${Math.min(14, height)}px ${font}`;
  pen.textAlign = 'center';
  pen.fillText(sign, x + width / 2, y + height / 2);
  pen.textAlign = 'start';
}

function shape(pen: CanvasRenderingContext2D, state: number, x: number, y: number, side: number): void {
  const path = SHAPES[state] as string;
  const drawn = paths.get(path) ?? new Path2D(path);
  paths.set(path, drawn);
  pen.save();
  pen.translate(x, y);
  pen.scale(side / 12, side / 12);
  pen.fill(drawn);
  pen.restore();
}

function round(pen: CanvasRenderingContext2D, { x, y, width, height }: Box, radius: number): void {
  pen.beginPath();
  pen.roundRect(x, y, width, height, radius);
}

function ring(pen: CanvasRenderingContext2D, box: Box, colour: string, width: number): void {
  round(pen, grown(box, width / 2), 3);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.stroke();
}

function grown({ x, y, width, height }: Box, by: number): Box {
  return { x: x - by, y: y - by, width: Math.max(1, width + 2 * by), height: Math.max(1, height + 2 * by) };
}

/** Its area is the part; what is nothing or unknown is still a point. */
function scaled({ x, y, width, height }: Box, part: number): Box {
  const side = Math.max(0.2, Number.isNaN(part) ? 0 : Math.sqrt(part));
  return { x: x + (width * (1 - side)) / 2, y: y + (height * (1 - side)) / 2, width: width * side, height: height * side };
}

/** A text that fits, cut with an ellipsis. */
function fitted(pen: CanvasRenderingContext2D, text: string, width: number): string {
  if (pen.measureText(text).width <= width) return text;
  let [fits, long] = [0, text.length];
  while (long - fits > 1) {
    const middle = (fits + long) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= width) fits = middle;
    else long = middle;
  }
  return fits > 0 ? `${text.slice(0, fits)}…` : '';
}

/** '#rrggbb' of the ramp of loads. */
export function rampAt(loads: readonly string[], part: number): string {
  const above = LOAD_STOPS.findIndex((stop) => part <= stop);
  const [below, next] = [loads.at(above - 1) as string, loads.at(above) as string];
  if (above <= 0) return next;
  const from = LOAD_STOPS[above - 1] as number;
  return mixed(below, next, (part - from) / ((LOAD_STOPS[above] as number) - from));
}

const parts = (hex: string): number[] => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));

function mixed(one: string, other: string, share: number): string {
  const [from, to] = [parts(one), parts(other)];
  return `#${from.map((value, at) => Math.round(value + ((to[at] as number) - value) * share).toString(16).padStart(2, '0')).join('')}`;
}

/** Black or white, whichever reads better on a colour. */
export function inkOn(hex: string): string {
  const [red = 0, green = 0, blue = 0] = parts(hex).map((value) => (value / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? '#05070b' : '#ffffff';
}
