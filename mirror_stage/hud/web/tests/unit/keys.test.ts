import { describe, expect, test } from 'vitest';
import { en } from '../../src/i18n/en';
import { closeLast, onAll, opened } from '../../src/ui/actions';
import { keyNames, SHORTCUTS, shortcutOf, TOGETHER, type KeyPress, type Situation } from '../../src/ui/keys';

const CALM: Situation = { isTyping: false, isOnControl: false, focus: null, singleKeys: true };

function actions(press: Partial<KeyPress>, situation: Partial<Situation> = {}): string | undefined {
  const whole = { key: '', code: '', shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, isComposing: false, ...press };
  return shortcutOf(whole, { ...CALM, ...situation })?.action;
}

test.each([
  [{ key: 't', code: 'KeyT' }, 'table'],
  [{ key: 'T', code: 'KeyT' }, 'table'], // Caps Lock
  [{ key: '/', code: 'Slash' }, 'search'],
  [{ key: '?', code: 'Slash', shiftKey: true }, 'help'],
  [{ key: '/', code: 'Digit7', shiftKey: true }, 'search'], // a German board
  [{ key: 'n', code: 'KeyN' }, 'nextProblem'],
  [{ key: 'N', code: 'KeyN', shiftKey: true }, 'previousProblem'],
  [{ key: '2', code: 'Digit2' }, 'plan'],
  [{ key: 'q', code: 'KeyQ' }, undefined],
])('%j means %j', (press, expected) => {
  expect(actions(press)).toBe(expected);
});

describe('with a Korean IME', () => {
  test.each([
    [{ key: 'ㅅ', code: 'KeyT' }, 'table'],
    [{ key: 'Process', code: 'KeyT' }, 'table'],
    [{ key: 'ㅜ', code: 'KeyN', shiftKey: true }, 'previousProblem'],
  ])('%j means %j, by the place of the key', (press, expected) => {
    expect(actions(press)).toBe(expected);
  });

  test('a key that composes is the IME’s', () => {
    expect(actions({ key: 'ㅅ', code: 'KeyT', isComposing: true })).toBeUndefined();
  });
});

test('the keys of the browser and the system are left alone', () => {
  for (const held of ['ctrlKey', 'altKey', 'metaKey']) expect(actions({ key: 'c', code: 'KeyC', [held]: true })).toBeUndefined();
});

test('who types, types; Escape still leads back', () => {
  expect(actions({ key: 't', code: 'KeyT' }, { isTyping: true })).toBeUndefined();
  expect(actions({ key: 'Escape', code: 'Escape' }, { isTyping: true })).toBe('back');
});

test('Enter and Space belong to the button that has the focus', () => {
  expect(actions({ key: 'Enter', code: 'Enter' })).toBe('open');
  expect(actions({ key: 'Enter', code: 'Enter' }, { isOnControl: true })).toBeUndefined();
  expect(actions({ key: ' ', code: 'Space' }, { isOnControl: true })).toBeUndefined();
});

test('keys of the scene and of the charts need its focus', () => {
  const left = { key: 'ArrowLeft', code: 'ArrowLeft' };
  expect(actions(left)).toBeUndefined();
  expect(actions(left, { focus: 'scene' })).toBe('orbit');
  expect(actions({ ...left, shiftKey: true }, { focus: 'scene' })).toBe('pan');
  expect(actions(left, { focus: 'charts' })).toBe('cursor');
  expect(actions({ key: 'Home', code: 'Home' }, { focus: 'charts' })).toBe('cursorFirst');
  expect(actions({ key: 'Home', code: 'Home' }, { focus: 'scene' })).toBe('start');
});

test('single keys can be turned off', () => {
  expect(actions({ key: 't', code: 'KeyT' }, { singleKeys: false })).toBeUndefined();
  expect(actions({ key: 'Escape', code: 'Escape' }, { singleKeys: false })).toBe('back');
});

test('every action of the help has a key', () => {
  expect(new Set(SHORTCUTS.map((one) => one.action))).toEqual(new Set(Object.keys(en.keys.actions)));
});

test.each(Object.values(TOGETHER))('no key means two things where the keys of %s, %s, %s work together', (...places) => {
  const taken = SHORTCUTS.filter((one) => (places as readonly string[]).includes(one.place)).map((one) => `${one.shift ? 'Shift ' : ''}${one.key}`);
  expect(taken.filter((one, at) => taken.indexOf(one) !== at)).toEqual([]);
});

test('the keys of every place are in some place that is tested so', () => {
  const tested: string[] = Object.values(TOGETHER).flat();
  expect(SHORTCUTS.filter((one) => !tested.includes(one.place))).toEqual([]);
});

describe('an action', () => {
  test('is acted on by one component alone', () => {
    const end = onAll({ fly: () => undefined });
    expect(() => onAll({ fit: () => undefined, fly: () => undefined })).toThrow(/two components.*fly/);
    end();
    onAll({ fit: () => undefined, fly: () => undefined })();
  });

  test('that closes takes what was opened last', () => {
    const closed: string[] = [];
    const first = opened(() => closed.push('first'));
    const second = opened(() => closed.push('second'));
    expect(closeLast()).toBe(true);
    second();
    expect(closeLast()).toBe(true);
    first();
    expect(closeLast()).toBe(false);
    expect(closed).toEqual(['second', 'first']);
  });
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
