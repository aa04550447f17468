import { expect, test } from 'vitest';
import { held } from '../../src/ui/held.svelte';

const [a, b, c] = [{ id: 'a', at: 1 }, { id: 'b', at: 1 }, { id: 'c', at: 1 }];
const keyOf = ({ id }: { id: string }): string => id;

test('rows that are held keep their places and take their new values; what is new comes last, what is gone stays', () => {
  expect(held([a, b], [c, { ...b, at: 2 }], keyOf)).toEqual([a, { ...b, at: 2 }, c]);
});

test('nothing held before is as it comes', () => {
  expect(held([], [c, a], keyOf)).toEqual([c, a]);
});
