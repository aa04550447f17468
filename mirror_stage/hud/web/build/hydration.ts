/**
 * Svelte without what is only for pages that a server has drawn before: 1.6 kB packed. A bundler cannot leave it out, because
 * other parts of Svelte switch it off and on again.
 */

import type { Plugin } from 'vite';

const FILE = /svelte[\\/]src[\\/]internal[\\/]client[\\/]dom[\\/]hydration\.js$/;

export function withoutHydration(): Plugin {
  return {
    name: 'without-hydration',
    apply: 'build',
    enforce: 'pre',
    transform(code, id) {
      if (!FILE.test(id)) return null;
      return replaced(replaced(code, 'export let hydrating = false;', 'export const hydrating = false;'), /(function set_hydrating\(value\) \{)[^}]*\}/, '$1}');
    },
  };
}

function replaced(code: string, what: string | RegExp, by: string): string {
  const after = code.replace(what, by);
  if (after === code) throw new Error(`${what} is not there any more; look at build/hydration.ts`);
  return after;
}
