/** The processes of a host as rows: those of now with their past, or those of a minute of the past. Pure. */

import type { Process, ProcessHistory, ProcessMinutes } from '../../net/openapi';
import type { Series } from './figures';

export const PROCESS_COLUMNS = ['name', 'cpuPercent', 'memoryPercent'] as const;
export type ProcessColumn = (typeof PROCESS_COLUMNS)[number];

export interface ProcessRow {
  readonly key: string;
  readonly name: string;
  /** Its number if it is one of now, its user, how many they are */
  readonly notes: readonly string[];
  readonly cpuPercent: number | null;
  readonly memoryPercent: number | null;
  /** What EGO has noted of all processes of this name and user */
  readonly past: ProcessMinutes | undefined;
}

/** The rows in the order of a column: names rising, numbers falling, what is unknown last. `live` are the processes of now; empty: those of the past are meant. */
export function rowsOf(live: readonly Process[], history: ProcessHistory | null, by: ProcessColumn): ProcessRow[] {
  const noted = history?.items ?? [];
  const rows =
    live.length > 0
      ? live.map(({ pid, name, username, cpuPercent, memoryPercent }, place) => ({
          key: String(pid ?? `${name}${place}`),
          name,
          notes: [pid, username].flatMap((one) => (one === null ? [] : [String(one)])),
          cpuPercent,
          memoryPercent,
          past: noted.find((one) => one.name === name && one.username === username),
        }))
      : noted.map((past) => ({
          key: `${past.name}\n${past.username}`,
          name: past.name,
          notes: [...(past.username === null ? [] : [past.username]), ...((past.count ?? 1) > 1 ? [`×${past.count}`] : [])],
          cpuPercent: past.cpuPercent,
          memoryPercent: past.memoryPercent,
          past,
        }));
  return rows.sort((one, other) =>
    by === 'name' ? one.name.localeCompare(other.name) : (other[by] ?? -1) - (one[by] ?? -1) || one.name.localeCompare(other.name),
  );
}

/** What a row is drawn of, with the time in seconds; a process is a line of CPU, unless memory is what is looked at. */
export function seriesOf(row: ProcessRow, history: ProcessHistory, by: ProcessColumn): Series {
  const values = by === 'memoryPercent' ? row.past?.memory : row.past?.cpu;
  return [history.t.map((time) => Date.parse(time) / 1000), values ?? []];
}

export const sinceOf = (row: ProcessRow, by: ProcessColumn): ProcessMinutes['cpuSince'] => (by === 'memoryPercent' ? row.past?.memorySince : row.past?.cpuSince) ?? null;

/** `14:32:00` of a whole minute without its seconds */
export const minuteText = (text: string): string => text.replace(/:00(?!.*:\d\d)/, '');
