/** Instants as people type them: `03:00`, `yesterday 03:00`, `어제 오후 3시`, `Mon 14:30`, `2 h ago`, `30분 전`, `2026-11-24 12:00`. Pure but for the zone. */

const DAYS_BACK: Record<string, number> = { today: 0, 오늘: 0, yesterday: 1, 어제: 1, 그제: 2, 그저께: 2 };
const WEEKDAYS = [/^(sun|일)/, /^(mon|월)/, /^(tue|화)/, /^(wed|수)/, /^(thu|목)/, /^(fri|금)/, /^(sat|토)/];
const UNITS: readonly (readonly [pattern: RegExp, seconds: number])[] = [
  [/^(s|sec|secs|second|seconds|초)$/, 1],
  [/^(m|min|mins|minute|minutes|분)$/, 60],
  [/^(h|hr|hrs|hour|hours|시간)$/, 3_600],
  [/^(d|day|days|일)$/, 86_400],
  [/^(w|week|weeks|주)$/, 604_800],
];

/** Milliseconds since 1970 of what was typed; null: it means nothing, or it has not been yet. `now` likewise. */
export function momentOf(text: string, now: number): number | null {
  const said = text.normalize('NFC').trim().toLowerCase();
  if (said === '') return null;
  const at = ago(said, now) ?? written(said) ?? spoken(said, now);
  return at === null || Number.isNaN(at) || at > now ? null : at;
}

/** `2 h ago`, `-90m`, `2시간 전` */
function ago(said: string, now: number): number | null {
  const [, minus, amount, unit = '', word] = /^(-)?\s*(\d+(?:\.\d+)?)\s*([a-z가-힣]+?)\s*(ago|전)?$/.exec(said) ?? [];
  const seconds = UNITS.find(([pattern]) => pattern.test(unit))?.[1];
  return amount === undefined || seconds === undefined || (minus ?? word) === undefined ? null : now - Number(amount) * seconds * 1000;
}

/** `2026-11-24`, `2026-11-24 12:00`, `2026-11-24T12:00:00Z`: without a zone that of the browser */
function written(said: string): number | null {
  const [, date, time, zone = ''] = /^(\d{4}-\d\d-\d\d)(?:[t ]+(\d\d?:\d\d(?::\d\d(?:\.\d+)?)?)(z|[+-]\d\d:?\d\d)?)?$/.exec(said) ?? [];
  return date === undefined ? null : Date.parse(`${date}T${(time ?? '00:00').padStart(5, '0')}${zone.toUpperCase()}`);
}

/** A day and a time of day; without a day the last time that the clock showed it. */
function spoken(said: string, now: number): number | null {
  const time = timeOf(said);
  const day = said.replace(time?.text ?? '', '').replace(/[,\s]+|\bat\b|\bon\b|에$/g, '');
  if (time === null && day === '') return null;
  const today = new Date(now);
  const dated = (back: number): number =>
    new Date(today.getFullYear(), today.getMonth(), today.getDate() - back, time?.hour ?? 0, time?.minute ?? 0, time?.second ?? 0).getTime();
  if (day === '') return dated(0) > now ? dated(1) : dated(0);
  if (DAYS_BACK[day] !== undefined) return dated(DAYS_BACK[day]);
  const weekday = WEEKDAYS.findIndex((pattern) => pattern.test(day));
  if (weekday === -1 || !/^([a-z]{3,9}|[일월화수목금토](요일)?)$/.test(day)) return null;
  const back = (today.getDay() - weekday + 7) % 7;
  return dated(back) > now ? dated(back + 7) : dated(back);
}

interface TimeOfDay {
  readonly text: string;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

/** `3`, `03:00`, `3:00:15 pm`, `3pm`, `오후 3시 15분`, `오후 3:15`; a bare number is no time */
function timeOf(said: string): TimeOfDay | null {
  const colon = /(오전|오후)?\s*(\d{1,2}):(\d\d)(?::(\d\d))?\s*(am|pm)?/.exec(said);
  const hours = /(오전|오후)?\s*(\d{1,2})\s*시\s*(?:(\d{1,2})\s*분)?(?:\s*(\d{1,2})\s*초)?()/.exec(said);
  const half = /()(\d{1,2})()()\s*(am|pm)/.exec(said);
  const found = colon ?? hours ?? half;
  if (found === null) return null;
  const [text, before, hourText = '', minute, second, after] = found;
  const isAfternoon = before === '오후' || after === 'pm';
  const isHalf = isAfternoon || before === '오전' || after === 'am';
  const number = Number(hourText);
  if (number > (isHalf ? 12 : 23) || Number(minute || 0) > 59 || Number(second || 0) > 59) return null;
  return { text, hour: isHalf ? (number % 12) + (isAfternoon ? 12 : 0) : number, minute: Number(minute || 0), second: Number(second || 0) };
}
