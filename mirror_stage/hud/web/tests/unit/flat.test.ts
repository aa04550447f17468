import { describe, expect, test } from 'vitest';
import { Twin } from '../../src/store/twin';
import { sectionsOf, type Section } from '../../src/ui/flat/blocks';
import { inkOn, rampAt } from '../../src/ui/flat/paint';
import { partOf, scaleOf } from '../../src/ui/flat/scale';
import { cellAt, stepped, tiled, type Cell } from '../../src/ui/flat/tiling';
import { delta, host, snapshot } from './frames';

const DESK = [1164, 818] as const; // what the alerts and the bars leave of 1,440 × 900

/** So many racks of 40 hosts, 25 to a room. */
function halls(racks: number): Section[] {
  const rooms = Math.ceil(racks / 25);
  return Array.from({ length: rooms }, (_, room) => ({
    name: `Hall ${room}`,
    blocks: Array.from({ length: Math.min(25, racks - room * 25) }, (__, rack) => ({ name: `${room}-${rack}`, seats: Array.from({ length: 40 }, (___, unit) => (room * 25 + rack) * 40 + unit) })),
  }));
}

const isApart = (one: Cell, other: Cell): boolean =>
  one.x + one.width <= other.x || other.x + other.width <= one.x || one.y + one.height <= other.y || other.y + other.height <= one.y;

describe('the tiles', () => {
  test('5,000 hosts are seen whole at 1,440 × 900', () => {
    const plan = tiled(halls(125), ...DESK);
    expect(plan.cells).toHaveLength(5_000);
    expect(plan.height).toBeLessThanOrEqual(DESK[1]);
    expect(plan.cell.height).toBeGreaterThanOrEqual(7);
  });

  test.each([1, 2, 7, 40, 125])('with %i racks each host has a place of its own inside its rack, on the sheet', (racks) => {
    const { cells } = tiled(halls(racks), ...DESK);
    expect(new Set(cells.map(({ seat }) => seat)).size).toBe(racks * 40);
    for (const { block, x, y, width, height } of cells) {
      expect(x).toBeGreaterThanOrEqual(block.x);
      expect(x + width).toBeLessThanOrEqual(block.x + block.width);
      expect(y + height).toBeLessThanOrEqual(block.y + block.height);
      expect(x + width).toBeLessThanOrEqual(DESK[0]);
    }
    const few = cells.slice(0, 200);
    few.forEach((one, place) => few.slice(place + 1).forEach((other) => expect(isApart(one, other)).toBe(true)));
  });

  test('few hosts have cells with names', () => {
    expect(tiled(halls(1), ...DESK).cell.width).toBeGreaterThan(100);
  });

  test('what does not fit a phone is scrolled, never cut', () => {
    const plan = tiled(halls(125), 380, 320);
    expect(plan.height).toBeGreaterThan(320);
    for (const { x, width } of plan.cells) expect(x + width).toBeLessThanOrEqual(380);
  });

  test('a finger beside a cell means the one in trouble', () => {
    const plan = tiled(halls(125), ...DESK);
    const [first, second] = plan.cells as [Cell, Cell];
    const between = (first.x + first.width + second.x) / 2;
    expect(plan.cells[cellAt(plan, between, first.y + 1, 12, (seat) => seat === second.seat)]).toBe(second);
    expect(cellAt(plan, -50, -50, 12, () => true)).toBe(-1);
  });

  test('arrows go from cell to cell, Home and End to the ends', () => {
    const plan = tiled(halls(3), ...DESK);
    const right = stepped(plan, 0, 'ArrowRight');
    expect(plan.cells[right]?.y).toBe(plan.cells[0]?.y);
    expect(stepped(plan, right, 'ArrowLeft')).toBe(0);
    expect(plan.cells[stepped(plan, 0, 'ArrowDown')]?.x).toBe(plan.cells[0]?.x);
    expect(stepped(plan, 0, 'ArrowUp')).toBe(0);
    expect([stepped(plan, 5, 'Home'), stepped(plan, 5, 'End')]).toEqual([0, 119]);
  });
});

describe('the blocks', () => {
  const twin = new Twin();
  twin.take(snapshot([
    host('core-switch', 0, { isSynthetic: true, rack: null }),
    host('b', 2, { rack: 'R10', room: 'Hall', tier: 'db' }), host('a', 1, { rack: 'R10', room: 'Hall', tier: 'web' }), host('c', 3, { rack: 'R9', room: 'Hall', uplink: 'sw-1' }),
    host('d', 4, { rack: null }),
  ]));
  const names = (sections: Section[]) => sections.map(({ name, blocks }) => [name, blocks.map((block) => [block.name, block.seats.map((seat) => twin.entries[seat]?.hostname)])]);

  test('racks stand in their rooms, by name as people count; in a rack the first known comes first', () => {
    expect(names(sectionsOf(twin, 'rack'))).toEqual([['Hall', [['R9', ['c']], ['R10', ['a', 'b']]]], [null, [[null, ['d']]]]]);
  });

  test('any other grouping makes a block of each value; what is unknown comes last', () => {
    expect(names(sectionsOf(twin, 'tier'))).toEqual([[null, [['db', ['b']], ['web', ['a']], [null, ['c', 'd']]]]]);
    expect(names(sectionsOf(twin, 'uplink'))).toEqual([[null, [['core-switch', ['b', 'a', 'd'].sort()], ['sw-1', ['c']]]]]);
  });
});

test('a unit with two ends has these for its colours, any other the most that there is', () => {
  const twin = new Twin();
  twin.take(snapshot([host('a', 1), host('b', 2)]));
  twin.apply(delta([[1, 0, { cpuLoad: 50, loadAverage: 2 }], [2, 0, { cpuLoad: null, loadAverage: 8 }]]));
  const [cpu, load] = [scaleOf('cpuLoad', twin.columns, twin.seats()), scaleOf('loadAverage', twin.columns, twin.seats())];
  expect([partOf(cpu, twin.columns, 0), partOf(cpu, twin.columns, 1), cpu.isFixed]).toEqual([0.5, NaN, true]);
  expect([partOf(load, twin.columns, 0), partOf(load, twin.columns, 1), load.high, load.isFixed]).toEqual([0.25, 1, 8, false]);
});

test('the ramp goes through its colours, and the ink on each reads', () => {
  const loads = ['#1d4f91', '#2f8fd8', '#7fd0ff', '#ffc04d', '#ff4a2b'];
  expect([0, 0.3, 1, 0.15].map((part) => rampAt(loads, part))).toEqual(['#1d4f91', '#2f8fd8', '#ff4a2b', '#266fb5']);
  expect([inkOn('#1d4f91'), inkOn('#7fd0ff')]).toEqual(['#ffffff', '#05070b']);
});
