/**
 * Owns: how the page is put together: into dist/web, no file from elsewhere, nothing inline.
 * Refuses to know: when it is built (scripts/build-page.mjs).
 */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  publicDir: fileURLToPath(new URL('./public', import.meta.url)),
  build: {
    outDir: fileURLToPath(new URL('../dist/web', import.meta.url)),
    emptyOutDir: true,
    target: 'es2022',
    // The policy of the page allows neither inline scripts nor data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  // The library's own sources leave out chemistry, a fifth of its size.
  resolve: { alias: { temml: 'temml/temml.js' } },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  server: { proxy: { '/v1': 'http://127.0.0.1:11434', '/hadal': 'http://127.0.0.1:11434' } },
});
