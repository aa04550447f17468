/** The tools of the bottom dock: opened and folded from anywhere. */

import { settings } from '../store/settings.svelte';
import { view } from '../store/view.svelte';
import { isOffered, SCREENS } from './screens';

/** The screens beside which the bottom dock stands. */
export function hasBottomDock(screen: string): boolean {
  return screen === '' || screen === 'plan' || screen === 'table';
}

/** The screens that the strip of time stands under by itself. */
export function hasStrip(screen: string): boolean {
  return screen === 'alerts' || screen === 'host' || screen === 'history' || screen === 'compare';
}

/** Open a tool in the dock, on whatever screen the dock stands. */
export function openTool(id: string): void {
  const screen = SCREENS.find((one) => one.id === id);
  if (!screen || !isOffered(screen)) return;
  settings.bottomOpen = true;
  if (view.more.tool !== id) view.keep('tool', id);
}

/** Open a tool, or fold the dock if it is open with that tool. False if it is not offered. */
export function toggleTool(id: string): boolean {
  const screen = SCREENS.find((one) => one.id === id);
  if (screen && !isOffered(screen)) return false;
  const isHere = hasBottomDock(view.screen) || (id === 'replay' && hasStrip(view.screen));
  const isOpen = settings.bottomOpen && view.more.tool === id && isHere;
  settings.bottomOpen = !isOpen;
  if (isOpen) return true;
  view.keep('tool', id);
  if (!isHere) view.go('');
  return true;
}
