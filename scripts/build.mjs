/**
 * Owns: dist/ — TypeScript, the data files beside it, the page, the native addon — built again only as far as something changed.
 * Refuses to know: how the addon (build-native.mjs) and the page (build-page.mjs) are built, what is published (pack.mjs).
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildNative } from './build-native.mjs';
import { buildPage } from './build-page.mjs';
import { ROOT, say, secondsSince } from './install.mjs';

const SRC = join(ROOT, 'src');
const DIST = join(ROOT, 'dist');

/** Builds everything; resolves to what `buildNative` says. Throws with the compiler's words. */
export async function build() {
  const startMs = performance.now();
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`tsc found errors\n${stdout}${stderr}`.trim());
  for (const file of files(SRC)) if (file.endsWith('.json')) cpSync(join(SRC, file), join(DIST, file));
  removeOrphans();
  say('build', `TypeScript into dist/ in ${secondsSince(startMs)}`);
  await buildPage({ log: (text) => say('build', text) });
  return buildNative({ log: (text) => say('build', text) });
}

/** A file of dist/ whose source is gone would still be published and still be imported. */
function removeOrphans() {
  for (const file of files(DIST)) {
    const source = file.replace(/\.d\.ts$|\.js$/, '.ts');
    if (source !== file && !/^web[\\/]/.test(file) && !existsSync(join(SRC, source)))
      rmSync(join(DIST, file));
  }
}

/** Paths of all files under a folder, relative to it. */
function files(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await build();
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
