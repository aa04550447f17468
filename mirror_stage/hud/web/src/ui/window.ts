/** Which rows of a long list with equal rows stand in the document: those in sight and a few around them. */

const AROUND = 8;

export interface Window {
  readonly first: number;
  /** one more than the last */
  readonly end: number;
  /** pixels to keep free for the rows that are not there */
  readonly before: number;
  readonly after: number;
}

export function windowOf(count: number, rowHeight: number, scrolled: number, height: number): Window {
  const first = Math.min(Math.max(0, Math.floor(scrolled / rowHeight) - AROUND), Math.max(0, count - 1));
  const end = Math.min(count, Math.ceil((scrolled + height) / rowHeight) + AROUND);
  return { first, end: Math.max(first, end), before: first * rowHeight, after: Math.max(0, count - Math.max(first, end)) * rowHeight };
}
