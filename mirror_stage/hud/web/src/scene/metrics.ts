/** What can be read from the colours: for each choice the part of a bar that is filled, the number beside it, its legend. */

import { COLOURS, LOAD_RAMP, STATES, type State } from '../store/status';
import type { FleetColumns } from './fleet';

/** Values at which EGO's rules fire, by the rule's name. */
export type Thresholds = Readonly<Record<string, number>>;

interface Metric {
  /** 0 to 1, NaN unknown */
  readonly fraction: (columns: FleetColumns, seat: number) => number;
  /** In the unit that people read, NaN unknown */
  readonly figure: (columns: FleetColumns, seat: number) => number;
  readonly unit: string;
  /** Values at both ends of the bar */
  readonly range: readonly [number, number];
  /** Where on the bar the rule fires; 2: there is no rule */
  readonly fireAt: (thresholds: Thresholds) => number;
}

const NONE = 2;
const [COLD, HOT] = [20, 100];

const clamped = (value: number): number => (value < 0 ? 0 : value > 1 ? 1 : value); // keeps NaN
const cpu: Metric = {
  fraction: (columns, seat) => clamped((columns.cpuLoad[seat] as number) / 100),
  figure: (columns, seat) => columns.cpuLoad[seat] as number,
  unit: '%',
  range: [0, 100],
  fireAt: (thresholds) => (thresholds.cpu_load_high ?? 200) / 100,
};

export const METRICS = {
  status: cpu, // the colour is the state's, the bar is still CPU
  cpu,
  memory: {
    fraction: (columns, seat) => clamped((columns.memoryUsedPercent[seat] as number) / 100),
    figure: (columns, seat) => columns.memoryUsedPercent[seat] as number,
    unit: '%',
    range: [0, 100],
    fireAt: (thresholds) => (thresholds.memory_high ?? 200) / 100,
  },
  temperature: {
    fraction: (columns, seat) => clamped(((columns.cpuTemperature[seat] as number) - COLD) / (HOT - COLD)),
    figure: (columns, seat) => columns.cpuTemperature[seat] as number,
    unit: '°C',
    range: [COLD, HOT],
    fireAt: (thresholds) => (thresholds.cpu_temperature_high === undefined ? NONE : (thresholds.cpu_temperature_high - COLD) / (HOT - COLD)),
  },
  network: {
    fraction: (columns, seat) => clamped(columns.utilization[seat] as number),
    figure: (columns, seat) => (columns.utilization[seat] as number) * 100,
    unit: '%',
    range: [0, 100],
    fireAt: (thresholds) => thresholds.link_congestion ?? NONE,
  },
} as const satisfies Record<string, Metric>;
export type ColourBy = keyof typeof METRICS;

/** What the stage shows beside the canvas: what the colours and the links mean. */
export interface Legend {
  readonly hosts:
    | { readonly kind: 'states'; readonly states: readonly { readonly state: State; readonly colour: string }[] }
    | { readonly kind: 'ramp'; readonly stops: typeof LOAD_RAMP; readonly range: readonly [number, number]; readonly unit: string; readonly fireAt: number | null };
  readonly links: {
    /** Utilization: colour */
    readonly stops: typeof LOAD_RAMP;
    /** Traffic: width and speed of the dashes, by the logarithm between these */
    readonly slowestGbps: number;
    readonly fastestGbps: number;
    /** What one ribbon stands for */
    readonly each: LinkKind;
  };
}

export type LinkKind = 'host' | 'rack' | 'aisle';
export const [SLOWEST_GBPS, FASTEST_GBPS] = [0.01, 100];

/** 0 to 1 for traffic between the slowest and the fastest that is told apart; 0 also for unknown. */
export function trafficOf(gbps: number): number {
  return gbps > SLOWEST_GBPS ? Math.min(1, Math.log(gbps / SLOWEST_GBPS) / Math.log(FASTEST_GBPS / SLOWEST_GBPS)) : 0;
}

export function legendOf(colourBy: ColourBy, thresholds: Thresholds, each: LinkKind): Legend {
  const { range, unit, fireAt } = METRICS[colourBy];
  const tick = fireAt(thresholds);
  return {
    hosts:
      colourBy === 'status'
        ? { kind: 'states', states: STATES.map((state) => ({ state, colour: COLOURS[state] })) }
        : { kind: 'ramp', stops: LOAD_RAMP, range, unit, fireAt: tick <= 1 ? range[0] + tick * (range[1] - range[0]) : null },
    links: { stops: LOAD_RAMP, slowestGbps: SLOWEST_GBPS, fastestGbps: FASTEST_GBPS, each },
  };
}
