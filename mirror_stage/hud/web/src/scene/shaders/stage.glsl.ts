/** The stage: sky, glossy floor, what is written on it, EGO's crystal, the ring around what is selected. */

import { COMMON_GLSL, SHARED_GLSL } from './common.glsl';

export const SKY_VERTEX = /* glsl */ `
varying vec3 vRay;
uniform mat4 uUnproject;
void main() {
  vec4 far = uUnproject * vec4(position.xy, 1., 1.);
  vRay = far.xyz / far.w;
  gl_Position = vec4(position.xy, 1., 1.);
}
`;

export const SKY_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
varying vec3 vRay;
void main() {
  float rise = normalize(vRay - cameraPosition).y;
  // Below the floor is the dark glass of the world behind the mirror.
  vec3 colour = alive(mix(air(rise), HORIZON * .95, smoothstep(.02, .3, -rise)));
  // Dither: a dark gradient in eight bits shows its steps.
  colour += (fract(sin(dot(gl_FragCoord.xy, vec2(12.9898, 78.233))) * 43758.5453) - .5) / 255.;
  gl_FragColor = vec4(colour, 1.);
}
`;

export const FLOOR_VERTEX = /* glsl */ `
${SHARED_GLSL}
varying vec3 vWorld;
void main() {
  vec3 world = position * (uReach * 14. + 200.) + vec3(uCentre.x, 0., uCentre.z);
  vWorld = world;
  gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.);
}
`;

export const FLOOR_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
varying vec3 vWorld;
float grid(vec2 at, float pitch, float strength) {
  vec2 cell = at / pitch;
  vec2 width = fwidth(cell);
  vec2 line = 1. - smoothstep(width * .4, width * 1.4, abs(fract(cell - .5) - .5));
  vec2 calm = 1. - smoothstep(.08, .3, width); // finer than a few pixels: a tone, not lines
  return max(line.x * calm.x, line.y * calm.y) * strength;
}
void main() {
  vec3 eye = normalize(cameraPosition - vWorld);
  float out_ = length((vWorld - uCentre).xz) / uReach;
  float pool = exp(-out_ * out_ * 1.1); // the light of the stage falls on its middle
  float facing = max(eye.y, 0.);
  vec3 colour = FLOOR * mix(.55 + .75 * pool, .97 + .03 * pool, uDay);
  colour = mix(colour, LINE, (grid(vWorld.xz, 2., .1) + grid(vWorld.xz, 10., .18)) * (.12 + .88 * pool));
  colour += LIGHT * .075 * pool * pool;
  float gloss = mix(.5, .3, facing); // seen steeply, the mirror is clearer: it is dark glass over the world below
  gl_FragColor = vec4(haze(alive(colour), vWorld), mix(gloss, 1., smoothstep(1.6, 4., out_)));
}
`;

export const DECAL_VERTEX = /* glsl */ `
${SHARED_GLSL}
attribute vec4 aRect; // middle x, middle z, width, depth
attribute vec4 aCell; // of the atlas: left, top, width, height
attribute vec2 aKind; // 0 writing, 1 room, 2 shadow; strength
varying vec3 vWorld;
varying vec2 vAt;
varying vec2 vUv;
flat varying vec2 vSize;
flat varying vec2 vKind;
void main() {
  vec3 world = vec3(aRect.x + position.x * aRect.z, .004 + .004 * (2. - aKind.x), aRect.y + position.z * aRect.w);
  vWorld = world;
  vAt = position.xz * aRect.zw;
  vUv = vec2(aCell.x + (position.x + .5) * aCell.z, 1. - (aCell.y + (position.z + .5) * aCell.w));
  vSize = aRect.zw;
  vKind = aKind;
  gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.);
}
`;

