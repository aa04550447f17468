/**
 * uPlot without what these charts never use: stairs, bars and splines, joining of tables, scales of logarithms and of their own choice, and its own
 * words for dates, for which a bundler keeps all that they name.
 */

import type { Plugin } from 'vite';

const UNUSED = [
  'fmtDate', 'timeAxisStamps', 'timeAxisVals', 'timeSeriesStamp', 'timeSeriesVal', 'numAxisVals', 'numSeriesVal', 'logAxisSplits', 'asinhAxisSplits',
  'log10AxisValsFilt', 'rangeLog', 'rangeAsinh', 'rangeNum', '_rangeNum', 'snapNumY', 'snapLogY', 'snapAsinhY',
];
/** What hangs on `uPlot` for others to call, each in a statement or in a block of its own: at least so many */
const LEAST_STATICS = 10;

interface Statement {
  type: string;
  start: number;
  end: number;
  id?: { name: string } | null;
  expression?: { left?: { object?: { name?: string } } };
}

export function withoutUnusedCharts(): Plugin {
  return {
    name: 'uplot-without-unused',
    apply: 'build',
    transform: {
      filter: { id: /[\\/]uplot[\\/]dist[\\/]uPlot\.esm\.js$/ },
      handler(code) {
        const statements = (this.parse(code) as unknown as { body: Statement[] }).body;
        const stubs = statements.filter(({ type, id }) => type === 'FunctionDeclaration' && UNUSED.includes(id?.name ?? ''));
        const statics = statements.filter(({ type, expression }) => type === 'BlockStatement' || expression?.left?.object?.name === 'uPlot');
        if (stubs.length < UNUSED.length || statics.length < LEAST_STATICS) this.error('uPlot is written otherwise now; look at build/uplot.ts');
        let less = code;
        for (const { start, end, id } of [...stubs, ...statics].sort((one, other) => other.start - one.start))
          less = less.slice(0, start) + (id ? `function ${id.name}() {}` : '') + less.slice(end);
        return { code: less, map: null };
      },
    },
  };
}
