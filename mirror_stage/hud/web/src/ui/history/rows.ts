/** The rows of the history: for each metric its lines, its band, its marks and what a screen reader is told. Pure. */

import type { Dictionary } from '../../i18n/en';
import type { Format } from '../../i18n/format';
import type { Charted } from '../../metrics';
import type { Alert } from '../../net/openapi';
import { summaryOf, type Course, type HistoryData } from '../../store/history';
import type { Stretch } from '../../store/range';
import type { Rules } from '../../store/rules';
import { isMarkedIn, lookOf, P95_LOOK, type Drawing, type Drawn, type Look } from '../chart';

export interface HistoryRow {
  readonly metric: Charted;
  readonly drawing: Drawing;
  readonly label: string;
  readonly courses: readonly { readonly name: string; readonly hosts: number; readonly course: Course; readonly look: Look }[];
}

interface Around {
  readonly stretch: Stretch;
  /** The alerts of the stretch */
  readonly alerts: readonly Alert[];
  readonly rules: Rules;
  /** The moment of the past that is on show, seconds */
  readonly moment: number | null;
  /** How each series is called here */
  readonly names: ReadonlyMap<string, string>;
}

export function historyRow(metric: Charted, data: HistoryData | null, { stretch, alerts, rules, moment, names }: Around, t: Dictionary, f: Format): HistoryRow {
  const courses = (data?.series ?? []).flatMap(({ name, hosts, courses: all }, order) => {
    const course = all[metric];
    return course ? [{ name: names.get(name) ?? name, hosts, course, look: lookOf(order) }] : [];
  });
  const only = courses.length === 1 ? courses[0]?.course : undefined;
  const drawn: Drawn[] = courses.map(({ name, course, look }) => ({ label: name, values: course.mean, look, width: 1.75 }));
  if (only?.p95) drawn.unshift({ label: 'p95', values: only.p95, look: P95_LOOK, width: 1.25 });
  // The browser remembers one value of a host at a time, so there the band would lie under the line.
  const hasBand = only !== undefined && !only.isSum && (data?.resolution !== 'browser' || only.p95 !== null);
  const said = courses.map(({ name, course }) => {
    const sum = summaryOf(course);
    return sum ? t.history.said(name, f.metric(metric, sum.mean), f.metric(metric, sum.least), f.metric(metric, sum.most)) : t.history.saidNothing(name);
  });
  return {
    metric,
    courses,
    label: `${t.metrics[metric]}. ${said.join('. ')}`,
    drawing: {
      metric, drawn, stretch, moment,
      band: hasBand ? [only.least, only.most] : null,
      marks: alerts.filter((alert) => isMarkedIn(metric, rules.measureOf(alert))).map((alert) => ({
        from: Date.parse(alert.createdAt) / 1000,
        to: alert.resolvedAt === null ? null : Date.parse(alert.resolvedAt) / 1000,
        severity: alert.severity,
      })),
      limit: courses.some(({ course }) => course.isSum) ? null : rules.limitOf(metric), // a rule judges a host, not the sum of many
    },
  };
}
