/** The shaders without comments and indentation, which no minifier takes out of a text. */

import type { Plugin } from 'vite';

export function withoutComments(): Plugin {
  return {
    name: 'glsl-without-comments',
    apply: 'build',
    transform: {
      filter: { id: /\.glsl\.ts$/ },
      handler: (code) => ({ code: code.replace(/\/\*\*[^]*?\*\/\n?/g, '').replace(/\s+\/\/ .*$/gm, '').replace(/^\s+/gm, ''), map: null }),
    },
  };
}
