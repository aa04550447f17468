/** Where a word stands in what was printed. Pure. */

import type { Line, Span } from './ansi';
import { textOf } from './ansi';

export interface Part extends Span {
  readonly isHit: boolean;
}

/** How often `sought` stands in the lines, in small or capital letters. */
export function hitsIn(lines: readonly Line[], sought: string): number {
  if (sought === '') return 0;
  const needle = sought.toLowerCase();
  return lines.reduce((sum, line) => sum + textOf(line).toLowerCase().split(needle).length - 1, 0);
}

/** The spans of a line, split where `sought` begins and ends; a hit may reach over several spans. */
export function parted(line: Line, sought: string): readonly Part[] {
  const text = textOf(line).toLowerCase();
  const needle = sought.toLowerCase();
  // A letter whose small form is longer would shift every place behind it: then nothing is marked, but all is shown.
  if (needle === '' || !text.includes(needle) || text.length !== textOf(line).length) return line.map((span) => ({ ...span, isHit: false }));
  const isHit = new Uint8Array(text.length);
  for (let at = text.indexOf(needle); at !== -1; at = text.indexOf(needle, at + needle.length)) isHit.fill(1, at, at + needle.length);
  const parts: Part[] = [];
  let start = 0;
  for (const { text: piece, style } of line) {
    for (let from = 0; from < piece.length; ) {
      const kind = isHit[start + from];
      let to = from + 1;
      while (to < piece.length && isHit[start + to] === kind) to++;
      parts.push({ text: piece.slice(from, to), style, isHit: kind === 1 });
      from = to;
    }
    start += piece.length;
  }
  return parts;
}
