/** The clock of a replay: how far it goes, in what steps, and how what happened lies along it. Pure. */

import type { Timeline } from '../net/openapi';

export const SPEEDS = [1, 5, 10, 30, 60] as const;
export const BUCKETS = 120;
/** How close to now the past ends and the live twin takes over again. */
export const LIVE_WITHIN_MS = 3_000;

/** Where the clock stands `elapsedMs` later at a speed; null: it has caught up with now. */
export function advanced(at: number, elapsedMs: number, speed: number, now: number): number | null {
  const next = at + elapsedMs * speed;
  return next >= now - LIVE_WITHIN_MS ? null : next;
}

/** One step on or back, on the grid of steps; null: that is now. It stays within [from, now]. A step back always leaves now. */
export function stepped(at: number, way: 1 | -1, stepMs: number, from: number, now: number): number | null {
  const grid = way === 1 ? Math.floor(at / stepMs) + 1 : Math.ceil(Math.min(at, now - LIVE_WITHIN_MS) / stepMs) - 1;
  const next = Math.max(from, grid * stepMs);
  return next >= now - LIVE_WITHIN_MS ? null : next;
}

/** How far a step goes on a strip of so many seconds: a bucket of it, but never less than 5 s. */
export function stepMsOf(spanSeconds: number): number {
  return Math.max(5, Math.round(spanSeconds / BUCKETS)) * 1000;
}

/** The next speed, or the first again. */
export function nextSpeed(speed: number): number {
  return SPEEDS[(SPEEDS.indexOf(speed as (typeof SPEEDS)[number]) + 1) % SPEEDS.length] as number;
}

const HIGHEST = 0.8;

export interface Bar {
  /** From 0 to 1 along the strip */
  readonly x: number;
  readonly width: number;
  /** From 0 to 1: what fired, one above the other, by severity */
  readonly critical: number;
  readonly warning: number;
  readonly info: number;
}

/**
 * The bars of a strip: how many alerts were active in each bucket. The highest bar leaves the line of hosts above it free; a
 * root keeps one alert visible beside a hundred.
 */
export function barsOf(timeline: Timeline): Bar[] {
  const { active } = timeline.alerts;
  const totals = timeline.t.map((_, place) => (active.critical[place] ?? 0) + (active.warning[place] ?? 0) + (active.info[place] ?? 0));
  const most = Math.max(1, ...totals);
  const width = 1 / Math.max(1, timeline.t.length);
  return totals.map((total, place) => {
    const height = HIGHEST * Math.sqrt(total / most);
    const part = (count: number | undefined): number => (total === 0 ? 0 : (height * (count ?? 0)) / total);
    return { x: place * width, width, critical: part(active.critical[place]), warning: part(active.warning[place]), info: part(active.info[place]) };
  });
}

/** Which bucket an instant lies in; -1 if none. */
export function bucketAt(timeline: Timeline, at: number): number {
  const place = Math.floor((at - Date.parse(timeline.from)) / (timeline.bucketSeconds * 1000));
  return place >= 0 && place < timeline.t.length ? place : -1;
}
