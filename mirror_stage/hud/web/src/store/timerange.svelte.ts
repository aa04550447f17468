/** The stretch of time that the address says, and how a person moves it: spans, zoom in and back out, earlier, later. */

import { between, moved, rangeOf, saidOf, scaled, stepOf, stretchOf, type Range, type Span, type Stretch } from './range';
import { view } from './view.svelte';
import { world } from './world.svelte';

const POINTS = 360;

export class TimeRange {
  readonly isKept = $derived(world.has('history'));
  private readonly usual = $derived<Span>(this.isKept ? '1h' : '15m');
  private readonly range = $derived<Range>(this.isKept ? rangeOf(view.more, this.usual) : { span: '15m' });
  /** Seconds between two points */
  readonly step = $derived(stepOf(stretchOf(this.range, 0), POINTS));
  /** The end of a span, moved on once in a step: a question whose answer would be the same is not asked */
  private readonly now = $derived(Math.ceil(world.now / 1000 / this.step) * this.step);
  readonly stretch = $derived<Stretch>(stretchOf(this.range, this.now));
  /** null: a stretch that stays where it is */
  readonly span = $derived('span' in this.range ? this.range.span : null);
  /** The range as text; it stays the same while a span moves on */
  readonly text = $derived(this.span ?? `${this.stretch.from} ${this.stretch.to}`);
  /** The ranges that zooms came from, to go back out */
  private before: readonly Range[] = [];

  choose(next: Range): void {
    this.before = [];
    this.go(next);
  }

  zoom(one: number, other: number): void {
    const next = between(one, other);
    if (!next || !this.isKept) return;
    this.before = [...this.before, this.range];
    this.go(next);
  }

  /** Zoom in to a part of the length around an instant. */
  zoomAround(instant: number, part: number): void {
    const reach = (this.stretch.to - this.stretch.from) * part;
    this.zoom(instant - reach, Math.min(instant + reach, world.clock / 1000));
  }

  /** Back out of the last zoom, or to twice the length. */
  out(): void {
    const last = this.before.at(-1);
    this.before = this.before.slice(0, -1);
    if (last) this.go(last);
    else if (this.isKept) this.go(scaled(this.stretch, 2, world.clock / 1000));
  }

  /** Move by a part of the length: -0.5 is back by half. */
  move(part: number): void {
    this.go(moved(this.stretch, part, world.clock / 1000));
  }

  private go(next: Range): void {
    const { range: said, from, to } = saidOf(next, this.usual);
    const more: Record<string, string> = { ...view.more };
    for (const [name, value] of Object.entries({ range: said, from, to })) {
      if (value === null) delete more[name];
      else more[name] = value;
    }
    view.set({ more }, 'push');
  }
}
