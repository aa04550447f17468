import { describe, expect, test } from 'vitest';
import { arrange } from '../../../src/scene/layout';
import { BOX } from '../../../src/scene/plan';
import { distanceTo, pick, within } from '../../../src/scene/picking';
import { randomOf, residents } from './fleets';

describe('picking', () => {
  const { boxes } = arrange(residents(200), null, 202);

  test('finds each host by a ray to the middle of its front', () => {
    for (let seat = 2; seat < 202; seat++) {
      const [x, y, z, , height, depth] = boxes.subarray(seat * BOX, seat * BOX + BOX) as unknown as [number, number, number, number, number, number];
      const front = { x, y: y + height / 2, z: z + depth / 2 };
      expect(pick({ ...front, z: front.z + 0.5, dx: 0, dy: 0, dz: -1 }, boxes, 202)).toBe(seat);
    }
  });

  test('finds nobody in the sky or behind the eye', () => {
    expect(pick({ x: 0, y: 50, z: 0, dx: 0, dy: 1, dz: 0 }, boxes, 202)).toBe(-1);
    expect(distanceTo({ x: 0, y: 0.5, z: 5, dx: 0, dy: 0, dz: 1 }, 0, 0, 0, 1, 1, 1)).toBe(Infinity);
  });

  test('agrees with steps along the ray', () => {
    const random = randomOf(11);
    for (let round = 0; round < 200; round++) {
      const [dx, dy, dz] = [random() - 0.5, random() - 0.5, random() - 0.5];
      const ray = { x: random() * 6 - 3, y: random() * 6 - 3, z: random() * 6 - 3, dx, dy, dz };
      let stepped = Infinity;
      for (let along = 0; along < 30 && stepped === Infinity; along += 0.002) {
        const inside = Math.abs(ray.x + dx * along) <= 1 && Math.abs(ray.z + dz * along) <= 0.5 && ray.y + dy * along >= 0 && ray.y + dy * along <= 2;
        if (inside) stepped = along;
      }
      const exact = distanceTo(ray, 0, 0, 0, 2, 2, 1);
      if (stepped < Infinity) expect(exact).toBeCloseTo(stepped, 1);
    }
  });

  test('takes a box of the screen', () => {
    const flat = (x: number, y: number): { x: number; y: number } => ({ x, y });
    const seats = within({ left: -100, top: 0, right: 100, bottom: 1 }, boxes, 202, flat);
    expect(seats.length).toBeGreaterThan(0);
    for (const seat of seats) expect(boxes[seat * BOX + 1]! + boxes[seat * BOX + 4]! / 2).toBeLessThanOrEqual(1);
    expect(within({ left: -100, top: -100, right: 100, bottom: 100 }, boxes, 202, () => null)).toEqual([]);
  });
});
