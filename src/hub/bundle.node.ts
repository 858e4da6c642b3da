/**
 * Owns: bundles: a folder with everything that a machine without a network needs, each file with its digest.
 * Refuses to know: what is in a model, how the program is built.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { cp, lstat, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { shardNames } from '../formats/gguf/shards.ts';
import { sha256OfFile } from './digest.node.ts';
import { makeFolder } from './disk.node.ts';

/** The list of a bundle's files. */
export const MANIFEST = 'bundle.json';
const DOCUMENTS = ['README.md', 'LICENSE', 'CHANGELOG.md', 'docs'];
const MAIN = 'program/dist/cli/main.js';
/** Files of models are copied in pieces, so that an interruption is heard. */
const PIECES = { highWaterMark: 4 << 20 } as const;
const LAUNCHER = `#!/bin/sh\nexec node "$(dirname "$0")/${MAIN}" "$@"\n`;

const manifestSchema = z.strictObject({
  hadal: z.string(),
  platform: z.string(),
  made: z.string(),
  files: z.record(
    z.string(),
    z.strictObject({ bytes: z.int().min(0), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  ),
});

/** What a bundle holds. */
export interface BundleFacts {
  readonly files: number;
  readonly bytes: number;
  /** Of `bundle.json`: whoever knows it knows all of the bundle. */
  readonly sha256: string;
}

/** Options of {@link writeBundle}. */
export interface BundleOptions {
  readonly version: string;
  /** Paths of model files and folders. */
  readonly models: readonly string[];
  readonly signal?: AbortSignal;
  readonly onFile?: (name: string) => void;
}

/**
 * Packs this program as it is installed (compiled code, page, addon, the packages it needs), documents and models in a new
 * folder, with the digest of every file in `bundle.json`. The folder has its name when it is whole, and not before; what
 * fails or is interrupted leaves nothing.
 *
 * @throws HadalError `bundle-exists`, `bundle-program` where the program is not built or a package is missing,
 *   `bundle-collision` for two models of one name, `bundle-unwritable`, `file-unreadable`, `gguf-shards` where one is missing, `file-not-regular`,
 *   and the signal's reason.
 * @example await writeBundle('./bundle', { version: '0.1.0', models: ['./model.gguf'] })
 */
export async function writeBundle(folder: string, options: BundleOptions): Promise<BundleFacts> {
  const whole = resolve(folder);
  const part = `${whole}.part`;
  for (const path of [whole, part]) {
    if (!(await stat(path).catch(() => undefined))) continue;
    throw new HadalError('bundle-exists', {
      what: path,
      expected: 'a new folder',
      got: path === whole ? 'something there' : 'what is left of a bundle that was ended, or is being packed',
      next: 'name another one, or remove it',
    });
  }
  const models = await placesOf(options.models, whole);
  try {
    await makeFolder(part);
  } catch (error) {
    throw unwritable(whole, error);
  }
  try {
    const facts = await pack(part, models, options);
    await rename(part, whole);
    return facts;
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw options.signal?.aborted ? options.signal.reason : told(error, whole, part);
  }
}

async function pack(
  folder: string,
  models: ReadonlyMap<string, Packed>,
  { version, signal, onFile }: BundleOptions,
): Promise<BundleFacts> {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  await copyProgram(root, join(folder, 'program'), signal);
  for (const name of DOCUMENTS) {
    if (await stat(join(root, name)).catch(() => undefined)) await copy(join(root, name), join(folder, name));
  }
  for (const [name, { path, files }] of models) {
    for (const file of files) {
      onFile?.(join(path, file));
      const to = join(folder, 'models', name, file);
      await makeFolder(dirname(to));
      await copyModel(join(path, file), to, signal);
    }
  }
  await writeFile(join(folder, 'hadal'), LAUNCHER, { mode: 0o755 });
  const files: Record<string, { bytes: number; sha256: string }> = {};
  let bytes = 0;
  for (const name of await filesOf(folder)) {
    onFile?.(name);
    const path = join(folder, ...name.split('/'));
    const { size } = await stat(path);
    files[name] = { bytes: size, sha256: await sha256OfFile(path, undefined, signal) };
    bytes += size;
  }
  const platform = `${process.platform}-${process.arch}`;
  const manifest = { hadal: version, platform, made: new Date().toISOString(), files };
  await writeFile(join(folder, MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`);
  return { files: Object.keys(files).length, bytes, sha256: await sha256OfFile(join(folder, MANIFEST)) };
}

/**
 * Checks that a bundle holds the files of its list, as they were, and no others.
 *
 * @param sha256 of `bundle.json`, where it is known from elsewhere
 * @throws HadalError `bundle-broken` where it has no list, or not all shards of a model, `bundle-differs` for
 *   the first file that is changed, gone, more, or no regular file.
 * @example await verifyBundle('./bundle')
 */
export async function verifyBundle(folder: string, sha256?: string): Promise<BundleFacts> {
  const path = join(folder, MANIFEST);
  const text = await readFile(path, 'utf8').catch(() => '');
  const found = text === '' ? '' : await sha256OfFile(path);
  const result = manifestSchema.safeParse(text === '' ? undefined : parsed(text));
  if (!result.success) {
    throw differs(
      'bundle-broken',
      path,
      'the list of a bundle',
      text === '' ? 'nothing there' : 'something else',
    );
  }
  if (sha256 !== undefined && sha256.toLowerCase() !== found)
    throw differs('bundle-differs', path, sha256, found);
  const files = new Map(Object.entries(result.data.files));
  const present = await filesOf(folder);
  let bytes = 0;
  for (const name of present) {
    const expected = files.get(name);
    if (expected === undefined) throw differs('bundle-differs', name, 'only files of the list', 'one more');
    const at = join(folder, ...name.split('/'));
    if (!(await lstat(at)).isFile())
      throw differs('bundle-differs', name, 'a regular file', 'something else');
    const digest = await sha256OfFile(at);
    if (digest !== expected.sha256)
      throw differs('bundle-differs', name, `the SHA-256 ${expected.sha256}`, digest);
    bytes += expected.bytes;
  }
  const missing = [...files.keys()].find((name) => !present.includes(name));
  if (missing !== undefined) throw differs('bundle-differs', missing, 'it there, by the list', 'nothing');
  const shard = [...files.keys()].flatMap((name) => shardNames(name) ?? []).find((name) => !files.has(name));
  if (shard !== undefined) throw differs('bundle-broken', shard, 'all shards of a model', 'no such one');
  return { files: files.size, bytes, sha256: found };
}

/** A model that goes along. */
interface Packed {
  readonly path: string;
  /** Its files, relative to it; for a file itself one that is called nothing. */
  readonly files: readonly string[];
}

/** Models by their names in a bundle: of a GGUF file in shards all of them. */
async function placesOf(models: readonly string[], bundle: string): Promise<ReadonlyMap<string, Packed>> {
  const places = new Map<string, Packed>();
  // A bundle may go where names differ by more than case alone.
  const taken = new Map<string, string>();
  for (const model of models) {
    for (const path of shardNames(model) ?? [model]) {
      const files = await plainFiles(path, path === model ? undefined : model);
      const [name, real] = [basename(resolve(path)), await realpath(path)];
      demandShards(path, files);
      const collision = (what: string, expected: string, got: string, next: string) =>
        new HadalError('bundle-collision', { what, expected, got, next });
      if (bundle.startsWith(`${real}${sep}`))
        throw collision(bundle, 'a folder outside of the models', `one in ${path}`, 'name another one');
      const before = taken.get(name.toLowerCase());
      if (before !== undefined && before !== real) {
        const next = 'rename one of them, or pack them in folders of their own';
        throw collision(path, `the only model called ${name}`, `another at ${before}`, next);
      }
      taken.set(name.toLowerCase(), real);
      places.set(name, { path, files });
    }
  }
  return places;
}

/** Refuses a folder with some shards of a model: a bundle of them would be refused where it arrives. */
function demandShards(folder: string, files: readonly string[]): void {
  for (const file of files) {
    const missing = shardNames(file)?.find((shard) => !files.includes(shard));
    if (missing === undefined) continue;
    throw new HadalError('gguf-shards', {
      what: join(folder, missing),
      expected: `it there, as ${file} is one shard of several`,
      got: 'nothing there',
      next: 'fetch it, or leave the others out',
    });
  }
}

/** All files of a path, links followed; refuses what is missing, and pipes and devices. */
async function plainFiles(path: string, shardOf?: string): Promise<string[]> {
  const facts = await stat(path).catch(() => undefined);
  if (facts === undefined) {
    throw new HadalError(shardOf === undefined ? 'file-missing' : 'gguf-shards', {
      what: path,
      expected: shardOf === undefined ? 'a model' : `it there, as ${shardOf} is one shard of several`,
      got: 'nothing there',
      next: 'fetch it',
    });
  }
  if (facts.isFile()) return [''];
  if (facts.isDirectory()) {
    const found: string[] = [];
    for (const name of await readdir(path)) {
      for (const file of await plainFiles(join(path, name))) found.push(join(name, file));
    }
    return found;
  }
  throw new HadalError('file-not-regular', {
    what: path,
    expected: 'a regular file or a folder',
    got: 'something else',
    next: 'leave it out of the folder',
  });
}

/** The compiled program with the packages that it needs, nested as they are. */
async function copyProgram(root: string, program: string, signal: AbortSignal | undefined): Promise<void> {
  if (!(await stat(join(root, 'dist', 'cli', 'main.js')).catch(() => undefined))) {
    throw new HadalError('bundle-program', {
      what: root,
      expected: 'the program, built',
      got: 'no dist/cli/main.js',
      next: 'run `npm run build`',
    });
  }
  await makeFolder(program);
  await copy(join(root, 'package.json'), join(program, 'package.json'));
  // What builds keep for themselves begins with a dot.
  await cp(join(root, 'dist'), join(program, 'dist'), {
    recursive: true,
    filter: (path) => !/^\./.test(basename(path)),
  });
  const copied = new Set<string>();
  const queue = [root];
  for (let from = queue.shift(); from !== undefined; from = queue.shift()) {
    signal?.throwIfAborted();
    const { dependencies = {}, optionalDependencies = {} } = parsed(
      await readFile(join(from, 'package.json'), 'utf8'),
    ) as Record<string, Record<string, string> | undefined>;
    for (const name of Object.keys({ ...optionalDependencies, ...dependencies })) {
      const place = await packageFolder(from, name);
      if (place === undefined) {
        if (name in optionalDependencies) continue;
        throw new HadalError('bundle-program', {
          what: from,
          expected: `the package ${name}`,
          got: 'none',
          next: 'run `npm ci`',
        });
      }
      if (copied.has(place)) continue;
      copied.add(place);
      queue.push(place);
      const nested = [...copied].some((other) => place !== other && place.startsWith(`${other}${sep}`));
      if (!nested) await copy(place, join(program, 'node_modules', ...name.split('/')));
    }
  }
}

/** Where a package is found from another, as Node finds it. */
async function packageFolder(from: string, name: string): Promise<string | undefined> {
  for (let at = from; ; at = dirname(at)) {
    const place = join(at, 'node_modules', ...name.split('/'));
    if (await stat(join(place, 'package.json')).catch(() => undefined)) return place;
    if (dirname(at) === at) return undefined;
  }
}

async function copyModel(from: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await pipeline(createReadStream(from, PIECES), createWriteStream(to, PIECES), {
      ...(signal && { signal }),
    });
  } catch (error) {
    // What a failed read says of itself has no path.
    throw (error as NodeJS.ErrnoException).syscall === 'read' ? unreadable(from, error) : error;
  }
}

async function copy(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true, dereference: true });
}

/** All files under a folder but the list, with slashes, sorted. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) =>
      relative(folder, join(entry.parentPath ?? entry.path, entry.name))
        .split(sep)
        .join('/'),
    )
    .filter((name) => name !== MANIFEST)
    .sort();
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What failed while a bundle was packed: reading what goes along, or writing. */
function told(error: unknown, whole: string, part: string): unknown {
  const { syscall, path = part } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  return path.startsWith(part) ? unwritable(whole, error) : unreadable(path, error);
}

function unreadable(what: string, error: unknown): HadalError {
  const got = (error as NodeJS.ErrnoException).code ?? String(error);
  const expected = 'a file that can be read';
  return new HadalError(
    'file-unreadable',
    { what, expected, got, next: 'check who may read it' },
    { cause: error },
  );
}

function unwritable(folder: string, error: unknown): HadalError {
  const got = (error as NodeJS.ErrnoException).code ?? String(error);
  const next = 'name a folder elsewhere, on a disk with room for it';
  const expected = 'a place where a folder can be made';
  return new HadalError('bundle-unwritable', { what: folder, expected, got, next }, { cause: error });
}

function differs(code: string, what: string, expected: string, got: string): HadalError {
  return new HadalError(code, { what, expected, got, next: 'do not use it; bring the bundle over again' });
}
