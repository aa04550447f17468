/** The shaders without comments, indentation and spaces around most signs, which no minifier takes out of a text. */

import type { Plugin } from 'vite';

export function withoutComments(): Plugin {
  return {
    name: 'glsl-without-comments',
    apply: 'build',
    transform: {
      filter: { id: /\.glsl\.ts$/ },
      handler: (code) => ({ code: code.replace(/\/\*\*[^]*?\*\/\n?/g, '').replace(/\s+\/\/ .*$/gm, '').replace(/^\s+/gm, '').replace(/ ?([=*/,;:?&|<>(){}]) ?/g, '$1'), map: null }),
    },
  };
}
