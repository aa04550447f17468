/**
 * What programs print, as lines of styled text: colours and weights by SGR, carriage returns and backspaces as on a
 * terminal, every other control sequence left out. Text stays text: nothing in it becomes markup. Pure.
 */

export interface Style {
  readonly color?: string;
  readonly background?: string;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly italic?: boolean;
  readonly underline?: boolean;
  readonly strike?: boolean;
}

export interface Span {
  readonly text: string;
  readonly style: Style;
}

export type Line = readonly Span[];

export const PLAIN: Style = {};
/** What stands behind text without a background: `--floor` of the dark theme, which `.terminal` has in both */
const GROUND: Rgb = [5, 7, 11];
const INK: Rgb = [232, 238, 247];
const LEAST_CONTRAST = 4.5;
/** No line is shown longer: more than EGO keeps of a stream, so only endless live output without a line feed reaches it */
export const LONGEST_LINE = 262_144;

type Rgb = readonly [red: number, green: number, blue: number];

/** The 16 named colours, each readable on the ground. */
const NAMED: readonly Rgb[] = [
  [110, 122, 140], [255, 110, 95], [120, 205, 130], [240, 195, 90], [95, 165, 255], [205, 140, 255], [90, 205, 215], [205, 214, 226],
  [150, 162, 180], [255, 145, 130], [150, 230, 155], [255, 215, 125], [140, 190, 255], [225, 175, 255], [130, 230, 235], [245, 248, 252],
];
const CUBE = [0, 95, 135, 175, 215, 255];

