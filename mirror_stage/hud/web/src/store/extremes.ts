/** The mean of a gauge over the hosts that are heard, and the host where it is worst. Pure. */

import type { Gauge } from '../metrics';
import type { Twin } from './twin';

export interface Extreme {
  mean: number;
  worst: number;
  seat: number;
  /** How many hosts the mean is of, and how many are meant */
  count: number;
  of: number;
}

/** Null when no such host reports the gauge. A host that is silent says nothing about now. */
export function extremeOf(twin: Twin, gauge: Gauge, mask: Uint8Array | null): Extreme | null {
  const column = twin.columns[gauge];
  let [sum, count, of, seat] = [0, 0, 0, -1];
  for (let at = 0; at < twin.end; at++) {
    const value = column[at] as number;
    const entry = twin.entries[at];
    if (!entry || entry.isSynthetic || (mask && mask[at] !== 1)) continue;
    of++;
    if (Number.isNaN(value) || twin.columns.status[at] !== 0) continue;
    sum += value;
    count++;
    if (seat === -1 || value > (column[seat] as number)) seat = at;
  }
  return seat === -1 ? null : { mean: sum / count, worst: column[seat] as number, seat, count, of };
}
