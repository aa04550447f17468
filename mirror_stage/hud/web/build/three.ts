/**
 * three.js without what this scene never uses: its own materials and their programs (the scene draws with its own),
 * shapes that morph, headsets, lights, shadows, backgrounds, effects, animations, loaders, blocks of uniforms, names of
 * colours, objects written as JSON, and every method whose name nobody says. That is a fifth of the 300 kB that all may
 * have, and a bundler cannot leave it out, because the rest of three.js names it.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
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

/** The files of three.js that are cut, and those that use them. */
const PARTS = ['build/three.core.js', 'build/three.module.js', 'examples/jsm/controls/OrbitControls.js'].map((name) => pathOf(`../node_modules/three/${name}`));
const SCENE = pathOf('../src/scene');
const USERS = readdirSync(SCENE, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => `${SCENE}/${name}`);
/** JavaScript calls these itself. */
const OF_THE_LANGUAGE = ['constructor', 'toString', 'valueOf', 'then'];

function pathOf(place: string): string {
  return fileURLToPath(new URL(place, import.meta.url));
}

/** How much of each kind there is at least in both files; less: three.js is written otherwise now, and nothing is saved. */
const LEAST = { texts: 90, stubs: Object.keys(STUBS).length, methods: 600 };

interface Node {
  type: string;
  start: number;
  end: number;
  name?: string;
  value?: unknown;
  id?: { name: string } | null;
  key?: { name?: string };
  params?: unknown;
  expression?: unknown;
  left?: Node;
  right?: Node;
  object?: Node;
  property?: Node;
  declarations?: { id: { name?: string } }[];
  body?: unknown;
}

const nameOf = (statement: Node): string | undefined => statement.id?.name ?? statement.declarations?.[0]?.id.name;

/** A part that counts only if its name is said: its name, what it says itself, and what stands there without it. */
interface Part {
  name: string;
  says: unknown;
  instead: string | null;
}

/** Methods, functions that are given to `this` or returned in an object, and functions inside of functions (which the bundler cuts). */
function partOf(node: Node, parent: Node | null): Part | null {
  if (node.type === 'MethodDefinition' && node.key?.name !== undefined) return { name: node.key.name, says: node.value, instead: '' };
  if (node.type === 'FunctionDeclaration' && node.id) return { name: node.id.name, says: [node.params, node.body], instead: null };
  const { left, right } = node.type === 'ExpressionStatement' ? (node.expression as Node) : node;
  if (left?.object?.type === 'ThisExpression' && left.property?.name !== undefined && /Function/.test(right?.type ?? ''))
    return { name: left.property.name, says: right, instead: '' };
  if (node.type === 'Property' && parent?.type === 'returned' && node.key?.name !== undefined && (node.value as Node).name === node.key.name)
    return { name: node.key.name, says: [], instead: `${node.key.name}: 0` };
  return null;
}

/** Walk through a piece of code. `enter` answers whether to look into a node. */
function walk(node: unknown, enter: (node: Node, parent: Node | null) => boolean, parent: Node | null = null): void {
  if (node === null || typeof node !== 'object') return;
  if (Array.isArray(node)) return node.forEach((one) => walk(one, enter, parent));
  const one = node as Node;
  if (!enter(one, parent)) return;
  const inside = one.type === 'ObjectExpression' && parent?.type === 'ReturnStatement' ? { ...one, type: 'returned' } : one;
  for (const each of Object.values(one)) if (typeof each === 'object') walk(each, enter, inside);
}

/**
 * The names in use: those that the scene says, and those that are said in a declaration or a method whose own name is in
 * use. The lists of imports and exports count for nothing.
 */
function namesInUse(parse: (code: string) => unknown): Set<string> {
  const inUse = new Set(OF_THE_LANGUAGE);
  const say = ({ name, value }: Node): void => [name, value].forEach((one) => typeof one === 'string' && inUse.add(one));
  for (const path of USERS) walk(parse(readFileSync(path, 'utf8')), (node) => (say(node), true));
  const statements = PARTS.flatMap((path) => (parse(readFileSync(path, 'utf8')) as { body: Node[] }).body);
  let waiting = statements
    .filter(({ type }) => !/^(Import|Export)/.test(type))
    .map((one) => ({ name: nameOf(one), part: STUBS[nameOf(one) ?? ''] === undefined ? one : parse(STUBS[nameOf(one) ?? ''] as string) }));
  for (let before = -1; before !== waiting.length; ) {
    before = waiting.length;
    const used = waiting.filter(({ name }) => name === undefined || inUse.has(name));
    waiting = waiting.filter((one) => !used.includes(one));
    for (const { part } of used)
      walk(part, (node, parent) => {
        const apart = partOf(node, parent);
        if (apart !== null && node !== part) waiting.push({ name: apart.name, part: apart.says });
        else say(node);
        return apart === null || node === part;
      });
  }
  return inUse;
}

export function withoutUnused(): Plugin {
  const found = { texts: 0, stubs: 0, methods: 0 };

  let inUse: Set<string> | null = null;

  /** [start, end, what stands there instead] of one statement. */
  function cuts(statement: Node): [number, number, string][] {
    const stub = STUBS[nameOf(statement) ?? ''];
    if (stub !== undefined) {
      found.stubs++;
      return [[statement.start, statement.end, stub]];
    }
    const unused: [number, number, string][] = [];
    walk(statement, (node, parent) => {
      const part = node === statement ? null : partOf(node, parent);
      if (part === null || part.instead === null || inUse?.has(part.name)) return true;
      unused.push([node.start, node.end, part.instead]);
      return false;
    });
    found.methods += unused.length;
    return unused;
  }

  return {
    name: 'three-without-unused',
    apply: 'build',
    transform: {
      filter: { id: /[\\/]three[\\/](build[\\/]three\.(module|core)|examples[\\/]jsm[\\/]controls[\\/]OrbitControls)\.js$/ },
      handler(code) {
        inUse ??= namesInUse((text) => this.parse(text, { lang: 'ts' }));
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
