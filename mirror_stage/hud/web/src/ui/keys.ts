/**
 * The keyboard map: every key, where it works, what it does. Help, menu and handlers all read it; who does something
 * about an action registers in `actions.ts`. An action's words are `keys.actions` of the dictionaries.
 *
 * Not in here: the keys of a text field, a list of suggestions, tabs or a slider, which are the platform's.
 */

import type { Dictionary } from '../i18n/en';

export type Action = keyof Dictionary['keys']['actions'];
export type KeyGroup = keyof Dictionary['keys']['groups'];

/**
 * Where a key works: everywhere; with the time travel open; while the scene, or the charts of the history, have the
 * focus.
 */
export type Place = 'everywhere' | 'timeTravel' | 'scene' | 'charts';

/** The places whose keys work at the same time: none of these may give a key two meanings. */
export const TOGETHER = {
  charts: ['everywhere', 'charts'],
  others: ['everywhere', 'timeTravel', 'scene'],
} as const satisfies Record<string, readonly Place[]>;

export interface Shortcut {
  readonly action: Action;
  /** `event.key` in lower case */
  readonly key: string;
  /** `event.code` of the same key on a Latin layout: what counts while a Korean IME turns keys into jamo */
  readonly code: string;
  readonly shift?: boolean;
  /** The heading of the help that it stands under */
  readonly group: KeyGroup;
  readonly place: Place;
  /** Works even where single keys are off, and while typing */
  readonly always?: boolean;
}

const row = (group: KeyGroup, place: Place) =>
  (action: Action, key: string, code: string, more: Partial<Shortcut> = {}): Shortcut => ({ action, key, code, group, place, ...more });
const everywhere = row('everywhere', 'everywhere');
const hosts = row('hosts', 'everywhere');
const scene = row('scene', 'scene');
const time = row('time', 'timeTravel');
const charts = row('charts', 'charts');

const WAYS = ['Up', 'Down', 'Left', 'Right'] as const;
const arrow = (way: (typeof WAYS)[number]): [string, string] => [`arrow${way.toLowerCase()}`, `Arrow${way}`];

export const SHORTCUTS: readonly Shortcut[] = [
  everywhere('search', '/', 'Slash'),
  everywhere('back', 'escape', 'Escape', { always: true }),
  everywhere('world', '1', 'Digit1'),
  everywhere('plan', '2', 'Digit2'),
  everywhere('table', 't', 'KeyT'),
  everywhere('alerts', 'a', 'KeyA'),
  everywhere('acknowledge', 'y', 'KeyY'),
  everywhere('silence', 's', 'KeyS'),
  everywhere('console', 'c', 'KeyC'),
  everywhere('history', 'h', 'KeyH'),
  everywhere('replay', 'r', 'KeyR'),
  everywhere('wall', 'w', 'KeyW'),
  everywhere('views', 'v', 'KeyV'),
  everywhere('menu', 'm', 'KeyM'),
  everywhere('language', 'k', 'KeyK'),
  everywhere('help', '?', 'Slash', { shift: true }),
  hosts('nextProblem', 'n', 'KeyN'),
  hosts('previousProblem', 'n', 'KeyN', { shift: true }),
  hosts('nextHost', ']', 'BracketRight'),
  hosts('previousHost', '[', 'BracketLeft'),
  hosts('open', 'enter', 'Enter'),
  hosts('group', 'g', 'KeyG'),
  hosts('colour', 'o', 'KeyO'),
  scene('fly', 'f', 'KeyF'),
  scene('fit', '0', 'Digit0'),
  scene('boxSelect', 'b', 'KeyB'),
  ...WAYS.flatMap((way) => [scene('orbit', ...arrow(way)), scene('pan', ...arrow(way), { shift: true })]),
  scene('zoom', '+', 'Equal'),
  scene('zoom', '=', 'Equal'),
  scene('zoom', '-', 'Minus'),
  time('play', ' ', 'Space'),
  time('stepBack', ',', 'Comma'),
  time('stepOn', '.', 'Period'),
  time('start', 'home', 'Home'),
  time('end', 'end', 'End'),
  row('time', 'everywhere')('live', 'l', 'KeyL'),
  row('time', 'everywhere')('compare', 'd', 'KeyD'),
  charts('cursor', ...arrow('Left')),
  charts('cursor', ...arrow('Right')),
  charts('cursorFar', ...arrow('Left'), { shift: true }),
  charts('cursorFar', ...arrow('Right'), { shift: true }),
  charts('cursorFirst', 'home', 'Home'),
  charts('cursorLast', 'end', 'End'),
  charts('zoomTime', '+', 'Equal'),
  charts('zoomTime', '=', 'Equal'),
  charts('zoomTime', '-', 'Minus'),
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
  /** The scene or the charts, if one of them has the focus */
  focus: Place | null;
  singleKeys: boolean;
}

const LATIN = /^[\x20-\x7e]$|^[A-Z][A-Za-z]{2,}\d*$/;

/** The row that a key press means. */
export function shortcutOf(press: KeyPress, situation: Situation): Shortcut | undefined {
  if (press.isComposing || press.ctrlKey || press.altKey || press.metaKey) return undefined;
  // A jamo, a letter of another script or 'Process' says nothing: then the key's place on the board does.
  const isLatin = LATIN.test(press.key) && press.key !== 'Process' && press.key !== 'Unidentified';
  const isLetterOrNamed = /^[a-z ]$|^.{2,}$/.test(press.key.toLowerCase());
  const places: readonly Place[] = situation.focus === 'charts' ? TOGETHER.charts : TOGETHER.others;
  return SHORTCUTS.find((shortcut) => {
    const { place } = shortcut;
    const needsFocus = place === 'scene' || place === 'charts';
    if (!places.includes(place) || (needsFocus && place !== situation.focus)) return false;
    if (situation.isTyping && !shortcut.always) return false;
    if (!situation.singleKeys && !shortcut.always && !needsFocus) return false;
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
