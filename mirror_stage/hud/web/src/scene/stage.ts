/** What all parts of the scene share: the uniforms that every shader reads, and how a material is made of them. */

import { DoubleSide, FrontSide, ShaderMaterial, Vector3, type IUniform, type Side } from 'three';
import { PALETTE } from './palette';

export interface Shared {
  readonly uTime: IUniform<number>;
  readonly uMotion: IUniform<number>;
  readonly uMove: IUniform<number>;
  readonly uLife: IUniform<number>;
  readonly uReach: IUniform<number>;
  readonly uCentre: IUniform<Vector3>;
  readonly uPalette: IUniform<Vector3[]>;
  readonly uDay: IUniform<number>;
}

export function sharedUniforms(): Shared {
  return {
    uTime: { value: 0 },
    uMotion: { value: 1 },
    uMove: { value: 1 },
    uLife: { value: 1 },
    uReach: { value: 10 },
    uCentre: { value: new Vector3() },
    uPalette: { value: PALETTE.map(() => new Vector3()) },
    uDay: { value: 0 },
  };
}

interface Look {
  vertexShader: string;
  fragmentShader: string;
  uniforms?: Record<string, IUniform>;
  /** Drawn over what is there, by its alpha */
  isOverlay?: boolean;
  /** Drawn first, behind everything */
  isBackdrop?: boolean;
  side?: Side;
  /** Drawn half over whatever stands before it */
  isSeenThrough?: boolean;
}

export function material(shared: Shared, { vertexShader, fragmentShader, uniforms = {}, isOverlay = false, isBackdrop = false, side = FrontSide, isSeenThrough = false }: Look): ShaderMaterial {
  return new ShaderMaterial({
    vertexShader,
    fragmentShader,
    uniforms: { ...shared, ...uniforms }, // the uniform objects themselves: one write reaches all
    transparent: isOverlay || isSeenThrough,
    depthWrite: !isOverlay && !isBackdrop && !isSeenThrough,
    depthTest: !isBackdrop && !isSeenThrough,
    side: isOverlay ? DoubleSide : side,
  });
}

/** The order of drawing: what is below the floor, the floor over it, then what stands on it. */
export const ORDER = { sky: 0, mirrored: 1, floor: 2, standing: 3, written: 4, links: 5, rings: 6 } as const;
