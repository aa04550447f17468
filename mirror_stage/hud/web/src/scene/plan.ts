/** What a layout says: where each host, rack and room stands, and what the next layout must know of this one. */

export interface Resident {
  readonly seat: number;
  readonly slot: number;
  readonly hostname: string;
  readonly role: 'hub' | 'ego' | 'host';
  /** null: unknown */
  readonly room: string | null;
  /** null: unknown, or the grouping has no racks */
  readonly rack: string | null;
  /** The sample's own place */
  readonly place: { readonly x: number; readonly y: number; readonly z: number } | null;
}

/** Boxes by seat, six numbers each: centre x, underside y, centre z, width, height, depth. Width 0: not there. */
export const BOX = 6;

export function boxOf({ boxes }: Plan, seat: number): [x: number, y: number, z: number, width: number, height: number, depth: number] {
  const at = seat * BOX;
  return [boxes[at] as number, boxes[at + 1] as number, boxes[at + 2] as number, boxes[at + 3] as number, boxes[at + 4] as number, boxes[at + 5] as number];
}

export interface Rack {
  readonly name: string | null;
  readonly room: number;
  /** Centre on the floor */
  readonly x: number;
  readonly z: number;
  readonly base: number;
  /** Of the frame, from the floor to the cap */
  readonly height: number;
  readonly seats: readonly number[];
  /** Its row's number in the room and whether a frame stands around it (free-standing hosts have none) */
  readonly row: number;
  readonly isFramed: boolean;
}

export interface Room {
  /** null: the hosts of which nobody said a rack or room */
  readonly name: string | null;
  readonly isUnracked: boolean;
  readonly minX: number;
  readonly maxX: number;
  readonly minZ: number;
  readonly maxZ: number;
  /** x of the way between the wings, where the room's trunk runs */
  readonly spine: number;
  /** 1: on the +z side of the corridor, -1: on the other */
  readonly side: number;
}

export interface Bounds {
  readonly minX: number;
  readonly maxX: number;
  readonly maxY: number;
  readonly minZ: number;
  readonly maxZ: number;
}

export interface Plan {
  readonly kind: 'desk' | 'hall';
  readonly boxes: Float32Array;
  /** Rack of a seat, -1: none */
  readonly rackOf: Int32Array;
  readonly racks: readonly Rack[];
  readonly rooms: readonly Room[];
  readonly hub: { readonly x: number; readonly z: number; readonly top: number };
  readonly crystal: { readonly x: number; readonly y: number; readonly z: number; readonly radius: number };
  readonly bounds: Bounds;
  readonly unit: number;
  /** Nobody was asked where he stood before: the first plan, another kind, or the fleet has outgrown the last one */
  readonly isAnew: boolean;
  readonly memory: Memory;
}

export interface RoomMemory {
  readonly rowLength: number;
  readonly side: number;
  readonly centre: number;
  readonly bays: ReadonlyMap<string, number>;
  readonly units: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

export interface Memory {
  readonly unit: number;
  /** How many racks it was made for */
  readonly racks: number;
  readonly isTwoSided: boolean;
  readonly rooms: ReadonlyMap<string, RoomMemory>;
  readonly desk: ReadonlyMap<string, number>;
  readonly offset: number;
}

export const RACK = { width: 1.5, depth: 1.5, plinth: 0.14, cap: 0.1 } as const;
