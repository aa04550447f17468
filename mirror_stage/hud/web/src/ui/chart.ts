/** How a row of the history is drawn: its scale, its ticks, its lines, its marks. Pure but for `optionsOf`, which uPlot draws from. */

import type uPlot from 'uplot';
import type { Format } from '../i18n/format';
import { isMetric, METRICS, rowOf, UNITS, unitOf, type Charted } from '../metrics';
import type { Severity } from '../net/wire';
import type { Values } from '../store/history';
import { isoOf, type Stretch } from '../store/range';
import type { Limit } from '../store/rules';
import { ticksOf } from '../store/zone';

/** Tokens `--series-0` and so on; the fifth host begins again with a broken line. */
const COLOURS = 4;
export const LINES_MOST = COLOURS * 2;
const DASH = [6, 4];

export interface Look {
  /** The token of its colour */
  readonly colour: string;
  readonly dash: readonly number[];
}

export function lookOf(place: number): Look {
  const isDashed = Math.floor(place / COLOURS) % 2 === 1;
  return { colour: `series-${place % COLOURS}`, dash: isDashed ? DASH : [] };
}

/** Of a group: its mean is the line, its worst hosts a finer one. */
export const P95_LOOK: Look = { colour: 'series-1', dash: [3, 3] };

/** The axis for what is known, from `least` to `most` */
type Axis = (least: number, most: number) => [number, number];

const from0 = (full: number): Axis => (_least, most) => [0, Math.max(full, most)];
const grown: Axis = (_least, most) => [0, most > 0 ? most * 1.12 : 1];
const AXES: Record<keyof typeof UNITS, Axis> = {
  percent: from0(100),
  ratio: from0(1),
  celsius: (least, most) => [Math.floor((least - 2) / 10) * 10, Math.ceil((most + 2) / 10) * 10],
  rate: grown,
  bytes: grown,
  byteRate: grown,
  days: grown,
  plain: grown,
};

export function axisOf(metric: Charted): Axis {
  return AXES[METRICS[metric].unit];
}

/** Whether an alert about a measure is marked in the chart of a metric: those about no metric (silence, clocks) are in all. */
export function isMarkedIn(metric: Charted, measure: string | null): boolean {
  return measure === null || !isMetric(measure) || measure === metric || measure === rowOf(metric).marks;
}

/** An alert on the axis of time, in seconds; `to` null: it is still open. */
export interface Mark {
  readonly from: number;
  readonly to: number | null;
  readonly severity: Severity;
}

export interface Drawn {
  readonly label: string;
  readonly values: Values;
  readonly look: Look;
  readonly width: number;
}

const DAY = 86_400;

/**
 * What stands under each tick of time: hours and minutes, seconds where ticks are that close, the day where it changes;
 * months, years. The year stands where it changes, first from the one of `now`.
 */
