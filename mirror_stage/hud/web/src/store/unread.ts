/** What of a link nobody understands. Pure. */

import { CHARTED, MEASURED, PAINTED_BY } from '../metrics';
import { ALERT_GROUPS } from './alertlog';
import { SPANS } from './range';
import { groupOf, saidOfGroup } from './subject';
import { saidOf, targetsOf } from './targets';
import { GROUP_BY } from './homes';
import { decoded } from './url';

/** What of a link means nothing, as it stands there: it is told, since a page that ignores it shows something else than was meant. */
export function unreadOf(hash: string, search: string, known: { readonly screens: readonly string[]; readonly sorts: readonly string[] }): string[] {
  const [path = '', rest = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s);
  const [screen = '', subject = ''] = path.split('/');
  const isRead = (text: string): boolean => text === '' || decoded(text) !== '';
  const oneOfThese = (...values: readonly string[]) => (value: string): boolean => values.includes(value);
  const isInstant = (value: string): boolean => !Number.isNaN(Date.parse(value));
  const readers: Record<string, (value: string) => boolean> = {
    q: () => true, only: () => true, rule: () => true, run: () => true, probe: () => true, bench: () => true,
    sel: (value) => value.split(',').every(isRead),
    colour: oneOfThese(...PAINTED_BY),
    size: oneOfThese(...MEASURED),
    group: oneOfThese(...GROUP_BY),
    sort: (value) => known.sorts.includes(value.replace(/^-/, '')),
    at: isInstant, against: isInstant, from: isInstant,
    to: (value) => isInstant(value) || saidOf(targetsOf(value)).split(',').length === value.split(',').length, // of the history, of the console
    wall: oneOfThese('0', '1'),
    lang: oneOfThese('en', 'ko'),
    range: oneOfThese(...Object.keys(SPANS)), strip: oneOfThese(...Object.keys(SPANS)),
    by: oneOfThese(...ALERT_GROUPS),
    as: oneOfThese('table'),
    of: (value) => value === 'all' || saidOfGroup(groupOf(value)) === value,
    rows: (value) => value.split(',').every((one) => (CHARTED as readonly string[]).includes(one)),
    tool: (value) => known.screens.includes(value),
  };
  const unread = [...new URLSearchParams(search), ...new URLSearchParams(rest)].filter(([name, value]) => !(Object.hasOwn(readers, name) && readers[name]?.(value)));
  const isPathRead = (screen === '' || known.screens.includes(screen)) && isRead(subject);
  return [...(isPathRead ? [] : [path]), ...unread.map(([name, value]) => `${name}=${value}`)];
}
