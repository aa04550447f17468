import { describe, expect, test } from 'vitest';
import { residentsOf } from '../../../src/scene/grouping';
import { labelsOf, placed } from '../../../src/scene/labels';
import { arrange } from '../../../src/scene/layout';
import { capOf } from '../../../src/scene/racks';
import { CRITICAL, OFFLINE, OK, STALE, WARNING } from '../../../src/store/status';
import { twinOf } from './fleets';

test('a cap is neutral unless somebody must act, and counts the worst', () => {
  const states = [OK, WARNING, CRITICAL, CRITICAL, OFFLINE, STALE];
  expect(capOf([0, 1, 5], states)).toEqual({ number: 3, state: -1, isMarked: false });
  expect(capOf([0, 1, 4], states)).toEqual({ number: 1, state: OFFLINE, isMarked: true });
  expect(capOf([2, 3, 4], states)).toEqual({ number: 2, state: CRITICAL, isMarked: true });
});

describe('labels', () => {
  const twin = twinOf(400);
  const plan = arrange(residentsOf(twin, 'rack'), null, twin.end);
  for (let seat = 0; seat < 400; seat += 3) twin.columns.state[seat] = seat % 2 ? CRITICAL : WARNING;
  const seats = { selected: [5], hovered: -1, mask: null };
  const eye = { x: 0, y: 3, z: 60 };
  const flat = (x: number, y: number): { x: number; y: number; scale: number } => ({ x: 400 + x * 30, y: 300 - y * 60, scale: 40 });
  const free = { left: 0, top: 0, right: 800, bottom: 600 };

  test('name the selection first, then the worst', () => {
    const labels = labelsOf(twin, plan, seats, () => 40);
    expect(labels[0]).toMatchObject({ isSelected: true, text: 'host-5' });
    const firstWarning = labels.findIndex((label) => label.state === WARNING);
    expect(labels.slice(1, firstWarning).every((label) => label.state === CRITICAL)).toBe(true);
  });

  test('name racks instead where hosts are too small, and nobody whose face can be read', () => {
    expect(labelsOf(twin, plan, seats, () => 2).slice(1).every((label) => label.key.startsWith('r'))).toBe(true);
    expect(labelsOf(twin, plan, seats, () => 1_000)).toHaveLength(1);
  });

  test('are at most 24, inside, and never over each other', () => {
    const kept = placed(labelsOf(twin, plan, seats, () => 40), plan, eye, flat, free);
    expect(kept.length).toBeGreaterThan(3);
    expect(kept.length).toBeLessThanOrEqual(24);
    kept.forEach((one, index) => {
      expect(one.x).toBeGreaterThanOrEqual(0);
      kept.slice(index + 1).forEach((other) => expect(Math.abs(one.y - other.y) >= 22 || Math.abs(one.x - other.x) > 60).toBe(true));
    });
  });

  test('leave out who is filtered out', () => {
    expect(labelsOf(twin, plan, { ...seats, mask: new Uint8Array(400) }, () => 40)).toHaveLength(1);
  });
});
