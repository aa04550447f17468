/**
 * three.js without what this scene never uses: its own materials and their programs (the scene draws with its own),
 * shapes that morph, headsets, lights, shadows, backgrounds, effects, animations, loaders, blocks of uniforms, names of
 * colours, and objects written as JSON. That is a seventh of the 280 kB that all may have, and a bundler cannot leave it
 * out, because the rest of three.js names it.
 */

import type { Plugin } from 'vite';

/** A text of GLSL as three.js writes it: one line, one name, line breaks as \n. */
const TEXT = /^(?:var|const) ([\w$]+) = "(?:[^"\\\n]|\\.)*\\n(?:[^"\\\n]|\\.)*";$/gm;
const KEPT = new Set(['colorspace_pars_fragment', 'tonemapping_pars_fragment']); // they stand before every program

/** What the renderer asks of parts that are always off. */
const STUBS: Record<string, string> = {
  WebXRManager: `class WebXRManager extends EventDispatcher {
    enabled = false; isPresenting = false;
    setAnimationLoop() {} getEnvironmentBlendMode() {} dispose() {}
  }`,
  WebGLShadowMap: 'function WebGLShadowMap() { this.enabled = false; this.render = () => {}; }',
  PMREMGenerator: 'class PMREMGenerator { dispose() {} }',
  WebGLEnvironments: 'function WebGLEnvironments() { return { get: (texture) => texture ?? null, dispose() {} }; }',
  WebGLMaterials: `function WebGLMaterials() {
    return { refreshFogUniforms() {}, refreshMaterialUniforms(uniforms, material) { material.uniformsNeedUpdate = false; } };
  }`, // all that it does for a material of our own
  WebGLMorphtargets: 'function WebGLMorphtargets() { return { update() {} }; }',
  WebGLUniformsGroups: 'function WebGLUniformsGroups() { return { bind() {}, update() {}, dispose() {} }; }',
  ShaderChunk: 'const ShaderChunk = { colorspace_pars_fragment, tonemapping_pars_fragment };',
  ShaderLib: 'const ShaderLib = { standard: {} };',
  WebGLBackground: `function WebGLBackground(renderer, environments, state, objects, alpha, premultipliedAlpha) {
    const { color, depth } = state.buffers;
    function render() {
      color.setClear(0, 0, 0, alpha ? 0 : 1, premultipliedAlpha);
      depth.setTest(true);
      depth.setMask(true);
      color.setMask(true);
      renderer.clear();
    }
    return { render, addToRenderList() {}, dispose() {} };
  }`, // the scene draws its own
  Triangle: 'class Triangle {}', // the scene picks by itself
  WebGLOutput: 'class WebGLOutput {}',
  WebGLLights: `function WebGLLights() {
    const none = [];
    const state = {
      version: 0, numSpotLightShadowsWithMaps: 0, numLightProbes: 0,
      sun: none, directional: none, point: none, spot: none, spotLightMap: none, rectArea: none, hemi: none,
      sunShadowMap: none, directionalShadowMap: none, pointShadowMap: none, spotShadowMap: none,
    };
    return { state, setup() {}, setupView() {} };
  }`,
  DATA: 'const DATA = [];', // a table for lit materials
  _colorKeywords: 'const _colorKeywords = {};',
  Interpolant: 'class Interpolant {}',
  LoadingManager: 'class LoadingManager {}',
  Loader: 'class Loader {}',
  KeyframeTrack: 'class KeyframeTrack {}',
  PropertyBinding: 'class PropertyBinding {}',
};

/** How much of each kind there is at least in both files; less: three.js is written otherwise now, and nothing is saved. */
const LEAST = { texts: 90, stubs: Object.keys(STUBS).length, writers: 40 };

interface Node {
  start: number;
  end: number;
  id?: { name: string } | null;
  declarations?: { id: { name?: string } }[];
  body?: { body?: { start: number; end: number; key?: { name?: string } }[] };
}

export function withoutUnused(): Plugin {
  const found = { texts: 0, stubs: 0, writers: 0 };

  /** [start, end, what stands there instead] of one statement. */
  function cuts(each: Node): [number, number, string][] {
    const stub = STUBS[each.id?.name ?? each.declarations?.[0]?.id.name ?? ''];
    if (stub) {
      found.stubs++;
      return [[each.start, each.end, stub]];
    }
    const members = Array.isArray(each.body?.body) ? each.body.body : [];
    const writers = members.filter((member) => member.key?.name === 'toJSON');
    found.writers += writers.length;
    return writers.map(({ start, end }) => [start, end, '']);
  }

  return {
    name: 'three-without-unused',
    apply: 'build',
    transform: {
      filter: { id: /[\\/]three[\\/]build[\\/]three\.(module|core)\.js$/ },
      handler(code) {
        const statements = this.parse(code).body as unknown as Node[];
        let less = code;
        for (const [start, end, instead] of statements.flatMap(cuts).reverse())
          less = less.slice(0, start) + instead + less.slice(end);
        less = less.replace(TEXT, (whole, name: string) => {
          if (KEPT.has(name)) return whole;
          found.texts++;
          return `const ${name} = "";`;
        });
        return { code: less, map: null };
      },
    },
    buildEnd(error) {
      for (const kind of Object.keys(LEAST) as (keyof typeof LEAST)[])
        if (!error && found[kind] < LEAST[kind])
          this.error(`only ${found[kind]} of ${LEAST[kind]} ${kind} were found in three.js; look at build/three.ts`);
    },
  };
}
