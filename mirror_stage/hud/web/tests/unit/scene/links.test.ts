import { describe, expect, test } from 'vitest';
import { arrange } from '../../../src/scene/layout';
import { BOX, type Plan } from '../../../src/scene/plan';
import { extrasOf, linkKindOf, routesOf } from '../../../src/scene/routes';
import { residents } from './fleets';

const planOf = (count: number, options = {}): Plan => arrange(residents(count, options), null, count + 2);

describe('links', () => {
  const none = (): number => -1;

  test.each([[5, 'host'], [60, 'host'], [1_000, 'rack'], [5_000, 'aisle']] as const)('of %i hosts are one per %s', (count, kind) => {
    expect(linkKindOf(planOf(count, { perRack: count < 100 ? 20 : 40 }))).toBe(kind);
  });

  test.each([60, 1_000, 5_000])('of %i hosts: every rack flows to the centre exactly once', (count) => {
    const plan = planOf(count, { rooms: count > 1_000 ? 5 : 1 });
    const { hub, crystal } = plan;
    const ends = routesOf(plan, none).filter(({ start, racks }) => racks.length < plan.racks.length &&
      Math.hypot(start[0] - hub.x, start[2] - hub.z) < 1e-6 && (start[1] < 1 || start[1] > crystal.y - crystal.radius * 2));
    expect(ends.flatMap(({ racks }) => racks).sort((one, other) => one - other)).toEqual(plan.racks.map((_, index) => index));
  });

  test('of many racks lie on the floor, and only busy and selected hosts have arcs', () => {
    const plan = planOf(5_000, { rooms: 5 });
    const utilization = new Float32Array(5_002).fill(0.1);
    for (let seat = 100; seat < 150; seat++) utilization[seat] = 0.5 + seat / 1_000;
    const flat = routesOf(plan, none).filter(({ control }) => control[1] < 0.1);
    expect(flat.length).toBeGreaterThan(plan.racks.length);
    const arcs = extrasOf(plan, [7], utilization, 5_002).filter(({ seat, control }) => seat >= 0 && control[1] > 5).map(({ seat }) => seat);
    expect(arcs).toContain(7);
    expect(arcs).toHaveLength(21);
    expect(arcs.filter((seat) => seat !== 7).every((seat) => seat >= 130)).toBe(true);
  });

  test('hang a host from its uplink', () => {
    const plan = planOf(5);
    const [ribbon] = routesOf(plan, (seat) => (seat === 2 ? 3 : -1)).filter(({ seat }) => seat === 2);
    expect(ribbon!.start[0]).toBeCloseTo(plan.boxes[3 * BOX]!);
  });
});
