/**
 * Owns: building the addon with cargo into dist/native/hadal.node, or saying in one line why not.
 * Refuses to know: packing, publishing, what the addon does.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const crate = join(root, 'native');
const addon = join(root, 'dist', 'native', 'hadal.node');
const LIBRARY = { win32: 'hadal_native.dll', darwin: 'libhadal_native.dylib' };

/**
 * Builds the addon unless it is newer than its sources.
 *
 * @param {{ log?: (line: string) => void }} options `log` gets one line for what is done.
 * @returns {{ built: boolean, reason?: string }} `reason` says why the reference backend will be used.
 * @example const { built } = buildNative({ log: console.log });
 */
export function buildNative({ log = () => {} } = {}) {
  if (existsSync(addon) && newest(crate) <= statSync(addon).mtimeMs) return { built: true };
  const version = spawnSync('cargo', ['--version'], { encoding: 'utf8' });
  if (version.error !== undefined || version.status !== 0) {
    const reason = 'cargo is not there';
    const instead = existsSync(addon)
      ? 'the addon built from older sources stays'
      : 'the slow reference backend will compute';
    log(`${reason}: ${instead} (https://rustup.rs installs cargo)`);
    return { built: false, reason };
  }
  log('building the addon with cargo');
  const build = spawnSync('cargo', ['build', '--release', '--locked', '--offline', '--quiet'], {
    cwd: crate,
    encoding: 'utf8',
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  if (build.status !== 0) {
    throw new Error(`cargo could not build the addon:\n${build.stderr ?? build.error?.message}`);
  }
  const target = process.env.CARGO_TARGET_DIR ?? join(crate, 'target');
  const library = join(target, 'release', LIBRARY[process.platform] ?? 'libhadal_native.so');
  mkdirSync(dirname(addon), { recursive: true });
  // A process may have the old one mapped: the name changes hands at once, the old file lives on until it is let go.
  const fresh = `${addon}.${process.pid}`;
  copyFileSync(library, fresh);
  renameSync(fresh, addon);
  return { built: true };
}

/** When a source of the crate was last changed, in milliseconds. */
function newest(folder) {
  let latest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === 'target') continue;
    const path = join(folder, entry.name);
    latest = Math.max(latest, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return latest;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  buildNative({ log: (line) => process.stdout.write(`${line}\n`) });
}
