/**
 * Hosts: dark glass slabs whose front and back tell state, name and the metric chosen.
 *
 * What is even over a face (light, air, colours of the state) is worked out at its corners; a pixel only draws shapes.
 */

import { AIR_GLSL, COMMON_GLSL, NUMBER_GLSL } from './common.glsl';

export const SLAB_VERTEX = /* glsl */ `
${AIR_GLSL}
uniform float uMirror; // 1, or -1 below the floor
uniform float uByMetric; // 0: the bar has the colour of the state, 1: of its own value
attribute vec3 aFrom; // where it was before the last change of the layout
attribute vec3 aPlace; // middle of the underside
attribute vec3 aSize; // 0: nobody has this seat
attribute vec4 aBar; // from, to (0 to 1, -1 unknown), since (seconds), state
attribute vec4 aTint; // number to write with its unit (-1 none), cell of its name (-1 none), 1 if it matches the filter (and 2 if selected, and 4 if number and bar are what fired), fire_at as 0 to 1 (2: none)
varying vec3 vBody; // the glass without anything on it
varying vec4 vAir; // colour, and how much of the slab comes through it
varying float vHeight;
flat varying vec3 vMark; // colour of the state
flat varying vec3 vMetric; // colour of the bar
flat varying vec4 vNow; // value, brightness of the pulse, 1 if it asks for attention, 1 if it is silent
flat varying vec3 vNormal;
varying vec2 vFace; // on the face, from its lower left corner, in units of the scene
varying vec2 vExtent; // of that face
flat varying vec4 vBar;
flat varying vec4 vTint;
void main() {
  vec3 world = mix(aFrom, aPlace, uMove) + position * aSize;
  vec3 at = position + vec3(.5, 0., .5);
  vec2 side = vec2(normal.z < 0. ? 1. - at.x : at.x, at.y);
  vFace = abs(normal.y) > .5 ? at.xz : abs(normal.x) > .5 ? vec2(at.z, at.y) : side;
  vExtent = abs(normal.y) > .5 ? aSize.xz : abs(normal.x) > .5 ? aSize.zy : aSize.xy;
  vFace *= vExtent;
  vNormal = normal;
  vBar = aBar;
  vTint = aTint;
  float state = aBar.w;
  float value = mix(aBar.x, aBar.y, smoothstep(0., .4, uTime - aBar.z));
  float isSilent = step(2.5, state);
  float isProblem = step(.5, state);
  float beat = (state > 1.5 && state < 2.5) || state > 3.5 ? 1. - uMotion * .32 * (.5 - .5 * cos(uTime * 3.77)) : 1.; // 0.6 Hz
  vMark = stateColour(state);
  // A bar has the colour of a warning only if it shows what the warning is about.
  bool isOther = isProblem > .5 && isSilent < .5 && aTint.z < 3.5;
  vMetric = uByMetric > .5 && isSilent < .5 ? loadColour(value) : isOther ? stateColour(0.) : vMark;
  vNow = vec4(value, beat, isProblem, isSilent);

  world.y *= uMirror;
  vHeight = world.y;
  vec3 eye = normalize(cameraPosition - world);
  vec3 facing = vec3(normal.x, normal.y * uMirror, normal.z);
  float grazing = pow(1. - max(dot(facing, eye), 0.), 3.);
  // The stage's one light stands high behind the camera's left; glass shows it as a soft strip.
  float lit = normal.y > .5 ? 1. : normal.z > .5 ? .58 : normal.x < -.5 ? .46 : .26;
  float bounce = reflect(-eye, facing).y;
  float strip = smoothstep(0., .5, bounce) * (1. - smoothstep(.5, .95, bounce));
  vBody = BODY * (.42 + lit * .85) + LIGHT * (.035 * strip + .07 * grazing);
  vBody *= mix(.62 + .38 * clamp(abs(world.y) / 1.6, 0., 1.), 1., uDay * .7); // near the floor less light comes
  vAir = vec4(air(-eye.y), clearness(world));
  gl_Position = projectionMatrix * viewMatrix * vec4(world, 1.);
}
`;

