import { expect, test } from 'vitest';
import { pauseBefore } from '../../src/net/pause';
import { BEAT_MS, BEATS, Rings } from '../../src/store/rings';
import { DEFAULTS, merged } from '../../src/store/settings.svelte';
import { Twin } from '../../src/store/twin';
import { delta, host, snapshot } from './frames';

test('the browser remembers the last 15 minutes of a host, with gaps where it was silent', () => {
  const twin = new Twin();
  const rings = new Rings(twin);
  twin.take(snapshot([host('a', 1)]));
  for (let beat = 0; beat < BEATS + 20; beat++) {
    const isSilent = beat === BEATS + 10;
    twin.apply(delta([[1, isSilent ? 1 : 0, { cpuLoad: beat % 100 }]], { previous: beat + 1, revision: beat + 2 }));
    rings.beat(beat * BEAT_MS);
  }
  const [times, values] = rings.series(0, 'cpuLoad');
  expect(times).toHaveLength(BEATS);
  expect(times[0]).toBe((20 * BEAT_MS) / 1000);
  expect(values.at(-1)).toBe((BEATS + 19) % 100);
  expect(values.at(-10)).toBeNull();
});

test('a beat is not noted twice, and who takes a seat does not inherit its past', () => {
  const twin = new Twin();
  const rings = new Rings(twin);
  twin.take(snapshot([host('a', 1)]));
  rings.beat(0);
  rings.beat(BEAT_MS / 2);
  expect(rings.series(0, 'cpuLoad')[0]).toHaveLength(1);
  twin.apply(delta([], { removed: [1], upserted: { hosts: [host('b', 2)], links: [] } }));
  expect(rings.series(0, 'cpuLoad')[1]).toEqual([null]);
});

test('settings of another version or another hand are taken as far as they fit', () => {
  expect(merged(null)).toEqual(DEFAULTS);
  expect(merged('x')).toEqual(DEFAULTS);
  expect(merged({ density: 'compact', leftWidth: 'wide', columns: ['ip', 3], gone: 1 })).toEqual({ ...DEFAULTS, density: 'compact' });
});

test('pauses grow, end growing, and differ', () => {
  expect(pauseBefore(0, 1)).toBe(1_000);
  expect(pauseBefore(3, 1)).toBe(8_000);
  expect(pauseBefore(50, 1)).toBe(15_000);
  expect(pauseBefore(3, 0)).toBe(4_000);
});
