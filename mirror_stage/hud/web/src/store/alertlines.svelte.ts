/** What the metrics of open alerts did in the last half hour: one question for all rows. */

import { CHARTED, type Charted } from '../metrics';
import type { Alert } from '../net/openapi';
import { get, Refusal } from '../net/rest';
import { isoOf } from './range';
import { world } from './world.svelte';

export const LINE_SECONDS = 1_800;
export const LINE_STEP_SECONDS = 60;
const MOST_HOSTS = 100;

export type Line = readonly [times: readonly number[], values: readonly (number | null)[]];

export class AlertLines {
  private lines = $state.raw<ReadonlyMap<string, Line>>(new Map());

  /** Follow the alerts of `rows`. Create it inside a component: it ends with the component. */
  constructor(rows: () => readonly Alert[]) {
    const subjects = $derived(rows().flatMap((alert) => (this.metricOf(alert) ? [[alert.hostname, this.metricOf(alert) as string] as const] : [])));
    /** As texts, so that what depends on them rests while they are the same */
    const hosts = $derived([...new Set(subjects.map(([hostname]) => hostname))].slice(0, MOST_HOSTS).sort().join('\n'));
    const metrics = $derived([...new Set(subjects.map(([, metric]) => metric))].sort().join(','));
    /** The end of the minute under way: what fired just now has a line at once */
    const to = $derived((Math.floor(world.now / 1000 / LINE_STEP_SECONDS) + 1) * LINE_STEP_SECONDS);
    $effect(() => {
      if (!world.has('history') || hosts === '') return;
      const leaving = new AbortController();
      const query = { hostname: hosts.split('\n'), metrics, from: isoOf(to - LINE_SECONDS), to: isoOf(to), stepSeconds: LINE_STEP_SECONDS };
      get('/api/history', { query, signal: leaving.signal }).then(
        (answer) => {
          if (!answer.hosts) return;
          const times = answer.t.map((time) => Date.parse(time) / 1000);
          this.lines = new Map(answer.hosts.flatMap(({ hostname, metrics: its }) => Object.entries(its).map(([metric, { avg }]) => [`${hostname} ${metric}`, [times, avg]] as const)));
        },
        (error: unknown) => {
          if (!(error instanceof Refusal) && !leaving.signal.aborted) throw error; // then there are no lines
        },
      );
      return () => leaving.abort();
    });
  }

  /** The line of an alert; undefined: nothing is known, or its metric has no history. */
  of(alert: Alert): Line | undefined {
    return this.lines.get(`${alert.hostname} ${this.metricOf(alert)}`);
  }

  /** The metric that the history has; null: it has none. */
  metricOf(alert: Alert): Charted | null {
    return CHARTED.find((metric) => metric === world.rules.measureOf(alert)) ?? null;
  }
}
