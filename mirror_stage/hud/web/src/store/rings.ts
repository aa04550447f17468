/**
 * The last 15 minutes of every host, in the browser's memory: what sparklines draw at once, without asking EGO.
 *
 * All rings share one beat and one axis of time; a ring is allocated when its seat is taken.
 */

import { REMEMBERED, type Remembered } from '../metrics';
import type { Columns, Twin } from './twin';

export const BEAT_MS = 5_000;
export const BEATS = 180;

export class Rings {
  /** seconds since 1970 by EGO's clock, as uPlot wants them */
  private readonly times = new Float64Array(BEATS).fill(NaN);
  private readonly values: (Float32Array | undefined)[] = [];
  private beats = 0;
  private beatAt = -Infinity;

  constructor(private readonly twin: Twin) {
    twin.listen(({ removed }) => {
      for (const seat of removed) this.values[seat] = undefined;
    });
  }

  /** Note the numbers of all hosts if a beat has passed since the last note; a silent host's are a gap. */
  beat(now: number): void {
    if (now - this.beatAt < BEAT_MS - 100) return;
    this.beatAt = now;
    const place = this.beats++ % BEATS;
    this.times[place] = now / 1000;
    const { columns, end, entries } = this.twin;
    for (let seat = 0; seat < end; seat++) {
      if (!entries[seat]) continue;
      const ring = (this.values[seat] ??= new Float32Array(BEATS * REMEMBERED.length).fill(NaN));
      const isHeard = columns.status[seat] === 0;
      REMEMBERED.forEach((metric, row) => {
        ring[row * BEATS + place] = isHeard ? ((columns as Columns)[metric][seat] as number) : NaN;
      });
    }
  }

  /** Times in seconds and values, oldest first; null where nothing is known. */
  series(seat: number, metric: Remembered): [times: number[], values: (number | null)[]] {
    const ring = this.values[seat];
    const row = REMEMBERED.indexOf(metric);
    const count = Math.min(this.beats, BEATS);
    const times = new Array<number>(count);
    const values = new Array<number | null>(count);
    for (let step = 0; step < count; step++) {
      const place = (this.beats - count + step) % BEATS;
      times[step] = this.times[place] as number;
      const value = ring?.[row * BEATS + place] ?? NaN;
      values[step] = Number.isNaN(value) ? null : value;
    }
    return [times, values];
  }
}
