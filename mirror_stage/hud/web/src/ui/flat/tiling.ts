/**
 * Where each room, rack and host lies on the flat plan: as large as the sheet allows, all of it without scrolling if the
 * smallest cell does. Pure; lengths are CSS pixels.
 */

import type { Section } from './blocks';

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface TiledBlock extends Box {
  readonly name: string | null;
  readonly seats: readonly number[];
  readonly columns: number;
}

export interface TiledSection extends Box {
  readonly name: string | null;
  readonly blocks: readonly TiledBlock[];
}

/** A place of a host; the gap to the next one is not part of it. */
export interface Cell extends Box {
  readonly seat: number;
  readonly block: TiledBlock;
}

export interface Tiling {
  readonly sections: readonly TiledSection[];
  /** In reading order */
  readonly cells: readonly Cell[];
  /** The size of each cell */
  readonly cell: { readonly width: number; readonly height: number };
  /** Of all of it; more than that of the sheet if it has to be scrolled */
  readonly height: number;
}

/** The sizes of a cell, from the largest. From 20 high on a name stands in it, from 34 on a number below the name. */
const SIZES = [
  [168, 52], [148, 48], [132, 44], [116, 40], [104, 36], [96, 30], [88, 26], [80, 22], [72, 20],
  [26, 26], [24, 24], [22, 22], [20, 20], [18, 18], [17, 17], [16, 16], [15, 15], [14, 14], [13, 13], [12, 12], [11, 11], [10, 10], [9, 9], [8, 8], [7, 7], [6, 6],
] as const;
/** How many cells stand above each other in a block. */
const DEPTHS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48] as const;
const [MARGIN, ROOM_GAP, ROOM_PAD, ROOM_HEAD, BLOCK_GAP, BLOCK_PAD, BLOCK_HEAD] = [6, 6, 6, 24, 4, 4, 17];
const LEAST_BLOCK = 52; // wide enough for the name of a rack and a count

const gapOf = (height: number): number => (height < 12 ? 1 : height < 27 ? 2 : 4);

/** The plan of `sections` on a sheet of this size. */
export function tiled(sections: readonly Section[], width: number, height: number): Tiling {
  let last: Tiling | null = null;
  for (const [cellWidth, cellHeight] of SIZES) {
    let best: Tiling | null = null;
    for (const depth of DEPTHS) {
      const one = laidOut(sections, width, cellWidth, cellHeight, depth);
      if (best === null || one.height < best.height) best = one;
    }
    last = best;
    if (best && best.height <= height) break;
  }
  return withCells(last as Tiling);
}

/** Things side by side, a new line where one does not fit; returns how far it reaches. */
function flow<Thing extends { width: number; height: number }>(things: readonly Thing[], width: number, gap: number, put: (thing: Thing, x: number, y: number) => void): { width: number; height: number } {
  let [x, y, line, widest] = [0, 0, 0, 0];
  for (const thing of things) {
    if (x > 0 && x + thing.width > width) [x, y, line] = [0, y + line + gap, 0];
    put(thing, x, y);
    x += thing.width + gap;
    widest = Math.max(widest, x - gap);
    line = Math.max(line, thing.height);
  }
  return { width: widest, height: y + line };
}

function laidOut(sections: readonly Section[], width: number, cellWidth: number, cellHeight: number, depth: number): Tiling {
  const gap = gapOf(cellHeight);
  const room = width - 2 * MARGIN - 2 * ROOM_PAD;
  const columnsIn = (inside: number): number => Math.max(1, Math.floor((inside - 2 * BLOCK_PAD + gap) / (cellWidth + gap)));
  const [least, most] = [columnsIn(LEAST_BLOCK), columnsIn(room)];
  const drafts = sections.map((section) => {
    const blocks = section.blocks.map(({ name, seats }) => {
      const columns = Math.min(most, seats.length, Math.max(least, Math.ceil(seats.length / depth)));
      const rows = Math.ceil(seats.length / columns);
      const inside = columns * (cellWidth + gap) - gap;
      return { name, seats, columns, width: Math.max(LEAST_BLOCK, inside + 2 * BLOCK_PAD), height: BLOCK_HEAD + rows * (cellHeight + gap) - gap + BLOCK_PAD };
    });
    const head = section.name === null ? ROOM_PAD : ROOM_HEAD;
    const inner: TiledBlock[] = [];
    const reach = flow(blocks, room, BLOCK_GAP, (block, x, y) => inner.push({ ...block, x: x + ROOM_PAD, y: y + head }));
    return { name: section.name, inner, width: reach.width + 2 * ROOM_PAD, height: head + reach.height + ROOM_PAD };
  });
  const placed: TiledSection[] = [];
  const reach = flow(drafts, width - 2 * MARGIN, ROOM_GAP, (draft, x, y) => {
    const [left, top] = [x + MARGIN, y + MARGIN];
    const blocks = draft.inner.map((block) => ({ ...block, x: block.x + left, y: block.y + top }));
    placed.push({ name: draft.name, x: left, y: top, width: draft.width, height: draft.height, blocks });
  });
  return { sections: placed, cells: [], cell: { width: cellWidth, height: cellHeight }, height: reach.height + 2 * MARGIN };
}

function withCells(tiling: Tiling): Tiling {
  const { width, height } = tiling.cell;
  const gap = gapOf(height);
  const cells: Cell[] = [];
  for (const { blocks } of tiling.sections) {
    for (const block of blocks) {
      block.seats.forEach((seat, index) => {
        const [row, column] = [Math.floor(index / block.columns), index % block.columns];
        cells.push({ seat, block, x: block.x + BLOCK_PAD + column * (width + gap), y: block.y + BLOCK_HEAD + row * (height + gap), width, height });
      });
    }
  }
  return { ...tiling, cells };
}

/** The cell at a point, or within `reach` of it the nearest that `isUrgent`, else the nearest; -1: none. */
export function cellAt({ cells }: Tiling, x: number, y: number, reach: number, isUrgent: (seat: number) => boolean): number {
  let [best, least] = [-1, Infinity];
  cells.forEach((cell, index) => {
    const dx = Math.max(cell.x - x, 0, x - cell.x - cell.width);
    const dy = Math.max(cell.y - y, 0, y - cell.y - cell.height);
    const away = Math.hypot(dx, dy);
    if (away > reach) return;
    const weight = away - (reach > 0 && isUrgent(cell.seat) ? reach : 0);
    if (weight < least) [best, least] = [index, weight];
  });
  return best;
}

const WAYS: Record<string, readonly [x: number, y: number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Where a key leads from a cell; the same cell where there is nothing that way. */
export function stepped({ cells }: Tiling, from: number, key: string): number {
  if (key === 'Home') return 0;
  if (key === 'End') return cells.length - 1;
  const way = WAYS[key];
  const start = cells[from];
  if (!way || !start) return from;
  let [best, least] = [from, Infinity];
  cells.forEach((cell, index) => {
    const [dx, dy] = [cell.x - start.x, cell.y - start.y];
    const on = dx * way[0] + dy * way[1];
    if (on <= 0) return;
    const aside = Math.abs(way[0] === 0 ? dx : dy);
    const weight = on + aside * 3;
    if (weight < least) [best, least] = [index, weight];
  });
  return best;
}
