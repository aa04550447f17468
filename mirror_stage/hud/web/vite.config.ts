import { fileURLToPath } from 'node:url';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';
import { chunkOf } from './build/chunks.ts';
import { compressed } from './build/compressed.ts';
import { withoutComments } from './build/glsl.ts';
import { withoutHydration } from './build/hydration.ts';
import { licences } from './build/licences.ts';
import { withoutUnused } from './build/three.ts';
import { withoutUnusedCharts } from './build/uplot.ts';

const ego = process.env.EGO_URL ?? 'http://127.0.0.1:3000';

export default defineConfig({
  base: './',
  resolve: {
    alias: [
      { find: /^\.\/webtransport\.js$/, replacement: fileURLToPath(new URL('build/webtransport.ts', import.meta.url)) },
      { find: /^\.\/(is-)?binary\.js$|^\.\/contrib\/base64-arraybuffer\.js$/, replacement: fileURLToPath(new URL('build/nobinary.ts', import.meta.url)) },
      { find: /^\.\.\/Icon\.svelte$/, replacement: fileURLToPath(new URL('src/ui/parts/Icon.svelte', import.meta.url)) }, // only icons ask for it
    ],
  },
  plugins: [svelte(), withoutComments(), withoutUnused(), withoutUnusedCharts(), withoutHydration(), licences(), compressed()],
  build: {
    target: 'es2022',
    cssTarget: ['chrome123', 'edge123', 'firefox120', 'safari17.5'], // `light-dark()` as it is: where programs print, it is asked again
    outDir: '../static',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [{ name: chunkOf, includeDependenciesRecursively: false }],
        },
      },
    },
  },
  server: {
    proxy: {
      '/api': { target: ego, changeOrigin: true, headers: { origin: ego } }, // EGO compares who asks with whom
      '/plain': ego,
      '/socket.io': { target: ego, changeOrigin: true, ws: true, headers: { origin: ego } },
    },
  },
  test: { include: ['tests/unit/**/*.test.ts'] },
});
