/** What a screen on a wall needs that a desk does not: it stays awake, does not burn in, and takes a new HUD by itself. */

const SHIFT_MS = 300_000;
const SHIFTS = [[0, 0], [1, 0], [1, 1], [0, 1]] as const;
const QUIET_MS = 60_000;
const SPREAD_MS = 20_000;

/** The shift of the picture, in pixels, after so many shifts. */
export function shiftAfter(count: number): readonly [x: number, y: number] {
  return SHIFTS[count % SHIFTS.length] as readonly [number, number];
}

/** Move the picture by a pixel every five minutes, until the returned function is called. */
export function shift(element: HTMLElement): () => void {
  let count = 0;
  const timer = setInterval(() => {
    const [x, y] = shiftAfter(++count);
    element.style.translate = `${x}px ${y}px`;
  }, SHIFT_MS);
  return () => {
    clearInterval(timer);
    element.style.translate = '';
  };
}

/** Keep the screen on, until the returned function is called. `failed` is told when this browser does not. */
export function stayAwake(failed: () => void): () => void {
  let lock: WakeLockSentinel | null = null;
  let isOver = false;
  const ask = async (): Promise<void> => {
    if (document.hidden || isOver) return;
    try {
      lock = await navigator.wakeLock.request('screen');
      if (isOver) await lock.release();
    } catch {
      failed(); // no secure origin, low battery, or a browser without it
    }
  };
  const again = (): void => void ask(); // a hidden page loses its lock
  void ask();
  document.addEventListener('visibilitychange', again);
  return () => {
    isOver = true;
    document.removeEventListener('visibilitychange', again);
    void lock?.release();
  };
}

/** When to reload for a new HUD: a minute after the last touch, and not all walls at once. `random` from 0 to 1. */
export function reloadAt(now: number, touchedAt: number, random: number): number {
  return Math.max(now, touchedAt + QUIET_MS) + random * SPREAD_MS;
}
