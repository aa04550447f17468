/** In which room and rack a host stands, for each way of grouping. The world and the flat plan both follow it. Pure. */

export interface Placed {
  readonly room: string | null;
  readonly rack: string | null;
  readonly tier: string | null;
  readonly platform: string;
  readonly uplink: string | null;
  readonly agentVersion: string;
}

export interface Home {
  /** null: unknown */
  readonly room: string | null;
  /** null: unknown, or the grouping has no racks */
  readonly rack: string | null;
}

/** 'rack' keeps the real rooms and racks; any other grouping makes a room of each value. */
const HOMES = {
  rack: ({ room, rack }: Placed): Home => (rack === null ? { room: null, rack: null } : { room: room ?? '', rack }),
  room: ({ room }: Placed): Home => ({ room, rack: null }),
  tier: ({ tier }: Placed): Home => ({ room: tier, rack: null }),
  platform: ({ platform }: Placed): Home => ({ room: platform || null, rack: null }),
  uplink: ({ uplink }: Placed): Home => ({ room: uplink, rack: null }),
  agent: ({ agentVersion }: Placed): Home => ({ room: agentVersion || null, rack: null }),
} as const;

export type GroupBy = keyof typeof HOMES;
export const GROUP_BY = Object.keys(HOMES) as readonly GroupBy[];

export function homeOf(entry: Placed, groupBy: GroupBy): Home {
  return HOMES[groupBy](entry);
}