// One alternative each: CSI, OSC and its like up to their ends, other escapes. The ends may be still to come.
const SEQUENCE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-OQ-WYZ\\`-~])/y;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]{0,4096}\x1b?|[ -/]*)?$/y;

/** The state of SGR before it becomes a style: inverse and contrast are settled at the end. Concealing is not done: nothing hides from who reads a log. */
interface Pen {
  fore: Rgb | null;
  back: Rgb | null;
  inverse: boolean;
  marks: { bold?: boolean; dim?: boolean; italic?: boolean; underline?: boolean; strike?: boolean };
}

const freshPen = (): Pen => ({ fore: null, back: null, inverse: false, marks: {} });

/** A terminal without a screen: feed it text as it comes, read `lines`. Finished lines never change. */
export class Terminal {
  readonly finished: Line[] = [];
  private cells: [glyph: string, style: Style][] = [];
  private column = 0;
  /** Bytes of this line behind LONGEST_LINE */
  private leftOut = 0;
  /** Whether a line is not shown whole */
  hasLeftOut = false;
  private pen = freshPen();
  private style = PLAIN;
  private rest = '';

  /** All lines; the last one is still written to. */
  get lines(): readonly Line[] {
    return this.cells.length > 0 ? [...this.finished, ...this.written()] : this.finished;
  }

  /** The line that is written to, and the mark of what is left out of it. */
  private written(): Line[] {
    const mark: Line[] = this.leftOut > 0 ? [[{ text: `[${this.leftOut} bytes are left out here]`, style: PLAIN }]] : [];
    return [spansOf(this.cells), ...mark];
  }

  feed(text: string): this {
    text = this.rest + text;
    this.rest = '';
    for (let at = 0; at < text.length; ) {
      if (text.charCodeAt(at) === 0x1b) {
        SEQUENCE.lastIndex = UNFINISHED.lastIndex = at;
        const found = SEQUENCE.exec(text);
        if (found) {
          this.control(found[1], found[2]);
          at = SEQUENCE.lastIndex;
        } else if (UNFINISHED.test(text)) {
          this.rest = text.slice(at);
          return this;
        } else at++;
        continue;
      }
      const glyph = String.fromCodePoint(text.codePointAt(at) as number);
      this.put(glyph);
      at += glyph.length;
    }
    return this;
  }

  private put(glyph: string): void {
    if (glyph === '\n') {
      this.finished.push(...this.written());
      this.cells = [];
      this.column = this.leftOut = 0;
    } else if (glyph === '\r') this.column = 0;
    else if (glyph === '\b') this.column = Math.max(0, this.column - 1);
    else if (glyph === '\t') {
      do this.write(' ');
      while (this.column % 8 !== 0);
    } else if (glyph >= ' ' && (glyph < '\x7f' || glyph > '\x9f')) this.write(glyph);
  }

  private write(glyph: string): void {
    if (this.column < LONGEST_LINE) this.cells[this.column++] = [glyph, this.style];
    else {
      this.leftOut += bytesOf(glyph);
      this.hasLeftOut = true;
    }
  }

  private control(parameters: string | undefined, letter: string | undefined): void {
    if (letter === 'K') {
      const mode = Number(parameters || 0);
      if (mode === 0) this.cells.length = Math.min(this.cells.length, this.column);
      else for (let at = 0; at < (mode === 2 ? this.cells.length : this.column); at++) this.cells[at] = [' ', PLAIN];
    } else if (letter === 'm') {
      sgr(this.pen, (parameters ?? '').split(/[;:]/).map(Number));
      this.style = styleOf(this.pen);
    }
  }
}

function bytesOf(glyph: string): number {
  const point = glyph.codePointAt(0) as number;
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

/** The lines of a whole text. */
export function linesOf(text: string): readonly Line[] {
  return new Terminal().feed(text).lines;
}

/** The text of a line without its styles. */
export function textOf(line: Line): string {
  return line.map((span) => span.text).join('');
}

function spansOf(cells: readonly [string, Style][]): Line {
  const spans: { text: string; style: Style }[] = [];
  for (const [glyph, style] of cells) {
    const last = spans.at(-1);
    if (last?.style === style) last.text += glyph;
    else spans.push({ text: glyph, style });
  }
  return spans;
}

const MARKS: Record<number, Partial<Pen['marks']>> = {
  1: { bold: true },
  2: { dim: true },
  3: { italic: true },
  4: { underline: true },
  9: { strike: true },
  22: { bold: false, dim: false },
  23: { italic: false },
  24: { underline: false },
  29: { strike: false },
};

function sgr(pen: Pen, codes: number[]): void {
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at] as number;
    const marks = MARKS[code];
    if (code === 0 || Number.isNaN(code)) Object.assign(pen, freshPen());
    else if (marks) pen.marks = { ...pen.marks, ...marks };
    else if (code === 7 || code === 27) pen.inverse = code === 7;
    else if (code === 39) pen.fore = null;
    else if (code === 49) pen.back = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes.slice(at + 1));
      pen[code === 38 ? 'fore' : 'back'] = colour;
      at += used;
    } else if (code >= 30 && code <= 37) pen.fore = NAMED[code - 30] as Rgb;
    else if (code >= 90 && code <= 97) pen.fore = NAMED[code - 82] as Rgb;
    else if (code >= 40 && code <= 47) pen.back = NAMED[code - 40] as Rgb;
    else if (code >= 100 && code <= 107) pen.back = NAMED[code - 92] as Rgb;
  }
}

/** The colour after 38 or 48, and how many codes it took. */
function extended([kind, ...rest]: number[]): [Rgb | null, number] {
  const byte = (value: number | undefined): number => Math.min(255, Math.max(0, value || 0));
  if (kind === 2) return [[byte(rest[0]), byte(rest[1]), byte(rest[2])], 4];
  if (kind !== 5) return [null, 1];
  const code = byte(rest[0]);
  if (code < 16) return [NAMED[code] as Rgb, 2];
  if (code >= 232) return [[8 + (code - 232) * 10, 8 + (code - 232) * 10, 8 + (code - 232) * 10], 2];
  const place = code - 16;
  return [[CUBE[Math.floor(place / 36)], CUBE[Math.floor(place / 6) % 6], CUBE[place % 6]] as unknown as Rgb, 2];
}

function styleOf(pen: Pen): Style {
  const [written, back] = pen.inverse ? [pen.back ?? GROUND, pen.fore ?? INK] : [pen.fore, pen.back];
  const fore = written || back ? readable(written ?? INK, back ?? GROUND) : null;
  const marks = Object.fromEntries(Object.entries(pen.marks).filter(([, isOn]) => isOn));
  if (!fore && !back && Object.keys(marks).length === 0) return PLAIN;
  return { ...marks, ...(fore && { color: css(fore) }), ...(back && { background: css(back) }) };
}

/** The colour itself if it can be read on `ground`, else one towards white or black that can. */
function readable(colour: Rgb, ground: Rgb): Rgb {
  const end: Rgb = luminance(ground) > 0.18 ? [0, 0, 0] : [255, 255, 255];
  for (let share = 0; share < 1; share += 0.1) {
    const mixed = colour.map((part, at) => Math.round(part + ((end[at] as number) - part) * share)) as unknown as Rgb;
    if (contrast(mixed, ground) >= LEAST_CONTRAST) return mixed;
  }
  return end;
}

export function contrast(one: Rgb, other: Rgb): number {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: Rgb): number {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const css = (colour: Rgb): string => `rgb(${colour.join(' ')})`;
