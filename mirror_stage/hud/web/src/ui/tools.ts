/** The tools of the bottom dock: opened and folded from anywhere. */

import { settings } from '../store/settings.svelte';
import { view } from '../store/view.svelte';
import { world } from '../store/world.svelte';
import { SCREENS } from './screens';

/** The screens beside which the bottom dock stands. */
export function hasBottomDock(screen: string): boolean {
  return screen === '' || screen === 'table';
}

/** Open a tool, or fold the dock if it is open with that tool. False if EGO has not what it needs. */
export function toggleTool(id: string): boolean {
  const feature = SCREENS.find((screen) => screen.id === id)?.feature;
  if (feature && !world.has(feature)) return false;
  const isOpen = settings.bottomOpen && view.more.tool === id && hasBottomDock(view.screen);
  settings.bottomOpen = !isOpen;
  if (isOpen) return true;
  view.keep('tool', id);
  if (!hasBottomDock(view.screen)) view.go('');
  return true;
}
