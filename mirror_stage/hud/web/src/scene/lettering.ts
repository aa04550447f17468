/** Writing as textures: canvases with one channel of ink. Text of agents is only ever drawn as text. */

import { CanvasTexture, LinearFilter, LinearMipmapLinearFilter, NoColorSpace, RedFormat } from 'three';

const SANS = "'Pretendard Variable', Pretendard, system-ui, -apple-system, 'Segoe UI', 'Apple SD Gothic Neo', 'Malgun Gothic', 'Noto Sans KR', 'Noto Sans CJK KR', sans-serif";

function sheet(width: number, height: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext('2d') as CanvasRenderingContext2D;
  pen.fillStyle = '#000';
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = '#fff';
  pen.textBaseline = 'middle';
  return [canvas, pen];
}

function textureOf(canvas: HTMLCanvasElement, hasMips: boolean): CanvasTexture {
  const texture = new CanvasTexture(canvas);
  texture.colorSpace = NoColorSpace;
  texture.format = RedFormat; // ink or none: a quarter of the memory
  texture.generateMipmaps = hasMips;
  texture.minFilter = hasMips ? LinearMipmapLinearFilter : LinearFilter;
  texture.anisotropy = hasMips ? 8 : 1;
  return texture;
}

/** The ten digits and two units in twelve cells, for numbers that change in the shader. */
export function digitStrip(): CanvasTexture {
  const [canvas, pen] = sheet(480, 64);
  pen.font = `600 62px ${SANS}`;
  pen.textAlign = 'center';
  [...'0123456789%°'].forEach((one, cell) => pen.fillText(one, cell * 40 + 20, 34, 38));
  return textureOf(canvas, false);
}

export interface Written {
  /** Left, top, width, height in the texture, 0 to 1 */
  readonly cell: readonly [number, number, number, number];
  /** Width to height of the text itself */
  readonly aspect: number;
}

/** Words of any length, packed in lines on one sheet. What has no room is not written (undefined). */
export class Words {
  readonly texture: CanvasTexture;
  private readonly canvas: HTMLCanvasElement;
  private readonly pen: CanvasRenderingContext2D;

  constructor(private readonly width = 2048, private readonly height = 1024, private readonly line = 56) {
    [this.canvas, this.pen] = sheet(width, height);
    this.texture = textureOf(this.canvas, true);
  }

  write(texts: readonly string[]): (Written | undefined)[] {
    const { pen, width: whole, height, line } = this;
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, whole, height);
    pen.fillStyle = '#fff';
    pen.font = `600 ${line * 0.68}px ${SANS}`;
    let [x, y] = [0, 0];
    const known = new Map<string, Written | undefined>();
    const written = texts.map((text) => {
      if (known.has(text)) return known.get(text);
      const width = Math.min(Math.ceil(pen.measureText(text).width) + 16, whole / 2);
      if (x + width > whole) [x, y] = [0, y + line];
      if (y + line > height) return undefined;
      pen.fillText(text, x + 8, y + line / 2, width - 16);
      const cell = [x / whole, y / height, width / whole, line / height] as const;
      x += width;
      const one = { cell, aspect: width / line };
      known.set(text, one);
      return one;
    });
    this.texture.needsUpdate = true;
    return written;
  }
}

export const NAME_GRID = { across: 8, down: 40, width: 256, height: 32 } as const;

/** The names of the hosts that are near enough to be read, each in a cell of its own for as long as it is. */
export class NamePlates {
  readonly texture: CanvasTexture;
  private readonly canvas: HTMLCanvasElement;
  private readonly pen: CanvasRenderingContext2D;
  private readonly cells = new Map<string, number>();

  constructor() {
    const { across, down, width, height } = NAME_GRID;
    [this.canvas, this.pen] = sheet(across * width, down * height);
    this.pen.font = `600 24px ${SANS}`;
    this.texture = textureOf(this.canvas, true);
  }

  static readonly CAPACITY = NAME_GRID.across * NAME_GRID.down;

  /** A cell for each name; those that have one keep it, those not asked for lose it. At most CAPACITY. */
  show(names: readonly string[]): ReadonlyMap<string, number> {
    const wanted = new Set(names.slice(0, NamePlates.CAPACITY));
    const free: number[] = [];
    const used = new Set<number>();
    for (const [name, cell] of [...this.cells]) {
      if (wanted.has(name)) used.add(cell);
      else this.cells.delete(name);
    }
    for (let cell = NamePlates.CAPACITY - 1; cell >= 0; cell--) if (!used.has(cell)) free.push(cell);
    let isChanged = false;
    for (const name of wanted) {
      if (this.cells.has(name)) continue;
      const cell = free.pop() as number;
      this.cells.set(name, cell);
      this.draw(name, cell);
      isChanged = true;
    }
    if (isChanged) this.texture.needsUpdate = true;
    return this.cells;
  }

  private draw(name: string, cell: number): void {
    const { across, width, height } = NAME_GRID;
    const [x, y] = [(cell % across) * width, Math.floor(cell / across) * height];
    const { pen } = this;
    pen.fillStyle = '#000';
    pen.fillRect(x, y, width, height);
    pen.fillStyle = '#fff';
    pen.fillText(fitting(pen, name, width - 76), x + 2, y + height / 2 + 1); // the last cells' width is the number's
  }
}

/** `text`, or as much of both its ends as fits: what tells hosts apart is mostly at the end. */
function fitting(pen: CanvasRenderingContext2D, text: string, width: number): string {
  if (pen.measureText(text).width <= width) return text;
  for (let kept = text.length - 1; kept > 4; kept--) {
    const tail = Math.ceil(kept * 0.5);
    const short = `${text.slice(0, kept - tail)}…${text.slice(-tail)}`;
    if (pen.measureText(short).width <= width) return short;
  }
  return text.slice(0, 4);
}
