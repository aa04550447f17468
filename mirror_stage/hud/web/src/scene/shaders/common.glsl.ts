/** What every shader of the scene has in common: colours, haze, glyphs, digits. */

import { PALETTE_GLSL } from '../palette';

/** Seconds since the scene's last full hour, and the stage's own measures. */
export const SHARED_GLSL = /* glsl */ `
uniform float uTime;
uniform float uMotion; // 0: nothing moves by itself
uniform float uMove; // 0 to 1: how far the last change of the layout has got
uniform float uLife; // 1 live, towards 0 as the stream is lost: colour goes
uniform float uReach; // radius of the stage
uniform vec3 uCentre;
`;

/** Colours and air, for vertices too. */
export const AIR_GLSL = /* glsl */ `
precision highp float;
${SHARED_GLSL}
${PALETTE_GLSL}

/** The sky along a ray that rises so much; below the horizon what far floor sinks into, so that there is no seam. */
vec3 air(float rise) {
  vec3 colour = mix(mix(SKY, HORIZON, .55), SKY, smoothstep(0., .4, abs(rise)));
  return colour + vec3(.008, .022, .038) * exp(-abs(rise) * 13.);
}

/** How much of a point is left when it has come through the air to the camera. */
float clearness(vec3 world) {
  float far = distance(world, cameraPosition) / (uReach * 7. + 34.);
  return exp(-far * far * 1.6);
}

vec3 haze(vec3 colour, vec3 world) {
  return mix(air(normalize(world - cameraPosition).y), colour, clearness(world));
}

vec3 alive(vec3 colour) {
  return mix(vec3(dot(colour, vec3(.3, .59, .11))) * .8, colour, uLife);
}
`;

/** All of it, for fragments. */
export const COMMON_GLSL = /* glsl */ `
${AIR_GLSL}

float box(vec2 p, vec2 half_) {
  vec2 d = abs(p) - half_;
  return length(max(d, 0.)) + min(max(d.x, d.y), 0.);
}

float rounded(vec2 p, vec2 half_, float radius) {
  return box(p, half_ - radius) - radius;
}

/** Coverage of a pixel by the inside of a signed distance. */
float cover(float signed_) {
  float width = fwidth(signed_) * .75 + 1e-6;
  return 1. - smoothstep(-width, width, signed_);
}

/** Signed distance of a state's glyph in the square from -1 to 1: disc, triangle, diamond, half disc, cross. */
float glyph(vec2 p, float state) {
  if (state < .5) return length(p) - .62;
  if (state < 1.5) { p.y += .22; p.x = abs(p.x); return max(dot(p, vec2(.866, .5)) - .52, -p.y - .42); }
  if (state < 2.5) return (abs(p.x) + abs(p.y) - .92) * .7071;
  if (state < 3.5) { float d = length(p) - .66; return min(max(d, p.x), abs(d + .07) - .07); }
  p = mat2(.7071, -.7071, .7071, .7071) * p;
  return min(box(p, vec2(.82, .17)), box(p, vec2(.17, .82)));
}
`;

/**
 * `number(strip, p, value)`: digits ending at the origin, each 1 high and .58 wide, growing to the left. With 16384
 * added a percent sign follows them, with twice as much a degree sign.
 */
export const NUMBER_GLSL = /* glsl */ `
float number(sampler2D strip, vec2 p, float coded) {
  float unit = floor(coded / 16384. + 1e-4);
  float value = coded - unit * 16384.;
  float first = -min(unit, 1.);
  float place = floor(-p.x / .58) + first;
  float digit = floor(value / pow(10., max(place, 0.)) + 1e-4);
  float cellOf = place < 0. ? 9. + unit : mod(digit, 10.);
  vec2 cell = vec2(1. - fract(-p.x / .58), p.y);
  float ink = texture2D(strip, vec2((cellOf + clamp(cell.x, .02, .98)) / 12., clamp(cell.y, 0., 1.))).r;
  bool isThere = place >= first && place < 5. && p.y > 0. && p.y < 1. && (place < 1. || digit >= 1.);
  return isThere ? ink : 0.;
}
`;
