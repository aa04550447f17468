/** Who acts on a shortcut: the one component that said it would. */

import { settings } from '../store/settings.svelte';
import { shortcutOf, type Action, type Place } from './keys';

type Run = (event: KeyboardEvent) => unknown;

const runs = new Map<Action, Run>();

/**
 * Act on some actions until the returned function is called: `$effect(() => onAll({ table: … }))`. A `run` that answers
 * false has left the key to the browser. Throws if another component acts on one of them: a key has one meaning.
 */
export function onAll(actions: Partial<Record<Action, Run>>): () => void {
  const entries = Object.entries(actions) as [Action, Run][];
  for (const [action] of entries) if (runs.has(action)) throw new Error(`two components act on the shortcut "${action}"`);
  for (const [action, run] of entries) runs.set(action, run);
  return () => entries.forEach(([action]) => runs.delete(action));
}

/** Give a key press to whoever acts on it. */
export function press(event: KeyboardEvent): void {
  if (event.defaultPrevented) return;
  const target = event.target instanceof Element ? event.target : null;
  const shortcut = shortcutOf(event, {
    isTyping: target?.closest('input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]') != null,
    isOnControl: target?.closest('button, a, summary, [role=separator], input, [role=slider]') != null,
    focus: (target?.closest<HTMLElement>('[data-keys]')?.dataset.keys as Place | undefined) ?? null,
    singleKeys: settings.singleKeys,
  });
  // Behind a dialog the page rests: of its keys only the one that closes the dialog works.
  if (shortcut && shortcut.action !== 'back' && document.querySelector('dialog[open]')) return;
  const run = shortcut && runs.get(shortcut.action);
  if (run && run(event) !== false) event.preventDefault();
}

/** Do what an action's key does. */
export function act(action: Action): void {
  runs.get(action)?.(new KeyboardEvent('keydown'));
}

const open: (() => void)[] = [];

/** Something was opened that Escape closes, before anything that was open already. The returned function: it is closed. */
export function opened(close: () => void): () => void {
  open.push(close);
  return () => void open.splice(open.lastIndexOf(close), 1);
}

/** Close what was opened last; false: nothing is open. */
export function closeLast(): boolean {
  open.at(-1)?.();
  return open.length > 0;
}
