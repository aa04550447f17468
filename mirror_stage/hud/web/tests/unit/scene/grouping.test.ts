import { describe, expect, test } from 'vitest';
import { isMoved, residentsOf } from '../../../src/scene/grouping';
import { Twin } from '../../../src/store/twin';
import { host, snapshot } from '../frames';

describe('grouping', () => {
  const twin = new Twin();
  twin.take(snapshot([
    host('a', 1, { rack: 'R1', room: 'north', tier: 'web', platform: 'Linux-x86_64' }),
    host('b', 2, { rack: null, room: 'north', tier: null, platform: '' }),
    host('c', 3, { rack: 'R2', room: null, positionSource: 'sample', position: { x: 1, y: 2, z: 3 } }),
  ]));

  test.each([
    ['rack', [['north', 'R1'], [null, null], ['', 'R2']]],
    ['room', [['north', null], ['north', null], [null, null]]],
    ['tier', [['web', null], [null, null], [null, null]]],
    ['platform', [['Linux-x86_64', null], [null, null], ['Linux-x86_64', null]]],
  ] as const)('by %s', (grouping, homes) => {
    expect(residentsOf(twin, grouping).map(({ room, rack }) => [room, rack])).toEqual(homes);
  });

  test('heeds places of samples only where the real racks are shown', () => {
    expect(residentsOf(twin, 'rack')[2]!.place).toEqual({ x: 1, y: 2, z: 3 });
    expect(residentsOf(twin, 'tier')[2]!.place).toBeNull();
  });

  test('sees a move, and no move in a new severity', () => {
    const [before] = twin.entries;
    expect(isMoved(before, { ...before!, rack: 'R9' })).toBe(true);
    expect(isMoved(before, { ...before!, uplink: 'b' })).toBe(true);
    expect(isMoved(before, undefined)).toBe(true);
    expect(isMoved(before, { ...before! })).toBe(false);
  });
});
