/** What must stand nowhere in the sources. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = new URL('../../src', import.meta.url).pathname;
const sources = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));

test.each([
  ['markup from text', /\{@html/, 'text of agents is only ever text'],
  ['innerHTML', /\.(inner|outer)HTML|insertAdjacentHTML|document\.write/, 'text of agents is only ever text'],
  ['a style attribute', /<[a-z][^>]*\sstyle="/i, 'the content security policy drops it; use style:name={value}'],
  ['an address of another machine', /https?:\/\/(?!www\.w3\.org\/|\$|127\.0\.0\.1|localhost)[a-z]/i, 'the HUD works without the internet'],
  ['eval', /\beval\(|new Function\(/, 'the content security policy forbids it'],
])('no %s', (_what, pattern, why) => {
  expect(sources.length).toBeGreaterThan(30);
  for (const path of sources) expect(readFileSync(path, 'utf8'), `${path}: ${why}`).not.toMatch(pattern);
});

test('every colour of a component is a token or a shade of one', () => {
  for (const path of sources.filter((one) => one.endsWith('.svelte'))) {
    const style = readFileSync(path, 'utf8').split('<style>')[1] ?? '';
    const states = style.match(/#(2fa4ff|ffc04d|ff4a2b|e4e0f7|667082)/gi) ?? [];
    expect(states, `${path}: use var(--ok) and its like`).toEqual([]);
  }
});
