import { expect, test } from 'vitest';
import { formatIn } from '../../src/i18n/format';
import { en } from '../../src/i18n/en';
import { CHARTED, COLOUR_BY, GAUGES, isMetric, METRICS, rowOf, unitOf, USUALLY_CHARTED, type Metric } from '../../src/metrics';
import { parse } from '../../src/store/search';
import { DEFAULTS } from '../../src/store/settings.svelte';
import { Twin } from '../../src/store/twin';
import { COLUMNS } from '../../src/ui/columns';
import { delta, host, snapshot } from './frames';

const metrics = Object.keys(METRICS) as Metric[];
const f = formatIn('en', en, 'bits');

test('a metric is written in its unit, everywhere alike', () => {
  const said = (metric: Metric, value: number): string => f.metric(metric, value);
  expect([said('cpuLoad', 42.4), said('utilization', 0.424), said('cpuTemperature', 42.4), said('loadAverage', 1.234), said('network', 0.5), said('memoryTotalBytes', 2 ** 34), said('diskReadBytesPerSecond', 15_600_000)]).toEqual([
    f.percent(42.4), f.ratio(0.424), f.celsius(42.4), f.number(1.234, 2), f.rate(0.5), f.bytes(2 ** 34), '15.6 MB/s',
  ]);
  for (const metric of metrics) expect(said(metric, NaN), metric).toBe('–');
});

test('every metric with a column stands in the host table, with its unit in a file', () => {
  for (const metric of metrics.filter((one) => rowOf(one).column)) {
    expect(COLUMNS.find((column) => column.id === metric), metric).toMatchObject({ metric, fileUnit: unitOf(metric).file });
  }
});

test('every search word finds hosts by the figure that people read', () => {
  const twin = new Twin();
  twin.take(snapshot([host('a', 1)]));
  twin.apply(delta([[1, 0, Object.fromEntries(GAUGES.map((gauge) => [gauge, 0.5]))]]));
  for (const metric of metrics.filter((one) => rowOf(one).search)) {
    const figure = (metric === 'network' ? 1 : 0.5) * unitOf(metric).times;
    const { compile, unknown } = parse(`${rowOf(metric).search}=${figure}`);
    expect(unknown, metric).toEqual([]);
    expect(compile?.(twin, 0)(0), metric).toBe(true);
  }
});

test('bars are only of units that have two ends, and the rest of the table fits together', () => {
  for (const metric of metrics) {
    const { colour, column, sum, delta: isSent, host: field, link } = rowOf(metric);
    if (colour || column?.bar) expect(unitOf(metric).bar, metric).toBeDefined();
    for (const part of sum ?? []) expect(isMetric(part), metric).toBe(true);
    if (isSent) expect(field !== undefined || link, metric).toBeTruthy();
  }
  expect(new Set(COLOUR_BY).size).toBe(COLOUR_BY.length);
  expect(USUALLY_CHARTED.length).toBeLessThan(CHARTED.length);
  const known = ['hostname', ...COLUMNS.map((column) => column.id)];
  expect(DEFAULTS.columns.filter((id) => !known.includes(id))).toEqual([]);
});
