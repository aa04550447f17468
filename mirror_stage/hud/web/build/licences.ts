/** THIRD_PARTY_LICENSES.txt: name, version and licence text of every package of which something is in the bundle. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from 'vite';

/** What may be redistributed in a wheel with no more than its text. Another licence stops the build. */
const ALLOWED = new Set(['MIT', 'ISC']);
const PACKAGE = /^.*[\\/]node_modules[\\/](@[^\\/]+[\\/])?[^\\/]+/;

interface Package {
  name: string;
  version: string;
  license: string;
}

export function licences(): Plugin {
  return {
    name: 'licences',
    apply: 'build',
    generateBundle(_options, bundle) {
      const folders = new Set<string>();
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== 'chunk') continue;
        for (const id of chunk.moduleIds) {
          const folder = packageFolder(id.replace(/^\0/, '').replace(/\?.*$/, ''));
          if (folder !== null) folders.add(folder);
        }
      }
      const parts = [...folders].map(described).sort((one, other) => one.title.localeCompare(other.title));
      const head = 'MIRROR STAGE EGO: the software of others that is part of the HUD, each under its own licence.\n';
      const text = [head, ...parts.map(({ title, text }) => `${'='.repeat(78)}\n${title}\n\n${text.trim()}\n`)].join('\n');
      this.emitFile({ type: 'asset', fileName: 'THIRD_PARTY_LICENSES.txt', source: text });
    },
  };
}

/** The folder of the package that a module belongs to; null for a module of our own. */
function packageFolder(path: string): string | null {
  return PACKAGE.exec(path)?.[0] ?? null;
}

function described(folder: string): { title: string; text: string } {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Package;
  if (!ALLOWED.has(license)) {
    throw new Error(`${name} ${version} is under ${license}; the HUD ships only ${[...ALLOWED].join(' and ')}`);
  }
  const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.(md|txt))?$/i.test(entry));
  if (file === undefined) throw new Error(`${name} ${version} comes without a licence text`);
  return { title: `${name} ${version} (${license})`, text: readFileSync(join(folder, file), 'utf8') };
}
