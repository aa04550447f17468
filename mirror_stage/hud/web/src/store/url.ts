/** The address bar as a value: `#/table?q=cpu>80&sel=web-1`. Pure; `view.svelte.ts` holds the value. */

import { PAINTED_BY, type PaintBy } from '../metrics';
import { GROUP_BY, type GroupBy } from './homes';

export interface Place {
  /** '' is the mirror world; else table, alerts, console, history, host */
  screen: string;
  /** The host of `#/host/<name>` */
  subject: string | null;
  query: string;
  /** Hostnames; the first is the one the detail shows */
  selected: readonly string[];
  /** The world knows those of COLOUR_BY, the flat plan all */
  paintBy: PaintBy;
  groupBy: GroupBy;
  /** '-cpuLoad': by CPU, the highest first */
  sort: string;
  /** An instant of the past, ISO 8601; null is now */
  at: string | null;
  wall: boolean;
  language: 'en' | 'ko' | null;
  /** The rest, by screen: what a screen wants to keep in a link */
  more: Readonly<Record<string, string>>;
}

export const HOME: Place = {
  screen: '',
  subject: null,
  query: '',
  selected: [],
  paintBy: 'status',
  groupBy: 'rack',
  sort: '',
  at: null,
  wall: false,
  language: null,
  more: {},
};

const KNOWN = new Set(['q', 'sel', 'colour', 'group', 'sort', 'at', 'wall', 'lang']);

/** The place that a hash and a search part say. What they do not say is as at home; nonsense is left out. */
export function placeOf(hash: string, search = ''): Place {
  const [path = '', rest = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s);
  const parameters = new URLSearchParams(search);
  for (const [name, value] of new URLSearchParams(rest)) parameters.set(name, value);
  const [screen = '', subject] = path.split('/').map(decoded);
  const more: Record<string, string> = {};
  for (const [name, value] of parameters) if (!KNOWN.has(name)) more[name] = value;
  const language = parameters.get('lang');
  return {
    screen,
    subject: subject || null,
    query: parameters.get('q') ?? '',
    selected: (parameters.get('sel') ?? '').split(',').map(decoded).filter(Boolean),
    paintBy: oneOf(PAINTED_BY, parameters.get('colour'), HOME.paintBy),
    groupBy: oneOf(GROUP_BY, parameters.get('group'), HOME.groupBy),
    sort: parameters.get('sort') ?? '',
    at: Number.isNaN(Date.parse(parameters.get('at') ?? '')) ? null : parameters.get('at'),
    wall: parameters.get('wall') === '1',
    language: language === 'en' || language === 'ko' ? language : null,
    more,
  };
}

/** The hash of a place; only what differs from home is in it. */
export function hashOf(place: Place): string {
  const path = [place.screen, place.subject].filter((part) => part !== null && part !== '').map((part) => encodeURIComponent(part as string));
  const parameters = new URLSearchParams();
  const say = (name: string, value: string, usual = ''): void => {
    if (value !== usual) parameters.set(name, value);
  };
  say('q', place.query);
  say('sel', place.selected.map(encodeURIComponent).join(','));
  say('colour', place.paintBy, HOME.paintBy);
  say('group', place.groupBy, HOME.groupBy);
  say('sort', place.sort);
  say('at', place.at ?? '');
  say('wall', place.wall ? '1' : '');
  say('lang', place.language ?? '');
  for (const [name, value] of Object.entries(place.more)) parameters.set(name, value);
  const query = parameters.toString();
  return `#/${path.join('/')}${query ? `?${query}` : ''}`;
}

function oneOf<Value extends string>(known: readonly Value[], value: string | null, usual: Value): Value {
  return known.includes(value as Value) ? (value as Value) : usual;
}

export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
