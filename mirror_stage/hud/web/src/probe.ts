/** What tests ask in a real browser, behind `?probe=1`: only reads. */

import { world } from './store/world.svelte';

export interface StageProbe {
  stats(): { draws: number; drawCalls: number; triangles: number; applyMs: number; pickMs: number; frameMs: number };
  /** Where a host's front face is, CSS pixels of the page; null when it is not in sight */
  screen(hostname: string): { x: number; y: number } | null;
  probe(): { objectIds: number[]; geometries: number; textures: number };
  /** Lose the graphics and get them back, as a driver would */
  loseContext(): void;
  restoreContext(): void;
}

export interface Probe {
  stats(): { frames: number; hosts: number; revision: number };
  stage?: StageProbe;
}

declare global {
  interface Window {
    __ego?: Probe;
  }
}

let frames = 0;

/** Put the probe where tests look for it. */
export function install(): void {
  world.live.listen(() => frames++);
  window.__ego = {
    stats: () => ({ frames, hosts: world.live.size, revision: world.live.revision }),
  };
}
