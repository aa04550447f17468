/** Links: ribbons of an even width on the screen along a curve; colour is load, width and the speed of the dashes traffic. */

import { COMMON_GLSL, SHARED_GLSL } from './common.glsl';

export const LINK_VERTEX = /* glsl */ `
${SHARED_GLSL}
uniform vec2 uHalf; // of the canvas, in pixels
attribute vec2 aAlong; // 0 to 1 along, -1 or 1 across
attribute vec3 aStart;
attribute vec3 aControl;
attribute vec3 aEnd;
attribute vec4 aFlow; // load 0 to 1 (-1 unknown), traffic 0 to 1, phase where it starts, strength
varying vec2 vAlong;
varying vec3 vWorld;
varying float vLength;
varying float vHalf;
flat varying vec4 vFlow;
vec3 at(float t) {
  return mix(mix(aStart, aControl, t), mix(aControl, aEnd, t), t);
}
void main() {
  float t = aAlong.x;
  vec3 world = at(t);
  vec4 here = projectionMatrix * viewMatrix * vec4(world, 1.);
  float step_ = t < .96 ? .04 : -.04;
  vec4 next = projectionMatrix * viewMatrix * vec4(at(t + step_), 1.);
  vec2 way = (next.xy / max(next.w, .01) - here.xy / max(here.w, .01)) * uHalf * sign(step_);
  way = length(way) > 1e-4 ? normalize(way) : vec2(0., 1.);
  float width = clamp((.35 + 1.7 * aFlow.y) * (.35 + .65 * aFlow.w) * clamp(uReach * 2. / here.w + .3, .5, 1.8), .55, 3.6);
  vHalf = width;
  float reach = width + 1.; // a pixel to soften the edge in
  here.xy += vec2(-way.y, way.x) * aAlong.y * reach / uHalf * here.w;
  here.xy += way * (t < .001 ? -1. : t > .999 ? 1. : 0.) * width * .8 / uHalf * here.w;
  vAlong = vec2(t, aAlong.y * reach);
  vWorld = world;
  vLength = distance(aStart, aControl) * .5 + distance(aControl, aEnd) * .5 + distance(aStart, aEnd) * .1;
  vFlow = aFlow;
  gl_Position = here;
}
`;

export const LINK_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
varying vec2 vAlong;
varying vec3 vWorld;
varying float vLength;
varying float vHalf;
flat varying vec4 vFlow;
void main() {
  float isKnown = step(0., vFlow.x);
  vec3 ramp = mix(stateColour(4.), loadColour(max(vFlow.x, 0.)), isKnown);
  float across = abs(vAlong.y) - vHalf;
  float body = 1. - smoothstep(-.9, .9, across);
  float core = 1. - smoothstep(0., vHalf * .8 + .3, abs(vAlong.y));
  float phase = (vFlow.z + vAlong.x * vLength) * .36 - uTime * uMotion * (.12 + vFlow.y * .85);
  float wave = fract(phase);
  float fine = fwidth(phase);
  float head = smoothstep(0., .82, wave) * (1. - smoothstep(.92, 1., wave));
  head = mix(head, .38, smoothstep(.25, .6, fine)) * step(.02, vFlow.y) * isKnown;
  vec3 colour = ramp * (.72 + .55 * head) + vec3(.5, .62, .7) * core * head * .5 * (1. - uDay);
  float alpha = body * (.36 + .3 * max(vFlow.x, 0.) + .5 * head) * vFlow.w * clearness(vWorld);
  gl_FragColor = vec4(alive(colour), alpha);
}
`;