export const SLAB_FRAGMENT = /* glsl */ `
${COMMON_GLSL}
${NUMBER_GLSL}
uniform float uMirror;
uniform float uThrough; // 1: only what is found, half through what stands before it
uniform float uByMetric;
uniform sampler2D uNames;
uniform vec2 uNameGrid; // cells across, cells down
uniform sampler2D uDigits;
varying vec3 vBody;
varying vec4 vAir;
varying float vHeight;
flat varying vec3 vMark;
flat varying vec3 vMetric;
flat varying vec4 vNow;
flat varying vec3 vNormal;
varying vec2 vFace;
varying vec2 vExtent;
flat varying vec4 vBar;
flat varying vec4 vTint;

void main() {
  float state = vBar.w;
  float value = vNow.x;
  float beat = vNow.y;
  float isProblem = vNow.z;
  float isSilent = vNow.w;
  float isFired = step(3.5, vTint.z);
  float isChosen = step(1.5, vTint.z - 4. * isFired);
  float isMatching = vTint.z - 4. * isFired - 2. * isChosen;
  if (uThrough > .5 && isMatching < .5) discard;
  float isKnown = step(0., vBar.y);
  float isOffline = step(3.5, state);
  vec3 mark = vMark;
  vec3 metric = vMetric;
  vec3 colour = vBody;
  float lit = vNormal.y > .5 ? 1. : vNormal.z > .5 ? .58 : vNormal.x < -.5 ? .46 : .26;

  vec2 pixel = vec2(length(vec2(dFdx(vFace.x), dFdy(vFace.x))), length(vec2(dFdx(vFace.y), dFdy(vFace.y)))) + 1e-5;
  float tall = vExtent.y / pixel.y; // of this face, in pixels
  vec2 away = min(vFace, vExtent - vFace); // from the nearest edges

  if (abs(vNormal.z) > .5) {
    float h = vExtent.y;
    float w = vExtent.x;
    float hasName = step(0., vTint.y);
    float near = smoothstep(10.5, 13.5, tall) * hasName;
    float legible = smoothstep(.55, 1., near); // the bar makes room first
    float pad = min(.07, h * .35);

    float radius = min(h * .36, mix(.1, .12, step(.5, h)));
    vec2 glyphAt = vec2(pad + max(radius, .05) + .015, h * mix(.5, .61, step(.5, h)));
    float ring = glyph((vFace - glyphAt) / radius, state) * radius;
    float shine = exp(-max(ring, 0.) * 16.) * .2;

    float left = pad + mix(.2, .3, step(.5, h));
    float right = w - pad - .02;
    float x = (vFace.x - left) / (right - left);
    float middle = mix(h * .5, h * mix(.17, .22, step(.5, h)), near);
    float thick = mix(h * .26, min(h * .08, .045), near);
    vec2 centre = vec2((left + right) * .5, middle);
    float track = rounded(vFace - centre, vec2((right - left) * .5, thick), min(thick, .03));
    float filled = cover(max(track, (x - max(value, .012)) * (right - left))) * isKnown * (1. - isOffline);
    float head = smoothstep(value - .25, value, x);
    float hatch = state > 2.5 && state < 3.5 ? mix(smoothstep(.36, .5, abs(fract((vFace.x + vFace.y) * 9.) - .5) * 2.), .5, smoothstep(.3, .8, fwidth(vFace.x * 9.))) : 1.;
    float calm = mix(.66, 1., max(isProblem, uByMetric));
    float strength = beat * mix(calm * .82, min(calm + .25, 1.05), head);
    vec3 ink = mix(metric * strength, mix(BODY, metric, min(strength + .15, 1.)), uDay);
    vec3 face = colour;
    face = mix(face, WELL, cover(track) * .85);
    face = mix(face, ink, filled * hatch);
    float tick = cover(max(abs(vFace.x - left - vTint.w * (right - left)) - .006, abs(vFace.y - middle) - thick * 1.35));
    face = mix(face, HAIR, tick * smoothstep(7., 12., tall) * step(vTint.w, 1.) * (1. - isSilent) * .8);
    face = mix(face, mark * beat, shine * mix(.4, 1., isProblem));
    face = mix(face, mark * beat, cover(ring));
    // A host in trouble lights its whole face a little, so that a row is read without reading glyphs.
    face = mix(face, mark * beat, isProblem * .1 * (1. - isSilent * .6) * smoothstep(w, 0., vFace.x));
    // What is dead is seen first: its face is one plate of its colour, and what stands on it is dark.
    face = mix(face, mark * beat * (.62 + .2 * smoothstep(w, 0., vFace.x)), isOffline);
    face = mix(face, SKY, cover(ring) * isOffline);

    if (hasName > .5) {
    float letter = min(h * .6, mix(.19, .25, step(.5, h)));
    float line = h * mix(.31, .42, step(.5, h));
    vec2 nameAt = vec2(vFace.x - left, vFace.y - line) / letter;
    vec2 cell = vec2(mod(vTint.y, uNameGrid.x), floor(vTint.y / uNameGrid.x));
    vec2 uv = vec2((cell.x + clamp(nameAt.x / 8., .002, .998)) / uNameGrid.x, 1. - (cell.y + 1. - clamp(nameAt.y, .01, .99)) / uNameGrid.y);
    float text = texture2D(uNames, uv).r * step(0., nameAt.x) * step(nameAt.x, 8.) * step(0., nameAt.y) * step(nameAt.y, 1.);
    face = mix(face, mix(mix(INK, mark, isProblem * (.65 - .4 * uDay)), SKY, isOffline), text * legible);
    float figure = number(uDigits, vec2(vFace.x - right, vFace.y - line) / letter, max(vTint.x, 0.));
    face = mix(face, mix(FIGURE, metric, max(isProblem * isFired, uByMetric) * (1. - .35 * uDay)), figure * legible * step(0., vTint.x) * (1. - isOffline));
    }

    // Too far to read: one quiet tone for the host, its state and load, instead of lines that would shimmer.
    vec3 heat = mix(colour, mix(metric, mark, isProblem * (1. - uByMetric)) * beat, mix(.34 + .45 * max(value, 0.), .9, isProblem));
    float blur = max(1. - smoothstep(1.6, 4.2, tall), uMirror < 0. ? smoothstep(.1, 2.2, -vHeight) * .8 : 0.);
    colour = mix(face, heat, blur * smoothstep(0., .12, x + .2));
  }

  if (isChosen > .5) {
    float frame = -box(vFace - vExtent * .5, vExtent * .5);
    float width = max(fwidth(frame), .008);
    colour = mix(colour, ACCENT, .12 + .8 * (1. - smoothstep(width * .8, width * 2., frame)));
  }

  // Bevelled edges catch the light, as wide as a pixel at least, gone when they would be all there is.
  float edge = min(away.x, away.y);
  float line = 1. - smoothstep(0., max(.012, length(pixel) * .9), edge);
  float up = smoothstep(0., vExtent.y, vFace.y);
  colour += LIGHT * line * mix(.07, .2, abs(vNormal.y) > .5 ? 1. : up) * smoothstep(abs(vNormal.x) > .5 ? 7. : 3., abs(vNormal.x) > .5 ? 16. : 9., tall) * lit;
  if (vNormal.y > .5) { // the lid: an inset panel
    float lid = -box(vFace - vExtent * .5, vExtent * .5);
    float width = fwidth(lid);
    colour += LIGHT * .07 * (1. - smoothstep(width * .5, width * 1.6, abs(lid - .12)));
    colour = mix(colour, mark, isProblem * beat * .06 * smoothstep(vExtent.y, 0., vFace.y));
  }
  colour = mix(mix(GONE, colour, .22), colour, isMatching); // filtered out: its shadow stays
  colour = alive(colour);
  if (uMirror < 0.) colour = mix(FLOOR, colour, .9 * exp(vHeight * .36));
  gl_FragColor = vec4(mix(vAir.rgb, colour, vAir.a), mix(1., .6, uThrough));
}
`;
