/**
 * Owns: dist/web: the page, built by Vite, only when something that it is made of has changed.
 * Refuses to know: what the page does, how it is served.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, secondsSince } from './install.mjs';

/** What the page is made of: its own files, the types it shares, the packages it brings in. */
const SOURCES = ['web', 'src/api', 'package-lock.json'];
const STAMP = join(ROOT, 'dist/.web-build');

/** Builds the page; throws with Vite's words. */
export async function buildPage({ log }) {
  const stamp = digest();
  if (
    existsSync(join(ROOT, 'dist/web/index.html')) &&
    existsSync(STAMP) &&
    readFileSync(STAMP, 'utf8') === stamp
  )
    return;
  const startMs = performance.now();
  // Loading Vite takes longer than seeing that there is nothing to do.
  const { build } = await import('vite');
  await build({ configFile: join(ROOT, 'web/vite.config.ts'), logLevel: 'warn' });
  writeFileSync(STAMP, stamp);
  log(`the page into dist/web in ${secondsSince(startMs)}`);
}

function digest() {
  const hash = createHash('sha256');
  for (const source of SOURCES) {
    const path = join(ROOT, source);
    const files = source.includes('.')
      ? [path]
      : readdirSync(path, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => join(entry.parentPath, entry.name))
          .sort();
    for (const file of files) hash.update(`${file.slice(ROOT.length)}\0`).update(readFileSync(file));
  }
  return hash.digest('hex');
}
