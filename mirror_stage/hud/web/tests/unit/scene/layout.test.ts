import { describe, expect, test } from 'vitest';
import { arrange } from '../../../src/scene/layout';
import { BOX, type Plan, type Resident } from '../../../src/scene/plan';
import { randomOf, resident, residents } from './fleets';

const capacityOf = (all: readonly Resident[]): number => Math.max(...all.map((one) => one.seat)) + 1;
const plan = (all: readonly Resident[], before: Plan | null = null): Plan => arrange(all, before, capacityOf(all));

/** Boxes by hostname, so that plans of different fleets can be compared. */
function places(all: readonly Resident[], { boxes }: Plan): Map<string, number[]> {
  return new Map(all.map(({ hostname, seat }) => [hostname, [...boxes.subarray(seat * BOX, seat * BOX + BOX)]]));
}

function isApart(one: number[], other: number[]): boolean {
  const [x, y, z, width, height, depth] = one as [number, number, number, number, number, number];
  const [x2, y2, z2, width2, height2, depth2] = other as [number, number, number, number, number, number];
  const slack = 1e-4;
  return (
    Math.abs(x - x2) >= (width + width2) / 2 - slack || Math.abs(z - z2) >= (depth + depth2) / 2 - slack ||
    y + height <= y2 + slack || y2 + height2 <= y + slack
  );
}

describe('a plan', () => {
  test('does not depend on the order of arrival', () => {
    const all = residents(300, { perRack: 20, rooms: 3 });
    const random = randomOf(7);
    const shuffled = [...all].sort(() => random() - 0.5);
    expect(places(all, plan(shuffled))).toEqual(places(all, plan(all)));
  });

  test.each([1, 5, 8, 9, 60, 700, 5_000])('of %i hosts gives each a box of its own, and none is in another', (count) => {
    const all = residents(count, { rooms: count > 500 ? 4 : 1 });
    const boxes = [...places(all, plan(all)).values()];
    expect(boxes.every((box) => box[3]! > 0)).toBe(true);
    const byColumn = new Map<string, number[][]>();
    for (const box of boxes) {
      const key = `${Math.round(box[0]! / 4)} ${Math.round(box[2]! / 4)}`;
      byColumn.set(key, [...(byColumn.get(key) ?? []), box]);
    }
    const collisions = [...byColumn.values()].flatMap((near) =>
      near.flatMap((one, index) => near.slice(index + 1).filter((other) => !isApart(one, other)).map((other) => [one, other])));
    expect(collisions).toEqual([]);
  });

  test('stacks a rack by slot, from the floor up', () => {
    const all = residents(40, { perRack: 10 });
    const { racks, boxes } = plan(all);
    for (const rack of racks) {
      const heights = rack.seats.map((seat) => boxes[seat * BOX + 1]!);
      expect(heights).toEqual([...heights].sort((one, other) => one - other));
    }
  });

  test('orders racks as people count: R2 before R10', () => {
    const all = residents(240, { perRack: 20 });
    expect(plan(all).racks.map((rack) => rack.name)).toEqual(Array.from({ length: 12 }, (_, index) => `R${index + 1}`));
  });

  test('is about as wide as a screen, in one room or in many', () => {
    for (const rooms of [1, 2, 5]) {
      const { bounds } = plan(residents(4_000, { rooms }));
      const aspect = (bounds.maxX - bounds.minX) / (bounds.maxZ - bounds.minZ);
      expect(aspect).toBeGreaterThan(1);
      expect(aspect).toBeLessThan(3);
    }
  });

  test('splits a rack that is too tall for one, under the same name', () => {
    const { racks } = plan(residents(100, { perRack: 100 }));
    expect(racks.map((rack) => rack.name)).toEqual(['R1', 'R1', 'R1']);
    expect(Math.max(...racks.map((rack) => rack.seats.length))).toBeLessThanOrEqual(48);
  });

  test('puts hosts without a rack into a room without a name', () => {
    const all = [...residents(20), ...Array.from({ length: 20 }, (_, index) => resident(100 + index, { rack: null, room: null }))];
    const { rooms, racks, rackOf } = plan(all);
    const room = rooms[racks[rackOf[100]!]!.room]!;
    expect(room).toMatchObject({ name: null, isUnracked: true });
    expect(rooms.at(-1)).toBe(room);
  });

  test('of few hosts is a desk: devices on the floor around the hub, one unit of height', () => {
    const all = residents(5);
    const { kind, boxes, racks } = plan(all);
    expect(kind).toBe('desk');
    expect(new Set(racks.flatMap((rack) => rack.seats).map((seat) => boxes[seat * BOX + 1])).size).toBe(1);
  });

  test('of a desk that has filled up since still has room for each', () => {
    let before = plan(residents(3));
    for (let count = 4; count <= 12; count++) before = plan(residents(count), before);
    expect(before.kind).toBe('desk');
    const boxes = [...places(residents(12), before).values()];
    boxes.forEach((one, index) => boxes.slice(index + 1).forEach((other) => expect(isApart(one, other)).toBe(true)));
  });

  test('of nobody is an empty stage', () => {
    expect(plan([resident(0, { role: 'hub' })]).racks).toEqual([]);
    expect(arrange([], null, 1).bounds.maxX).toBeGreaterThan(0);
  });
});

