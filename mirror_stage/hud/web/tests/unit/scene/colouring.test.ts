import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { legendOf, BARS, codedFigure, METRIC_BARS, trafficOf } from '../../../src/scene/colouring';
import { dayOf, PALETTE, PALETTE_GLSL, rgb } from '../../../src/scene/palette';
import { STATES } from '../../../src/store/status';
import { twinOf } from './fleets';

describe('metrics', () => {
  test('are a part of a bar and a number, and unknown where unknown', () => {
    const { columns } = twinOf(1);
    columns.cpuTemperature[0] = 60;
    columns.memoryUsedPercent[0] = NaN;
    expect(BARS.cpu.fraction(columns, 0)).toBeCloseTo(0.1);
    expect(BARS.temperature.fraction(columns, 0)).toBeCloseTo(0.5);
    expect(BARS.temperature.figure(columns, 0)).toBe(60);
    expect(BARS.memory.fraction(columns, 0)).toBeNaN();
  });

  test('have a bar for each that can fire, and a number with its unit', () => {
    expect(Object.keys(METRIC_BARS)).toEqual(expect.arrayContaining(['cpuLoad', 'memoryUsedPercent', 'fullestDiskPercent', 'cpuTemperature', 'gpuTemperature', 'utilization']));
    expect([codedFigure(32.4, '%'), codedFigure(96, '°C'), codedFigure(7, ''), codedFigure(NaN, '%'), codedFigure(-3, '°C')]).toEqual([32 + 16_384, 96 + 2 * 16_384, 7, -1, -1]);
  });

  test('show where the rule of EGO fires, and nothing where there is none', () => {
    expect(BARS.temperature.fireAt({ cpuTemperature: 80 })).toBeCloseTo(0.75);
    for (const metric of Object.values(BARS)) expect(metric.fireAt({})).toBeGreaterThan(1);
    expect(legendOf('temperature', { cpuTemperature: 80 }, 'rack').hosts).toMatchObject({ kind: 'ramp', unit: '°C', fireAt: 80 });
    expect(legendOf('status', {}, 'host').hosts).toMatchObject({ kind: 'states' });
  });

  test('tell traffic by its logarithm', () => {
    expect([0, NaN, 0.01, 1, 100, 5_000].map(trafficOf)).toEqual([0, 0, 0, 0.5, 1, 1]);
  });
});

test('the shaders get their colours from tokens of the style sheet', () => {
  expect(rgb('#ff8000')).toEqual([1, 128 / 255, 0]);
  expect([dayOf(rgb('#e9eff6')), dayOf(rgb('#070c14'))]).toEqual([1, 0]);
  const css = readFileSync(new URL('../../../src/app.css', import.meta.url), 'utf8');
  for (const token of PALETTE) expect(css).toContain(`  --${token}: light-dark(`);
  // `stateColour` counts on from the first state.
  expect(PALETTE.slice(PALETTE.indexOf('ok')).slice(0, STATES.length)).toEqual(STATES);
  expect(PALETTE_GLSL).not.toContain('[-1]');
});
