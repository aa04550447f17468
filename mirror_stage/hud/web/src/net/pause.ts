/** How long to wait before the next try to connect. */

const FIRST_MS = 1_000;
const LONGEST_MS = 15_000;

/** Doubling and capped, between half and the whole of it: many browsers that lost one EGO do not return together. */
export function pauseBefore(attempt: number, random: number): number {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt) * (0.5 + random / 2);
}
