/** The keyboard map, one row each, and which row a key press is. Who does something about it registers in `actions.ts`. */

import type { Dictionary } from '../i18n/en';

export type Action = keyof Dictionary['keys']['actions'];
export type KeyGroup = keyof Dictionary['keys']['groups'];

export interface Shortcut {
  readonly action: Action;
  /** `event.key` in lower case */
  readonly key: string;
  /** `event.code` of the same key on a Latin layout: what counts while a Korean IME turns keys into jamo */
  readonly code: string;
  readonly shift?: boolean;
  readonly group: KeyGroup;
  /** 'stage': only while the mirror world has the focus */
  readonly where: 'anywhere' | 'stage';
  /** Works even where single keys are off, and while typing */
  readonly always?: boolean;
}

const row = (group: KeyGroup, where: Shortcut['where']) =>
  (action: Action, key: string, code: string, more: Partial<Shortcut> = {}): Shortcut => ({ action, key, code, group, where, ...more });
const everywhere = row('everywhere', 'anywhere');
const hosts = row('hosts', 'anywhere');
const scene = row('scene', 'stage');
const time = row('time', 'anywhere');

export const SHORTCUTS: readonly Shortcut[] = [
  everywhere('search', '/', 'Slash'),
  everywhere('back', 'escape', 'Escape', { always: true }),
  everywhere('table', 't', 'KeyT'),
  everywhere('alerts', 'a', 'KeyA'),
  everywhere('console', 'c', 'KeyC'),
  everywhere('history', 'h', 'KeyH'),
  everywhere('replay', 'r', 'KeyR'),
  everywhere('wall', 'w', 'KeyW'),
  everywhere('menu', 'm', 'KeyM'),
  everywhere('language', 'k', 'KeyK'),
  everywhere('help', '?', 'Slash', { shift: true }),
  hosts('nextProblem', 'n', 'KeyN'),
  hosts('previousProblem', 'n', 'KeyN', { shift: true }),
  hosts('nextHost', ']', 'BracketRight'),
  hosts('previousHost', '[', 'BracketLeft'),
  hosts('open', 'enter', 'Enter'),
  hosts('group', 'g', 'KeyG'),
  ...['1', '2', '3', '4', '5'].map((digit) => hosts('colourBy', digit, `Digit${digit}`)),
  scene('fly', 'f', 'KeyF'),
  scene('fit', '0', 'Digit0'),
  scene('boxSelect', 'b', 'KeyB'),
  ...['Up', 'Down', 'Left', 'Right'].flatMap((way) => [
    scene('orbit', `arrow${way.toLowerCase()}`, `Arrow${way}`),
    scene('pan', `arrow${way.toLowerCase()}`, `Arrow${way}`, { shift: true }),
  ]),
  scene('zoom', '+', 'Equal'),
  scene('zoom', '=', 'Equal'),
  scene('zoom', '-', 'Minus'),
  time('play', ' ', 'Space'),
  time('stepBack', ',', 'Comma'),
  time('stepOn', '.', 'Period'),
  time('start', 'home', 'Home'),
  time('end', 'end', 'End'),
  time('live', 'l', 'KeyL'),
];

export interface KeyPress {
  key: string;
  code: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  altKey: boolean;
  metaKey: boolean;
  isComposing: boolean;
}

export interface Situation {
  isTyping: boolean;
  /** A button, link or the like has the focus: Enter and Space are its own */
  isOnControl: boolean;
  isOnStage: boolean;
  singleKeys: boolean;
}

const LATIN = /^[\x20-\x7e]$|^[A-Z][A-Za-z]{2,}\d*$/;

/** The rows that a key press may mean, the best first. */
export function shortcutsOf(press: KeyPress, situation: Situation): Shortcut[] {
  if (press.isComposing || press.ctrlKey || press.altKey || press.metaKey) return [];
  // A jamo, a letter of another script or 'Process' says nothing: then the key's place on the board does.
  const isLatin = LATIN.test(press.key) && press.key !== 'Process' && press.key !== 'Unidentified';
  const isLetterOrNamed = /^[a-z ]$|^.{2,}$/.test(press.key.toLowerCase());
  return SHORTCUTS.filter((shortcut) => {
    if (situation.isTyping && !shortcut.always) return false;
    if (!situation.singleKeys && !shortcut.always) return false;
    if (shortcut.where === 'stage' && !situation.isOnStage) return false;
    if (situation.isOnControl && (shortcut.key === 'enter' || shortcut.key === ' ')) return false;
    if (!isLatin) return shortcut.code === press.code && (shortcut.shift ?? false) === press.shiftKey;
    // With Shift, punctuation is another character already, wherever the layout keeps it.
    const shiftFits = isLetterOrNamed ? (shortcut.shift ?? false) === press.shiftKey : true;
    return shortcut.key === press.key.toLowerCase() && shiftFits;
  });
}

const NAMES: Record<string, string> = {
  escape: 'Esc', enter: 'Enter', ' ': 'Space', home: 'Home', end: 'End', '-': '−',
  arrowup: '↑', arrowdown: '↓', arrowleft: '←', arrowright: '→',
};

/** How the keys of an action are written: T; Shift N; ↑ ↓ ← →. */
export function keyNames(action: Action): string[] {
  const rows = SHORTCUTS.filter((one) => one.action === action && one.key !== '=');
  const names = rows.map((one) => NAMES[one.key] ?? one.key.toUpperCase());
  return rows.some((one) => one.shift && one.key !== '?') ? ['Shift', ...names] : names;
}
