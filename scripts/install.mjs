/**
 * Owns: bringing node_modules in line with package-lock.json, only when it is not.
 * Refuses to know: what the packages are for. Imports nothing that has to be installed.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The folder of the checkout. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** One line of what a script does, on standard error: standard output belongs to answers. */
export function say(step, text) {
  process.stderr.write(`${step.padEnd(8)} ${text}\n`);
}

/** Seconds since a moment of `performance.now()`, for people. */
export function secondsSince(startMs) {
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`;
}

/** Runs npm as it was started, on any platform. Extra options go to `spawnSync`. */
export function npm(args, options = {}) {
  const self = process.env.npm_execpath;
  const [command, ...before] = self?.endsWith('.js') ? [process.execPath, self] : ['npm'];
  return spawnSync(command, [...before, ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    shell: command === 'npm' && process.platform === 'win32',
    ...options,
  });
}

/** Runs `npm ci` if a package of the lock file is missing or of another version. Throws with npm's own words. */
export function install() {
  const reason = stale();
  if (reason === undefined) {
    say('install', 'node_modules is as package-lock.json asks');
    return;
  }
  const startMs = performance.now();
  say('install', `npm ci (${reason})`);
  const { status, stdout, stderr, error } = npm(['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  if (status !== 0) throw new Error(`npm ci failed\n${error?.message ?? `${stdout}${stderr}`.trim()}`);
  say('install', `done in ${secondsSince(startMs)}`);
}

/** Why node_modules is not what the lock file asks for; undefined when it is. */
function stale() {
  const wanted = packagesOf('package-lock.json');
  let here;
  try {
    here = packagesOf('node_modules/.package-lock.json');
  } catch {
    return 'nothing is installed yet';
  }
  for (const [path, { version, optional }] of Object.entries(wanted)) {
    if (path === '') continue;
    const found = here[path]?.version;
    // A package for another platform is left out by npm.
    if (found === undefined && optional === true) continue;
    if (found !== version) return `${path} is ${found ?? 'missing'}, ${version} is asked for`;
  }
  return undefined;
}

function packagesOf(file) {
  return JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')).packages;
}
