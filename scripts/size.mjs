/**
 * Owns: how large the project is: lines by room, what is published, what an installation brings with it, what a browser
 * loads.
 * Refuses to know: what is in the files. `--json` prints one document.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ROOT } from './install.mjs';

/** Limits of an installation without its optional parts, and of the whole page as it is sent. */
const LIMITS = { bytes: 35e6, packages: 50, pageGzipBytes: 150e3 };

const lines = Object.fromEntries(
  [...rooms(), 'native/src', 'web/src', 'scripts', 'test'].map((folder) => [folder, countLines(folder)]),
);
const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages;
const installed = Object.entries(lock)
  .filter(([path, entry]) => path !== '' && !entry.dev && !entry.optional)
  .map(([path]) => ({ path, bytes: bytesOf(path) }));
const distBytes = bytesOf('dist');
const result = {
  lines,
  distBytes,
  dependencies: installed,
  packages: installed.length + 1,
  bytes: installed.reduce((total, { bytes }) => total + bytes, distBytes),
  pageGzipBytes: filesUnder('dist/web').reduce(
    (total, file) => total + gzipSync(readFileSync(file), { level: 9 }).length,
    0,
  ),
  limits: LIMITS,
};

if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
else show();
const over = Object.entries(LIMITS).filter(([name, limit]) => result[name] > limit);
if (over.length > 0) process.exitCode = 1;

function show() {
  const row = (name, figure) => process.stdout.write(`${name.padEnd(28)}${figure.padStart(14)}\n`);
  for (const [folder, { source, tests }] of Object.entries(lines))
    row(folder, tests === 0 ? `${source} lines` : `${source} + ${tests} lines`);
  row('dist', megabytes(distBytes));
  for (const { path, bytes } of installed) row(path, megabytes(bytes));
  row(`installed (limit ${LIMITS.bytes / 1e6} MB)`, megabytes(result.bytes));
  row(`page (limit ${LIMITS.pageGzipBytes / 1e3} kB)`, `${(result.pageGzipBytes / 1e3).toFixed(1)} kB gzip`);
  row(`packages (limit ${LIMITS.packages})`, String(result.packages));
}

function rooms() {
  return readdirSync(join(ROOT, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `src/${entry.name}`);
}

function countLines(folder) {
  const count = { source: 0, tests: 0 };
  for (const file of filesUnder(folder)) {
    if (!/\.(ts|mjs|rs|py|tsx|css|wgsl)$/.test(file)) continue;
    const of = file.endsWith('.test.ts') ? 'tests' : 'source';
    count[of] += readFileSync(file, 'utf8').split('\n').length - 1;
  }
  return count;
}

function bytesOf(folder) {
  return filesUnder(folder).reduce((total, file) => total + statSync(file).size, 0);
}

function filesUnder(folder) {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(2)} MB`;
}
