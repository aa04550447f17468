/**
 * three.js without the programs of its own materials: the scene draws with its own, and the texts of a hundred others
 * would be 24 kB of the 280 that all may have. What the renderer puts before every program stays.
 */

import type { Plugin } from 'vite';

/** A text of GLSL as three.js writes it: one line, one name, line breaks as \n. */
const TEXT = /^(?:var|const) ([\w$]+) = "(?:[^"\\\n]|\\.)*\\n(?:[^"\\\n]|\\.)*";$/gm;
const KEPT = new Set(['colorspace_pars_fragment', 'tonemapping_pars_fragment']);
const FEWEST = 90; // fewer: three.js writes them otherwise now, and nothing would be saved

export function withoutMaterials(): Plugin {
  return {
    name: 'three-without-materials',
    apply: 'build',
    transform: {
      filter: { id: /[\\/]three[\\/]build[\\/]three\.module\.js$/ },
      handler(code) {
        let emptied = 0;
        const less = code.replace(TEXT, (whole, name: string) => {
          if (KEPT.has(name)) return whole;
          emptied++;
          return `const ${name} = "";`;
        });
        if (emptied < FEWEST) this.error(`only ${emptied} shader texts were found in three.js; look at build/three.ts`);
        return { code: less, map: null };
      },
    },
  };
}
