/** How far a host's value is from the least to the most: between the two ends of its unit, else up to the most there is. Pure. */

import { unitOf, valueAt, type Known, type Live } from '../../metrics';

export interface Scale {
  readonly metric: Known;
  readonly low: number;
  readonly high: number;
  /** Both ends mean something, so the upper one is a bad value; else it is only the most that there is. */
  readonly isFixed: boolean;
}

type Values = Readonly<Record<Live, ArrayLike<number>>>;

export function scaleOf(metric: Known, columns: Values, seats: Iterable<number>): Scale {
  const ends = unitOf(metric).bar;
  if (ends) return { metric, low: ends[0], high: ends[1], isFixed: true };
  let high = 0;
  for (const seat of seats) {
    const value = valueAt(columns, metric, seat);
    if (value > high) high = value;
  }
  return { metric, low: 0, high, isFixed: false };
}

/** 0 to 1; NaN: the value is unknown. */
export function partOf({ metric, low, high }: Scale, columns: Values, seat: number): number {
  const value = valueAt(columns, metric, seat);
  if (Number.isNaN(value)) return NaN;
  return high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0;
}
