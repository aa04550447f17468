/** Who acts on a shortcut: the last component that said it would. */

import { settings } from '../store/settings.svelte';
import { shortcutsOf, type Action } from './keys';

type Run = (event: KeyboardEvent) => void | boolean;

const runs = new Map<Action, Run[]>();

/** Act on `action` until the returned function is called. `run` answers false to leave the key to others. */
export function on(action: Action, run: Run): () => void {
  const stack = runs.get(action) ?? [];
  runs.set(action, [...stack, run]);
  return () => runs.set(action, (runs.get(action) ?? []).filter((one) => one !== run));
}

/** Several at once, for an `$effect`: `$effect(() => onAll({ table: … }))`. */
export function onAll(actions: Partial<Record<Action, Run>>): () => void {
  const ends = Object.entries(actions).map(([action, run]) => on(action as Action, run));
  return () => ends.forEach((end) => end());
}

/** Give a key press to whoever acts on it. */
export function press(event: KeyboardEvent): void {
  if (event.defaultPrevented) return;
  const target = event.target instanceof Element ? event.target : null;
  const situation = {
    isTyping: target?.closest('input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]') != null,
    isOnControl: target?.closest('button, a, summary, [role=separator], input, [role=slider]') != null,
    isOnStage: target?.closest('[data-stage]') != null,
    singleKeys: settings.singleKeys,
  };
  for (const shortcut of shortcutsOf(event, situation)) {
    for (const run of [...(runs.get(shortcut.action) ?? [])].reverse()) {
      if (run(event) !== false) {
        event.preventDefault();
        return;
      }
    }
  }
}
