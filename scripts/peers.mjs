/**
 * Owns: installing the engine that tests compare with (llama.cpp, as node-llama-cpp), outside of our dependencies.
 * Refuses to know: what is compared.
 *
 * node scripts/peers.mjs    prints the folder to give as HADAL_TEST_PEER; installs only when it is not there yet
 *
 * The whole package is 725 MB because it brings every GPU's binaries. Optional dependencies are left out and only this
 * platform's CPU binary is asked for by name: 85 MB. Nothing of it is built or run at install time.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const VERSION = '3.22.1';
/** Packages with a CPU binary; elsewhere all optional packages are installed and the peer chooses. */
const CPU_PACKAGES = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-x64': 'mac-x64',
  'darwin-arm64': 'mac-arm64-metal',
  'win32-x64': 'win-x64',
};

const root = fileURLToPath(new URL('..', import.meta.url));
const cache = process.env.HADAL_TEST_CACHE || join(root, 'node_modules', '.cache', 'hadal');
const folder = join(cache, `node-llama-cpp-${VERSION}`);

if (installed() === VERSION) console.error(`node-llama-cpp ${VERSION} is installed`);
else install();
console.log(folder);

function installed() {
  try {
    return JSON.parse(readFileSync(join(folder, 'node_modules', 'node-llama-cpp', 'package.json'), 'utf8'))
      .version;
  } catch {
    return undefined;
  }
}

/** Installs beside the folder and renames it, so that a half-installed peer is never found. */
function install() {
  const part = `${folder}.part-${process.pid}`;
  const cpu = CPU_PACKAGES[`${process.platform}-${process.arch}`];
  const packages = [`node-llama-cpp@${VERSION}`, ...(cpu ? [`@node-llama-cpp/${cpu}@${VERSION}`] : [])];
  console.error(`installing ${packages.join(' and ')} in ${folder}${cpu ? ' (about 85 MB)' : ''}`);
  mkdirSync(part, { recursive: true });
  writeFileSync(join(part, 'package.json'), '{ "private": true }\n');
  const options = ['--ignore-scripts', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'];
  if (cpu) options.push('--omit=optional');
  const npm = spawnSync('npm', ['install', ...options, '--prefix', part, ...packages], {
    cwd: part,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (npm.status !== 0) {
    rmSync(part, { recursive: true, force: true });
    const why = npm.error?.message ?? `npm ended with ${npm.status ?? npm.signal}`;
    console.error(`${packages[0]}: expected to install it, got: ${why}; check npm's registry and try again`);
    process.exit(1);
  }
  rmSync(folder, { recursive: true, force: true });
  renameSync(part, folder);
}
