/** Racks: plinth, posts and a cap that says how many hosts need somebody. Neutral; only a number and a hairline are lit. */

import { COMMON_GLSL, NUMBER_GLSL, SHARED_GLSL } from './common.glsl';

export const RACK_VERTEX = /* glsl */ `
${SHARED_GLSL}
uniform float uMirror;
attribute float aPart; // 0 plinth, 1 post, 2 cap
attribute vec3 aFrom;
attribute vec3 aPlace; // on the floor
attribute vec3 aSize; // width, height, depth of the whole
attribute vec4 aCap; // number, state it is about (-1: just how many hosts), 1 if it matches the filter, 1 if it has a hairline
varying vec3 vWorld;
varying vec3 vNormal;
varying vec2 vTop;
flat varying float vPart;
flat varying vec4 vCap;
void main() {
  // Plinth and cap keep their thickness however tall the rack is; posts reach from one to the other.
  vec3 at = position;
  vec3 local = vec3(at.x * aSize.x, 0., at.z * aSize.z);
  local.y = aPart < .5 ? at.y * .1 : aPart < 1.5 ? mix(.1, aSize.y, at.y) : aSize.y + at.y * .07;
  if (aPart > .5 && aPart < 1.5) local.xz = sign(at.xz) * (aSize.xz * .5 - .03 + (abs(at.xz) - .75) * .12);
  vec3 world = mix(aFrom, aPlace, uMove) + local;
  world.y *= uMirror;
  vWorld = world;
  vNormal = normal;
  vTop = (at.xz) * aSize.xz;
  vPart = aPart;
  vCap = aCap;
  gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.);
}
`;

export const RACK_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
${NUMBER_GLSL}
uniform float uMirror;
uniform sampler2D uDigits;
varying vec3 vWorld;
varying vec3 vNormal;
varying vec2 vTop;
flat varying float vPart;
flat varying vec4 vCap;
void main() {
  vec3 eye = normalize(cameraPosition - vWorld);
  vec3 normal = vec3(vNormal.x, vNormal.y * uMirror, vNormal.z);
  float grazing = pow(1. - max(dot(normal, eye), 0.), 3.);
  float lit = vNormal.y > .5 ? 1. : vNormal.z > .5 ? .6 : vNormal.x < -.5 ? .5 : .3;
  vec3 colour = BODY * (.35 + lit * .75) + LIGHT * (.06 * grazing + (vPart > .5 && vPart < 1.5 ? .05 * lit : 0.));
  vec3 mark = stateColour(max(vCap.y, 0.));
  if (vPart > 1.5) {
    vec2 reach = vec2(.75, .75);
    float edge = -box(vTop, reach);
    float width = fwidth(edge) + 1e-5;
    float hair = 1. - smoothstep(width * .5, width * 1.5, abs(edge - .07));
    if (vNormal.y > .5) {
      colour = BODY * .95 + LIGHT * (.05 + .1 * grazing);
      colour = mix(colour, vCap.w > .5 ? mark : HAIR, hair * (vCap.w > .5 ? .95 : .5));
      float digits = vCap.x > 999.5 ? 4. : vCap.x > 99.5 ? 3. : vCap.x > 9.5 ? 2. : 1.;
      float isTold = step(0., vCap.y);
      float tall = .62;
      float span = (digits * .58 + isTold * 1.) * tall;
      vec2 p = vec2(vTop.x, -vTop.y);
      float figure = number(uDigits, (p - vec2(span * .5, -tall * .5)) / tall, vCap.x);
      float shape = cover(glyph((p - vec2(-span * .5 + tall * .32, 0.)) / (tall * .36), max(vCap.y, 0.)) * tall * .36) * isTold;
      float seen = 1. - smoothstep(.05, .11, fwidth(vTop.x));
      colour = mix(colour, isTold > .5 ? mark : mix(colour, INK, .4), max(figure, shape) * seen);
      colour = mix(colour, mark * .8, isTold * (1. - seen) * .55 * smoothstep(.75, .0, length(vTop)));
    } else {
      colour = vCap.w > .5 ? mix(colour, mark, .3) : colour + LIGHT * .06;
    }
  }
  colour = mix(mix(GONE, colour, .22), colour, vCap.z);
  colour = alive(colour);
  if (uMirror < 0.) colour = mix(FLOOR, colour, .86 * exp(vWorld.y * .36));
  gl_FragColor = vec4(haze(colour, vWorld), 1.);
}
`;
