/** The screens, one row each: where each is, what it is called, how it is drawn, and where it may stand. */

import type { Component } from 'svelte';
import Diff from '@lucide/svelte/icons/diff';
import Bell from '@lucide/svelte/icons/bell';
import ChartLine from '@lucide/svelte/icons/chart-line';
import Box from '@lucide/svelte/icons/box';
import HistoryIcon from '@lucide/svelte/icons/history';
import LayoutGrid from '@lucide/svelte/icons/layout-grid';
import Rows3 from '@lucide/svelte/icons/rows-3';
import SquareTerminal from '@lucide/svelte/icons/square-terminal';
import Server from '@lucide/svelte/icons/server';
import ServerCog from '@lucide/svelte/icons/server-cog';
import KeyRound from '@lucide/svelte/icons/key-round';
import type { Dictionary } from '../i18n/en';
import { session, type Permission } from '../store/session.svelte';
import { world } from '../store/world.svelte';
import type { Action } from './keys';
import Table from './screens/Table.svelte';

/** 'page': it has the middle to itself. 'dock': it stands at the side or below, and is narrow or low. */
export interface ScreenProps {
  placement: 'page' | 'dock';
}

export interface Screen {
  /** Its part of the address, `#/<id>`; the mirror world has none */
  readonly id: string;
  readonly name: keyof Dictionary['screens'];
  readonly icon: Component;
  /** The shortcut that goes there */
  readonly action?: Action;
  /** Only when EGO has this feature (of `/api/info`) */
  readonly feature?: string;
  /** Only for people whom EGO allows this */
  readonly needs?: Permission;
  readonly inNavigation: boolean;
  /** Only in the menu, not in the bar */
  readonly inMenuOnly?: boolean;
  readonly inBottomDock: boolean;
  /** It has the whole address as a page: `#/<id>` */
  readonly isPage: boolean;
  readonly load: () => Promise<{ default: Component<ScreenProps> }>;
}

const usual = { inNavigation: true, inBottomDock: false, isPage: true } as const;

/** The mirror world itself is `Stage.svelte`, which the shell keeps alive under every screen. */
export const SCREENS: readonly Screen[] = [
  { ...usual, id: 'plan', name: 'plan', icon: LayoutGrid, action: 'plan', load: () => import('./screens/Flat.svelte') },
  { ...usual, id: 'table', name: 'table', icon: Rows3, action: 'table', load: async () => ({ default: Table }) },
  { ...usual, id: 'alerts', name: 'alerts', icon: Bell, action: 'alerts', load: () => import('./screens/Alerting.svelte') },
  { ...usual, id: 'console', name: 'console', icon: SquareTerminal, action: 'console', feature: 'commands', needs: 'operate', inBottomDock: true, load: () => import('./screens/Console.svelte') },
  { ...usual, id: 'history', name: 'history', icon: ChartLine, action: 'history', inBottomDock: true, load: () => import('./screens/History.svelte') },
  { ...usual, id: 'replay', name: 'replay', icon: HistoryIcon, action: 'replay', feature: 'replay', inNavigation: false, inBottomDock: true, isPage: false, load: () => import('./screens/Replay.svelte') },
  { ...usual, id: 'compare', name: 'compare', icon: Diff, feature: 'replay', inMenuOnly: true, load: () => import('./screens/Compare.svelte') },
  { ...usual, id: 'host', name: 'host', icon: Server, inNavigation: false, load: () => import('./screens/HostPage.svelte') },
  { ...usual, id: 'enrolment', name: 'enrolment', icon: ServerCog, needs: 'manage', inMenuOnly: true, load: () => import('./screens/Enrolment.svelte') },
  { ...usual, id: 'access', name: 'access', icon: KeyRound, needs: 'own-sessions', inMenuOnly: true, load: () => import('./screens/Access.svelte') },
];

export const SCENE_ICON = Box;

/** Whether EGO has what a screen needs, and allows it to this person. */
export function isOffered({ feature, needs }: Screen): boolean {
  return (!feature || world.has(feature)) && (!needs || session.may(needs));
}

export function screenOf(id: string): Screen | undefined {
  return SCREENS.find((screen) => screen.id === id && screen.isPage);
}
