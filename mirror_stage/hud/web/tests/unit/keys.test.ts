import { describe, expect, test } from 'vitest';
import { en } from '../../src/i18n/en';
import { keyNames, SHORTCUTS, shortcutsOf, type KeyPress, type Situation } from '../../src/ui/keys';

const CALM: Situation = { isTyping: false, isOnControl: false, isOnStage: false, singleKeys: true };

function actions(press: Partial<KeyPress>, situation: Partial<Situation> = {}): string[] {
  const whole = { key: '', code: '', shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, isComposing: false, ...press };
  return shortcutsOf(whole, { ...CALM, ...situation }).map((one) => one.action);
}

test.each([
  [{ key: 't', code: 'KeyT' }, ['table']],
  [{ key: 'T', code: 'KeyT' }, ['table']], // Caps Lock
  [{ key: '/', code: 'Slash' }, ['search']],
  [{ key: '?', code: 'Slash', shiftKey: true }, ['help']],
  [{ key: '/', code: 'Digit7', shiftKey: true }, ['search']], // a German board
  [{ key: 'n', code: 'KeyN' }, ['nextProblem']],
  [{ key: 'N', code: 'KeyN', shiftKey: true }, ['previousProblem']],
  [{ key: '3', code: 'Digit3' }, ['colourBy']],
  [{ key: 'q', code: 'KeyQ' }, []],
])('%j means %j', (press, expected) => {
  expect(actions(press)).toEqual(expected);
});

describe('with a Korean IME', () => {
  test.each([
    [{ key: 'ㅅ', code: 'KeyT' }, ['table']],
    [{ key: 'Process', code: 'KeyT' }, ['table']],
    [{ key: 'ㅜ', code: 'KeyN', shiftKey: true }, ['previousProblem']],
  ])('%j means %j, by the place of the key', (press, expected) => {
    expect(actions(press)).toEqual(expected);
  });

  test('a key that composes is the IME’s', () => {
    expect(actions({ key: 'ㅅ', code: 'KeyT', isComposing: true })).toEqual([]);
  });
});

test('the keys of the browser and the system are left alone', () => {
  for (const held of ['ctrlKey', 'altKey', 'metaKey']) expect(actions({ key: 'c', code: 'KeyC', [held]: true })).toEqual([]);
});

test('who types, types; Escape still leads back', () => {
  expect(actions({ key: 't', code: 'KeyT' }, { isTyping: true })).toEqual([]);
  expect(actions({ key: 'Escape', code: 'Escape' }, { isTyping: true })).toEqual(['back']);
});

test('Enter and Space belong to the button that has the focus', () => {
  expect(actions({ key: 'Enter', code: 'Enter' })).toEqual(['open']);
  expect(actions({ key: 'Enter', code: 'Enter' }, { isOnControl: true })).toEqual([]);
  expect(actions({ key: ' ', code: 'Space' }, { isOnControl: true })).toEqual([]);
});

test('keys of the mirror world need its focus', () => {
  expect(actions({ key: 'ArrowLeft', code: 'ArrowLeft' })).toEqual([]);
  expect(actions({ key: 'ArrowLeft', code: 'ArrowLeft' }, { isOnStage: true })).toEqual(['orbit']);
  expect(actions({ key: 'ArrowLeft', code: 'ArrowLeft', shiftKey: true }, { isOnStage: true })).toEqual(['pan']);
});

test('single keys can be turned off', () => {
  expect(actions({ key: 't', code: 'KeyT' }, { singleKeys: false })).toEqual([]);
  expect(actions({ key: 'Escape', code: 'Escape' }, { singleKeys: false })).toEqual(['back']);
});

test('every action of the help has a key, and no key means two things in one place', () => {
  expect(new Set(SHORTCUTS.map((one) => one.action))).toEqual(new Set(Object.keys(en.keys.actions)));
  const taken = SHORTCUTS.map((one) => `${one.where} ${one.key} ${one.shift ?? false}`);
  expect(new Set(taken).size).toBe(taken.length);
});

test.each([
  ['table', ['T']],
  ['help', ['?']],
  ['previousProblem', ['Shift', 'N']],
  ['pan', ['Shift', '↑', '↓', '←', '→']],
  ['zoom', ['+', '−']],
] as const)('the help writes %s as %j', (action, names) => {
  expect(keyNames(action)).toEqual(names);
});
