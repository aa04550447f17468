/** What this browser remembers: language, density, sizes. Read once, written on change; a broken store is an empty one. */

export type Language = 'en' | 'ko';

export interface Settings {
  language: Language | 'auto';
  theme: 'system' | 'dark' | 'light';
  density: 'comfortable' | 'compact';
  motion: 'auto' | 'reduced';
  bitRates: 'bits' | 'bytes';
  singleKeys: boolean;
  sound: boolean;
  startView: 'auto' | 'scene' | 'plan' | 'table';
  columns: string[];
  leftOpen: boolean;
  bottomOpen: boolean;
  leftWidth: number;
  rightWidth: number;
  bottomHeight: number;
}

export const DEFAULTS: Settings = {
  language: 'auto',
  theme: 'system',
  density: 'comfortable',
  motion: 'auto',
  bitRates: 'bits',
  singleKeys: true,
  sound: false,
  startView: 'auto',
  columns: ['state', 'ip', 'rack', 'cpuLoad', 'memoryUsedPercent', 'fullestDiskPercent', 'cpuTemperature', 'network', 'utilization', 'lastSeen'],
  leftOpen: true,
  bottomOpen: false,
  leftWidth: 260,
  rightWidth: 340,
  bottomHeight: 280,
};

const KEY = 'mirror-stage-ego';

/** The stored settings over the defaults: only known names, only values of the right kind. */
export function merged(stored: unknown): Settings {
  const settings = { ...DEFAULTS };
  if (typeof stored !== 'object' || stored === null) return settings;
  for (const name of Object.keys(DEFAULTS) as (keyof Settings)[]) {
    const value = (stored as Record<string, unknown>)[name];
    const isOfTheKind = Array.isArray(DEFAULTS[name])
      ? Array.isArray(value) && value.every((one) => typeof one === 'string')
      : typeof value === typeof DEFAULTS[name];
    if (isOfTheKind) Object.assign(settings, { [name]: value });
  }
  return settings;
}

function stored(): unknown {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? 'null') as unknown;
  } catch {
    return null; // blocked or damaged: the defaults serve
  }
}

export const settings = $state(merged(stored()));

/** Write the settings whenever one changes. Call it once, inside a component. */
export function keepSettings(): void {
  $effect(() => {
    const text = JSON.stringify(settings);
    try {
      localStorage.setItem(KEY, text);
    } catch {
      // Storage is blocked: the settings last as long as the page.
    }
  });
}

/** Whether the person wants little motion: said here or in the system. */
const reducedQuery = globalThis.matchMedia?.('(prefers-reduced-motion: reduce)');
let isReducedBySystem = $state(reducedQuery?.matches ?? false);
reducedQuery?.addEventListener('change', (event) => (isReducedBySystem = event.matches));

export function isMotionReduced(): boolean {
  return settings.motion === 'reduced' || isReducedBySystem;
}