export const DECAL_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
uniform sampler2D uWriting;
varying vec3 vWorld;
varying vec2 vAt;
varying vec2 vUv;
flat varying vec2 vSize;
flat varying vec2 vKind;
void main() {
  float clear = clearness(vWorld);
  float writing = texture2D(uWriting, vUv).r;
  vec4 ink = vec4(INK, writing * vKind.y * clear);
  if (vKind.x > 1.5) {
    float d = box(vAt, vSize * .5 - .62);
    ink = vec4(SKY * .4, vKind.y * (1. - smoothstep(-.3, .62, d)) * smoothstep(-.7, .0, d) * clear);
  } else if (vKind.x > .5) {
    float d = rounded(vAt, vSize * .5 - .06, .35);
    float width = fwidth(d);
    float hair = 1. - smoothstep(width * .6, width * 1.7, abs(d));
    float inside = cover(d);
    ink = vec4(mix(LINE, INK, hair * .4), (inside * .05 + inside * .05 * exp(d * 1.6) + hair * .42) * vKind.y * clear);
  }
  gl_FragColor = vec4(alive(ink.rgb), ink.a);
}
`;

export const CRYSTAL_VERTEX = /* glsl */ `
${SHARED_GLSL}
attribute float aMirror; // 1, or -1 below the floor
uniform vec4 uCrystal; // middle and radius
uniform float uTurn;
varying vec3 vWorld;
varying vec3 vFacet;
varying vec3 vCorner;
attribute vec3 aCorner;
flat varying float vMirror;
vec3 turned(vec3 v) {
  float c = cos(uTurn), s = sin(uTurn);
  return vec3(c * v.x + s * v.z, v.y, c * v.z - s * v.x);
}
void main() {
  vec3 world = uCrystal.xyz + turned(position * vec3(.78, 1.32, .78)) * uCrystal.w;
  world.y += .05 * uCrystal.w * sin(uTime * .7) * uMotion;
  vFacet = turned(normalize(normal * vec3(1.28, .76, 1.28)));
  world.y *= aMirror;
  vMirror = aMirror;
  vCorner = aCorner;
  vWorld = world;
  gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.);
}
`;

export const CRYSTAL_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
uniform float uState; // the worst of all hosts
varying vec3 vWorld;
varying vec3 vFacet;
varying vec3 vCorner;
flat varying float vMirror;
void main() {
  vec3 eye = normalize(cameraPosition - vWorld);
  vec3 normal = normalize(vec3(vFacet.x, vFacet.y * vMirror, vFacet.z));
  float facing = max(dot(normal, eye), 0.);
  float rim = pow(1. - facing, 2.2);
  vec3 bounce = reflect(-eye, normal);
  float sky = smoothstep(-.2, .9, bounce.y);
  float window = smoothstep(.55, .62, bounce.y) * (1. - smoothstep(.86, .92, bounce.y));
  vec3 tint = uState > .5 ? stateColour(uState) : ACCENT;
  vec3 colour = mix(vec3(.02, .06, .11), tint * .46, sky * .75 + .15) + tint * rim * .5 + FIGURE * window * .28;
  float edge = min(vCorner.x, min(vCorner.y, vCorner.z));
  float width = fwidth(edge);
  colour += mix(FIGURE, tint, .4) * (1. - smoothstep(width * .6, width * 2.2, edge)) * .42 * smoothstep(.0, .35, facing); // a facet seen from its side is all edge
  colour += tint * .22 * exp(-edge * 14.);
  colour = alive(colour);
  if (vMirror < 0.) colour = mix(FLOOR, colour, .6 * exp(vWorld.y * .2));
  gl_FragColor = vec4(haze(colour, vWorld), 1.);
}
`;

export const RING_VERTEX = /* glsl */ `
${SHARED_GLSL}
attribute vec3 aMiddle;
attribute vec3 aSize;
attribute float aStrength;
varying vec3 vWorld;
varying vec2 vAt;
flat varying vec2 vSize;
flat varying float vStrength;
void main() {
  vec2 reach = aSize.xz + 1.3;
  vec3 world = aMiddle + vec3(position.x * reach.x, 0., position.z * reach.y);
  vWorld = world;
  vAt = position.xz * reach;
  vSize = aSize.xz;
  vStrength = aStrength;
  gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.);
}
`;

export const RING_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
varying vec3 vWorld;
varying vec2 vAt;
flat varying vec2 vSize;
flat varying float vStrength;
void main() {
  float d = rounded(vAt, vSize * .5 + .2, .16);
  float width = max(fwidth(d), .012);
  float line = 1. - smoothstep(width * .5, width * 1.5, abs(d));
  float glow = exp(-abs(d) * 9.) * .34 * (1. - smoothstep(.2, .38, abs(d)));
  float breath = 1. - .2 * uMotion * (.5 - .5 * cos(uTime * 2.2));
  gl_FragColor = vec4(mix(vStrength < 0. ? stateColour(4.) : ACCENT, FIGURE, .45 * line), (line + glow) * abs(vStrength) * breath);
}
`;
