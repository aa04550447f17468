/** What can be read from the colours: for each choice the part of a bar that is filled, the number beside it, its legend. */

import { COLOUR_BY, COLOURED, LIVE, unitOf, type ColourBy, type Live } from '../metrics';
import type { FleetColumns } from './fleet';

/** The lowest value at which a rule of EGO's fires, by what the rule measures. */
export type Limits = Readonly<Record<string, number>>;

interface Bar {
  /** 0 to 1, NaN unknown */
  readonly fraction: (columns: FleetColumns, seat: number) => number;
  /** In the unit that people read, NaN unknown */
  readonly figure: (columns: FleetColumns, seat: number) => number;
  readonly unit: string;
  /** The figures at both ends of the bar */
  readonly range: readonly [number, number];
  /** Where on the bar the rule fires; 2: there is no rule */
  readonly fireAt: (limits: Limits) => number;
}

const NONE = 2;

function barOf(metric: Live): Bar {
  const { bar: [low, high] = [0, 1], times, sign } = unitOf(metric);
  const part = (value: number): number => (value - low) / (high - low);
  return {
    fraction: (columns, seat) => clamped(part(columns[metric][seat] as number)),
    figure: (columns, seat) => (columns[metric][seat] as number) * times,
    unit: sign,
    range: [low * times, high * times],
    fireAt: (limits) => (limits[metric] === undefined ? NONE : part(limits[metric])),
  };
}

const clamped = (value: number): number => (value < 0 ? 0 : value > 1 ? 1 : value); // keeps NaN

/** The bar of each metric whose unit has two ends. */
export const METRIC_BARS: Partial<Record<Live, Bar>> = Object.fromEntries(LIVE.filter((metric) => unitOf(metric).bar).map((metric) => [metric, barOf(metric)]));

/** The bar of each choice; where the colour is the state's, the bar is CPU, or the metric that has fired. */
export const BARS = Object.fromEntries(COLOUR_BY.map((colourBy) => [colourBy, METRIC_BARS[COLOURED[colourBy]]])) as Record<ColourBy, Bar>;

const UNITS_WRITTEN = ['', '%', '°C'];
const UNIT_STEP = 16_384; // as in NUMBER_GLSL

/** A number and its unit as one, as the shader reads it; -1: nothing is written. */
export function codedFigure(number: number, unit: string): number {
  const whole = Math.round(number);
  return whole >= 0 && whole < UNIT_STEP ? whole + Math.max(0, UNITS_WRITTEN.indexOf(unit)) * UNIT_STEP : -1;
}

/** What the stage shows beside the canvas: what the colours and the links mean. */
export interface Legend {
  readonly hosts:
    | { readonly kind: 'states' }
    | { readonly kind: 'ramp'; readonly range: readonly [number, number]; readonly unit: string; readonly fireAt: number | null };
  readonly links: {
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

export function legendOf(colourBy: ColourBy, limits: Limits, each: LinkKind): Legend {
  const { range, unit, fireAt } = BARS[colourBy];
  const tick = fireAt(limits);
  return {
    hosts:
      colourBy === 'status'
        ? { kind: 'states' }
        : { kind: 'ramp', range, unit, fireAt: tick <= 1 ? range[0] + tick * (range[1] - range[0]) : null },
    links: { slowestGbps: SLOWEST_GBPS, fastestGbps: FASTEST_GBPS, each },
  };
}
