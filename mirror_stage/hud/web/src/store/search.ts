/**
 * The search grammar: words and conditions, all of which must hold.
 *
 *   web rack:A2 cpu>80 is:offline -test
 *
 * A bare word is looked for in name, address, rack, room, tier and platform; with `*` (any characters) or `?` (one) it
 * must be the whole of one of them. The words of TEXTS take the whole of one text, with the same two; `is:` takes a state; `age` and the `search` words of metrics.ts compare with `>`, `>=`, `<`, `<=`, `=`. A minus before a
 * term turns it round, quotes keep spaces. docs/hud.md lists all words; `mirror-stage hosts forget` knows the same ones.
 */

import { METRICS, SEARCHED, unitOf, valueAt } from '../metrics';
import type { HostEntry } from '../net/wire';
import { OK, STALE, STATES } from './status';
import type { Columns, Twin } from './twin';

export type Predicate = (seat: number) => boolean;

export interface Query {
  /** null: everything matches */
  readonly compile: ((twin: Twin, now: number) => Predicate) | null;
  /** Terms that mean nothing, to be told to the person */
  readonly unknown: readonly string[];
}

type Term = (entry: HostEntry, columns: Columns, seat: number, now: number) => boolean;

const TEXTS: Record<string, (entry: HostEntry) => string | readonly string[] | null> = {
  name: (entry) => [entry.hostname, entry.displayName],
  ip: (entry) => entry.ip,
  rack: (entry) => entry.rack,
  room: (entry) => entry.room,
  tier: (entry) => entry.tier,
  platform: (entry) => entry.platform,
  agent: (entry) => entry.agentVersion,
  uplink: (entry) => entry.uplink,
  role: (entry) => entry.role,
};

/** Numbers are compared as people read them: percent, degrees, Gbit/s. */
type Reader = (columns: Columns, seat: number, now: number) => number;
const NUMBERS: Record<string, Reader> = {
  ...Object.fromEntries(
    SEARCHED.map((metric): [string, Reader] => [METRICS[metric].search, (columns, seat) => valueAt(columns, metric, seat) * unitOf(metric).times]),
  ),
  age: (columns, seat, now) => (now - (columns.lastSeenAt[seat] as number)) / 1000,
};

const COMPARE: Record<string, (left: number, right: number) => boolean> = {
  '>': (left, right) => left > right,
  '>=': (left, right) => left >= right,
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
  '=': (left, right) => left === right,
};

const ALIASES: Record<string, string> = { memory: 'mem', host: 'name', address: 'ip', temperature: 'temp' };
const IS: Record<string, Term> = {
  ...Object.fromEntries(
    STATES.map((state, code): [string, Term] => [state, (_entry, columns, seat) => columns.state[seat] === code]),
  ),
  online: (_entry, columns, seat) => (columns.state[seat] as number) < STALE,
  problem: (_entry, columns, seat) => columns.state[seat] !== OK,
  simulated: (entry) => entry.agentVersion.endsWith('+simulated'),
  virtual: (entry) => entry.isSynthetic,
};

const TOKEN = /-?(?:[a-z]+(?::|[<>]=?|=))?(?:"[^"]*"?|[^\s"]+)/giu;
const CONDITION = /^([a-z]+)(:|[<>]=?|=)(.*)$/iu;

/** The meaning of what was typed. Never throws: what cannot be understood is in `unknown`. */
export function parse(text: string): Query {
  const terms: Term[] = [];
  const unknown: string[] = [];
  for (const token of text.normalize('NFC').match(TOKEN) ?? []) {
    const isNegated = token.startsWith('-') && token.length > 1;
    const term = termOf(isNegated ? token.slice(1) : token);
    if (term === null) unknown.push(token);
    else terms.push(isNegated ? (...row) => !term(...row) : term);
  }
  if (terms.length === 0) return { compile: null, unknown };
  return {
    unknown,
    compile: (twin, now) => (seat) => {
      const entry = twin.entries[seat];
      return entry !== undefined && terms.every((term) => term(entry, twin.columns, seat, now));
    },
  };
}

function termOf(token: string): Term | null {
  const condition = CONDITION.exec(token);
  if (condition === null) return anywhere(unquoted(token));
  const [, word = '', sign = '', rest = ''] = condition;
  const key = ALIASES[word.toLowerCase()] ?? word.toLowerCase();
  const value = unquoted(rest).toLowerCase();
  if (sign === ':') {
    if (key === 'is') return IS[value] ?? null;
    const text = TEXTS[key];
    const isMeant = whole(value);
    return text ? (entry) => partsOf(text(entry)).some(isMeant) : null;
  }
  const read = NUMBERS[key];
  const compare = COMPARE[sign];
  const limit = Number(value.replace(/[%°]c?$|s$/u, ''));
  if (!read || !compare || value === '' || Number.isNaN(limit)) return null;
  return (_entry, columns, seat, now) => compare(read(columns, seat, now), limit);
}

function anywhere(word: string): Term {
  const sought = word.toLowerCase();
  const isMeant = /[*?]/u.test(sought) ? whole(sought) : (text: string) => text.toLowerCase().includes(sought);
  const places = [TEXTS.name, TEXTS.ip, TEXTS.rack, TEXTS.room, TEXTS.tier, TEXTS.platform];
  return (entry) => places.some((text) => partsOf(text?.(entry) ?? null).some(isMeant));
}

const partsOf = (text: string | readonly string[] | null): readonly string[] => (typeof text === 'string' ? [text] : (text ?? []));

/** Whether a text is all of `pattern`, in any case; `*` stands for any characters, `?` for one. */
function whole(pattern: string): (text: string) => boolean {
  const source = pattern.replace(/[.+^${}()|[\]\\]/gu, '\\$&').replaceAll('*', '.*').replaceAll('?', '.');
  const expression = new RegExp(`^${source}$`, 'isu');
  return (text) => expression.test(text);
}

function unquoted(text: string): string {
  return text.replace(/^"|"$/gu, '');
}

/** `text` with `term` added, or taken out if it is there: what a counter does when it is clicked. */
export function toggled(text: string, term: string): string {
  const terms = text.match(TOKEN) ?? [];
  const left = terms.filter((one) => one.toLowerCase() !== term.toLowerCase());
  return (left.length < terms.length ? left : [...terms, term]).join(' ');
}