export function timeTicks(ticks: readonly number[], stepSeconds: number, language: string, now = Date.now()): string[] {
  const clock = formatOf(language, stepSeconds < 60 ? { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' } : { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  const day: Intl.DateTimeFormatOptions = stepSeconds >= 28 * DAY ? { month: 'short' } : { month: 'short', day: 'numeric' };
  const dateOf = (seconds: number): string => new Date(seconds * 1000).toDateString();
  let year = stepSeconds >= 28 * DAY ? NaN : new Date(now).getFullYear();
  return ticks.map((tick, place) => {
    const instant = new Date(tick * 1000);
    const isNewDay = dateOf(tick) !== dateOf(ticks[place - 1] ?? tick - 1);
    if (stepSeconds < DAY && !isNewDay) return clock.format(instant);
    const isNewYear = instant.getFullYear() !== year;
    year = instant.getFullYear();
    if (stepSeconds >= 365 * DAY) return formatOf(language, { year: 'numeric' }).format(instant);
    return formatOf(language, isNewYear ? { year: 'numeric', ...day } : day).format(instant);
  });
}

const formats = new Map<string, Intl.DateTimeFormat>();
function formatOf(language: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = language + JSON.stringify(options);
  const known = formats.get(key) ?? new Intl.DateTimeFormat(language, options);
  formats.set(key, known);
  return known;
}

/** Places of values that stand alone between gaps: a line does not show them, so they get a point. */
export function aloneIn(values: Values, first: number, last: number): number[] {
  const isKnown = (place: number): boolean => {
    const value = values[place];
    return typeof value === 'number';
  };
  const next = (place: number, way: 1 | -1): boolean => {
    let at = place + way;
    while (at >= first && at <= last && values[at] === undefined) at += way;
    return at >= first && at <= last && isKnown(at);
  };
  const alone: number[] = [];
  for (let place = first; place <= last; place++) if (isKnown(place) && !next(place, 1) && !next(place, -1)) alone.push(place);
  return alone;
}

export interface Drawing {
  metric: Charted;
  drawn: readonly Drawn[];
  /** The edges of the band below the lines, least and most; null: there is none */
  band: readonly [least: Values, most: Values] | null;
  stretch: Stretch;
  marks: readonly Mark[];
  /** Where its rule fires */
  limit: Limit | null;
  /** The moment of the past that is on show, seconds */
  moment: number | null;
}

/** The columns that uPlot draws: the band's edges first, the most important line last, so that it lies on top. */
export function columnsOf(times: readonly number[], { band, drawn, stretch }: Drawing): uPlot.AlignedData {
  if (times.length === 0) return [[stretch.from, stretch.to], ...new Array<Values>(drawn.length + (band ? 2 : 0)).fill([null, null])];
  return [times as number[], ...(band ?? []), ...drawn.map((line) => line.values)];
}

export interface Paint {
  font: string;
  line: string;
  ink: string;
  past: string;
  band: string;
  colour(token: string): string;
}

interface Told {
  point(place: number | null): void;
  zoom(from: number, to: number): void;
  out(): void;
}

/** What uPlot needs to draw a row. `now` gives the newest Drawing: marks and limits are read each time it draws. */
export function optionsOf(now: () => Drawing, size: { width: number; height: number }, paint: Paint, language: string, f: Format, told: Told): uPlot.Options {
  const first = now();
  const axis = axisOf(first.metric);
  const edges = first.band ? 2 : 0;
  const edge = (): uPlot.Series => ({ stroke: 'transparent', width: 0, points: { show: false } });
  return {
    ...size,
    legend: { show: false },
    padding: [8, 20, 0, 0],
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false, dist: 4 },
      points: { size: 7, width: 2 },
      bind: {
        dblclick: () => () => {
          told.out();
          return null;
        },
      },
    },
    scales: {
      x: { time: true, range: () => [now().stretch.from, now().stretch.to] },
      // While nothing is known uPlot says null: then the axis is that of the unit, whatever stands on it.
      y: { range: (_chart, least: number | null, most) => (least === null ? [...(unitOf(first.metric).bar ?? ([0, 1] as const))] : axis(least, most)) },
    },
    series: [
      {},
      ...(edges ? [edge(), edge()] : []),
      ...first.drawn.map((line): uPlot.Series => ({
        label: line.label,
        stroke: paint.colour(line.look.colour),
        width: line.width,
        ...(line.look.dash.length ? { dash: [...line.look.dash] } : {}),
        points: {
          show: true,
          size: 4,
          fill: paint.colour(line.look.colour),
          filter: (chart, series) => aloneIn(chart.data[series] as Values, 0, chart.data[0].length - 1),
        },
      })),
    ],
    ...(edges ? { bands: [{ series: [2, 1] as [number, number], fill: paint.band }] } : {}),
    axes: [
      {
        stroke: paint.ink, font: paint.font, size: 24, gap: 4, space: 72,
        grid: { stroke: paint.line, width: 1 }, ticks: { show: false },
        splits: (_chart, _axis, from, to, step) => ticksOf(from, to, step),
        values: (_chart, ticks, _axis, _space, step) => timeTicks(ticks, step, language),
      },
      {
        stroke: paint.ink, font: paint.font, size: 72, gap: 6, space: 34,
        grid: { stroke: paint.line, width: 1 }, ticks: { show: false },
        values: (_chart, ticks) => ticks.map((tick) => f.metric(first.metric, tick)),
      },
    ],
    hooks: {
      draw: [(chart) => drawMarks(chart, now(), paint)],
      setCursor: [(chart) => told.point((chart.cursor.left ?? -1) < 0 ? null : (chart.cursor.idx ?? null))],
      setSelect: [
        (chart) => {
          const { left, width } = chart.select;
          if (width <= 0) return;
          told.zoom(chart.posToVal(left, 'x'), chart.posToVal(left + width, 'x'));
          chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** The limit as a broken line, alerts as bars along the top that begin with their shape, the moment of the past. */
function drawMarks(chart: uPlot, { marks, limit, moment, stretch }: Drawing, paint: Paint): void {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio;
  const x = (at: number): number => chart.valToPos(Math.min(Math.max(at, stretch.from), stretch.to), 'x', true);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top - 6 * ratio, bbox.width, bbox.height + 6 * ratio);
  ctx.clip();
  const top = chart.scales.y?.max ?? 0;
  if (limit && limit.value <= top) {
    const y = Math.round(chart.valToPos(limit.value, 'y', true)) + 0.5;
    ctx.strokeStyle = inkOf(limit.severity, paint);
    ctx.globalAlpha = 0.5;
    ctx.lineWidth = ratio;
    ctx.setLineDash([2 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  }
  for (const mark of marks) {
    if (mark.from > stretch.to || (mark.to ?? stretch.to) < stretch.from) continue;
    const begins = x(mark.from);
    ctx.fillStyle = inkOf(mark.severity, paint);
    ctx.globalAlpha = 0.55;
    ctx.fillRect(begins, bbox.top - 1.5 * ratio, Math.max(ratio, x(mark.to ?? stretch.to) - begins), 3 * ratio);
    ctx.globalAlpha = 1;
    if (mark.from >= stretch.from) drawShape(ctx, mark.severity, begins, bbox.top, 4 * ratio);
  }
  if (moment !== null && moment >= stretch.from && moment <= stretch.to) {
    ctx.strokeStyle = paint.past;
    ctx.lineWidth = 2 * ratio;
    ctx.beginPath();
    ctx.moveTo(x(moment), bbox.top);
    ctx.lineTo(x(moment), bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function inkOf(severity: Severity, paint: Paint): string {
  return severity === 'info' ? paint.ink : paint.colour(severity);
}

function drawShape(ctx: CanvasRenderingContext2D, severity: Severity, x: number, y: number, half: number): void {
  ctx.beginPath();
  if (severity === 'critical') {
    ctx.moveTo(x, y - half);
    ctx.lineTo(x + half, y);
    ctx.lineTo(x, y + half);
    ctx.lineTo(x - half, y);
  } else if (severity === 'warning') {
    ctx.moveTo(x, y - half);
    ctx.lineTo(x + half, y + half * 0.85);
    ctx.lineTo(x - half, y + half * 0.85);
  } else {
    ctx.arc(x, y, half * 0.8, 0, Math.PI * 2);
  }
  ctx.closePath();
  ctx.fill();
}

/** The rows of a file: one for each instant and series that has something. */
export function fileRows(times: readonly number[], series: readonly { name: string; courses: Partial<Record<Charted, { mean: Values; least: Values; most: Values }>> }[], metrics: readonly Charted[], nameOf: (metric: Charted) => string, head: readonly [string, string]): (string | number | null)[][] {
  const rows: (string | number | null)[][] = [
    [...head, ...metrics.flatMap((metric) => {
      const unit = unitOf(metric).file && ` [${unitOf(metric).file}]`;
      return ['', ' min', ' max'].map((which) => `${nameOf(metric)}${which}${unit}`);
    })],
  ];
  times.forEach((time, place) => {
    for (const { name, courses } of series) {
      const values = metrics.flatMap((metric) => {
        const course = courses[metric];
        return [course?.mean[place] ?? null, course?.least[place] ?? null, course?.most[place] ?? null];
      });
      if (values.some((value) => value !== null)) rows.push([isoOf(time), name, ...values]);
    }
  });
  return rows;
}
