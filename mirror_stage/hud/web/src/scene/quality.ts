/** How much is drawn: steps down when frames take too long, back up slowly. A pure machine; the clock is an argument. */

export interface Level {
  readonly pixelRatio: number;
  readonly hasReflection: boolean;
  readonly hasArcs: boolean;
  readonly framesPerSecond: 60 | 30;
}

const LEVELS: readonly Level[] = [
  { pixelRatio: 2, hasReflection: true, hasArcs: true, framesPerSecond: 60 },
  { pixelRatio: 1.5, hasReflection: true, hasArcs: true, framesPerSecond: 60 },
  { pixelRatio: 1, hasReflection: true, hasArcs: true, framesPerSecond: 60 },
  { pixelRatio: 1, hasReflection: false, hasArcs: true, framesPerSecond: 60 },
  { pixelRatio: 1, hasReflection: false, hasArcs: false, framesPerSecond: 60 },
  { pixelRatio: 1, hasReflection: false, hasArcs: false, framesPerSecond: 30 },
];

const WINDOW_MS = 2_000;
const TOO_LONG_MS = 18;
const AMPLE_MS = 17.2; // at 60 frames a second there is nothing faster to see
const CAPPED_SLACK = 1.12; // a cap of 30 makes frames of 33 ms, which says nothing about the machine
const RELAPSE_MS = 20_000; // slow again so soon after a step up: that step was one too many
const FIRST_PATIENCE_MS = 20_000;
const MOST_PATIENCE_MS = 320_000;

export class Quality {
  private at: number;
  private readonly first: number;
  private windowStart = NaN;
  private frames = 0;
  private goodSince = NaN;
  /** Grows with each step up that had to be taken back: the machine does not go up and down for ever */
  private patience = FIRST_PATIENCE_MS;
  private raisedAt = -Infinity;

  /** `deviceRatio`: of the screen. `isPinned`: never change, for pictures and tests. */
  constructor(deviceRatio: number, private readonly isPinned = false) {
    const first = LEVELS.findIndex((level) => level.pixelRatio <= Math.max(1, deviceRatio));
    this.first = first < 0 ? 0 : first;
    this.at = this.first;
  }

  get level(): Level {
    return LEVELS[this.at] as Level;
  }

  /** Whether less is drawn than this screen could show. */
  get isReduced(): boolean {
    return this.at > this.first;
  }

  /** A frame was drawn at `now` (ms) under a cap of so many a second; true if the level changed. */
  frame(now: number, cap: number): boolean {
    if (this.isPinned) return false;
    if (Number.isNaN(this.windowStart)) {
      this.windowStart = now;
      return false;
    }
    this.frames++;
    const passed = now - this.windowStart;
    if (passed < WINDOW_MS) return false;
    const mean = passed / this.frames;
    this.pause();
    const due = 1000 / cap;
    if (mean > Math.max(TOO_LONG_MS, due * CAPPED_SLACK)) {
      this.goodSince = NaN;
      if (now - this.raisedAt < RELAPSE_MS) this.patience = Math.min(this.patience * 2, MOST_PATIENCE_MS);
      return this.move(1);
    }
    if (mean > Math.max(AMPLE_MS, due * CAPPED_SLACK)) {
      this.goodSince = NaN;
      return false;
    }
    if (Number.isNaN(this.goodSince)) this.goodSince = now;
    if (now - this.goodSince < this.patience || !this.isReduced) return false;
    this.goodSince = NaN;
    this.raisedAt = now;
    return this.move(-1);
  }

  /** Frames stop for a while (hidden tab, nothing to draw): the gap is not a slow frame. */
  pause(): void {
    this.windowStart = NaN;
    this.frames = 0;
  }

  private move(by: 1 | -1): boolean {
    const next = Math.min(LEVELS.length - 1, Math.max(this.first, this.at + by));
    if (next === this.at) return false;
    this.at = next;
    return true;
  }
}