describe('nobody jumps', () => {
  test('when hosts and racks come and go, all that stay are where they were', () => {
    let kept = 0;
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const random = randomOf(seed);
      let all = residents(20 + Math.floor(random() * 300), { perRack: 1 + Math.floor(random() * 30), rooms: 1 + Math.floor(random() * 4) });
      let before = plan(all);
      let next = 10_000;
      for (let round = 0; round < 12; round++) {
        const stay = all.filter((one) => one.role !== 'host' || random() > 0.08);
        const come = Array.from({ length: Math.floor(random() * 30) }, () =>
          resident(next, { seat: next++ - 9_000, rack: random() < 0.2 ? null : `R${Math.floor(random() * 40)}`, room: random() < 0.2 ? null : `Hall ${Math.floor(random() * 6)}` }));
        const now = [...stay, ...come];
        const after = plan(now, before);
        if (!after.isAnew) {
          kept++;
          const [was, is] = [places(stay, before), places(stay, after)];
          for (const one of stay) if (one.role === 'host') expect(is.get(one.hostname), one.hostname).toEqual(was.get(one.hostname));
        }
        [all, before] = [now, after];
      }
    }
    expect(kept).toBeGreaterThan(50); // of 72 rounds: the others have outgrown their halls
  });

  test('a newcomer takes the unit that became free, else the next one', () => {
    const all = residents(12, { perRack: 12 });
    const before = plan(all);
    const gone = all[5]!;
    const newcomer = resident(900, { seat: 900, rack: 'R1', room: 'Hall 1' });
    const now = [...all.filter((one) => one !== gone), newcomer];
    expect(places(now, plan(now, before)).get(newcomer.hostname)).toEqual(places(all, before).get(gone.hostname));
  });

  test('but a fleet that came host by host is not a tower', () => {
    let before = plan(residents(1));
    for (let count = 2; count <= 200; count++) before = plan(residents(count), before);
    const { bounds } = before;
    expect(bounds.maxY).toBeLessThan(9);
    expect((bounds.maxX - bounds.minX) / (bounds.maxZ - bounds.minZ)).toBeGreaterThan(0.45);
  });

  test('and newcomers never stand in somebody else', () => {
    const all = residents(100, { perRack: 25, rooms: 2 });
    let before = plan(all);
    const now = [...all];
    for (let rack = 0; rack < 12; rack++) {
      now.push(resident(500 + rack, { rack: `new ${rack}`, room: rack % 2 ? 'Hall 1' : `Annex ${rack}` }));
      before = plan(now, before);
    }
    const spots = before.racks.map(({ x, z }) => [x, z] as const);
    spots.forEach(([x, z], index) => spots.slice(index + 1).forEach(([x2, z2]) => expect(Math.hypot(x - x2, z - z2)).toBeGreaterThan(1.5)));
  });
});

describe('places of samples', () => {
  const placed = [0, 1, 2].map((unit) => resident(50 + unit, { rack: 'own', place: { x: -12, y: unit * 0.4, z: 7 } }));

  test('win over the layout', () => {
    const all = [...residents(30), ...placed];
    const where = places(all, plan(all));
    for (const { hostname, place } of placed) {
      const [x, , z] = where.get(hostname)!;
      expect([x, z]).toEqual([place!.x, place!.z]);
    }
    const heights = placed.map(({ hostname }) => where.get(hostname)![1]!);
    expect(heights[1]! - heights[0]!).toBeCloseTo(0.4);
  });

  test('are kept free of the hall', () => {
    const all = [...residents(300, { perRack: 20 }), ...placed];
    const { racks } = plan(all);
    const own = racks.filter((rack) => rack.name === 'own');
    expect(own).toHaveLength(1);
    for (const rack of racks) if (rack !== own[0]) expect(rack.x).toBeGreaterThan(-12 + 1.5);
  });
});
