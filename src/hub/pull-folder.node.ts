/**
 * Owns: bringing a model from a folder or a file of this machine (a stick, a share) into Hadal's own, whole and checked.
 * Refuses to know: the network, what a model file holds.
 *
 * What a file must be says a list of digests that lies beside it (`SHA256SUMS` and the like); without one the source is
 * read first, and what arrives has to be the same.
 */
import { mkdir, open, readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { HadalError } from '../error.ts';
import { sha256OfFile } from './digest.node.ts';
import { demandSpace } from './disk.node.ts';
import { isPlainPath, type RepoFile } from './hugging-face.node.ts';
import { alone } from './lock.node.ts';
import { onceForward } from './progress.ts';
import type { Pulled, PullOptions } from './pull.node.ts';
import { RangedFile } from './ranged-file.node.ts';
import { selectFiles } from './reference.ts';
import { type Environment, modelsFolder } from './store.node.ts';

/** More files than any model has. */
const MOST_FILES = 10_000;
const COPIED_BYTES = 4 << 20;
const SUMS = /^(?:sha256sums?(?:\.txt)?|.+\.sha256)$/i;
const LONGEST_SUMS = 4 << 20;

/** A file of the source, and what it has to be. */
interface SourceFile {
  readonly from: string;
  readonly to: string;
  readonly expected: { readonly bytes: number; readonly sha256: string };
}

/**
 * Copies the model in a folder, or a file with its shards.
 *
 * @param source a file, a folder, or a folder with `:` and a file or quantization in it
 * @throws HadalError `folder-missing`, `file-missing`, `quantization-needed`, `digest-mismatch`, `name-taken` where another
 *   model has that name already, `disk-full`
 * @example (await pullFolder('/media/stick/DeepSeek-V2-Lite:Q4_K_M', { env: process.env })).path;
 */
export async function pullFolder(source: string, options: PullOptions): Promise<Pulled> {
  const { env, signal } = options;
  const { folder, wanted } = await locate(source);
  const files = await filesUnder(folder);
  const { main, files: chosen } = selectFiles({ repo: folder, commit: '', files }, wanted);
  const root = destination(env, folder);
  const sources = await expectedOf(folder, root, chosen, options);
  const missing: SourceFile[] = [];
  for (const file of sources) if (!(await isThere(file))) missing.push(file);
  const bytes = total(sources);
  const path = main === undefined ? root : join(root, main);
  const fetchedBytes = total(missing);
  if (missing.length > 0) {
    await mkdir(root, { recursive: true });
    await demandSpace(root, fetchedBytes);
    const title = `${basename(folder)}${missing.length > 1 ? ` (${missing.length} files)` : ''}`;
    const { sha256 } = missing.reduce((a, b) => (b.expected.bytes > a.expected.bytes ? b : a)).expected;
    const license = 'license not said';
    options.onAnnounce?.({ title, license, sha256, bytes: fetchedBytes, path, from: folder });
  }
  const copied = onceForward('fetch', options.onProgress);
  let before = 0;
  for (const file of missing) {
    await mkdir(dirname(file.to), { recursive: true });
    await alone(file.to, signal, () => copy(file, (done) => copied(before + done, fetchedBytes), signal));
    before += file.expected.bytes;
  }
  return { path, bytes, fetchedBytes };
}

async function locate(source: string): Promise<{ readonly folder: string; readonly wanted?: string }> {
  const facts = await stat(source).catch(() => undefined);
  if (facts?.isDirectory()) return { folder: resolve(source) };
  if (facts?.isFile()) return { folder: dirname(resolve(source)), wanted: basename(source) };
  const [, named = '', wanted = ''] = /^(.+):([^:]+)$/s.exec(source) ?? [];
  const inside = named === '' ? undefined : await stat(named).catch(() => undefined);
  if (inside?.isDirectory()) return { folder: resolve(named), wanted };
  throw new HadalError('folder-missing', {
    what: source,
    expected: 'a file or a folder with a model',
    got: 'nothing there',
    next: 'check the path, and that the disk it is on is mounted',
  });
}

async function filesUnder(folder: string): Promise<RepoFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  if (entries.length > MOST_FILES) {
    throw new HadalError('folder-too-large', {
      what: folder,
      expected: `a folder of one model, with at most ${MOST_FILES} files`,
      got: `${entries.length}`,
      next: 'name the folder of the model itself',
    });
  }
  const files: RepoFile[] = [];
  for (const entry of entries) {
    const full = join(entry.parentPath, entry.name);
    const path = relative(folder, full).split(sep).join('/');
    if (path.startsWith('.') || path.includes('/.') || !isPlainPath(path)) continue;
    const facts = await stat(full).catch(() => undefined);
    if (facts?.isFile()) files.push({ path, expected: { bytes: facts.size, sha256: '' } });
  }
  return files;
}

/** The folder is named like its source; what else lies in it already is checked by {@link isThere}. */
function destination(env: Environment, folder: string): string {
  const name = basename(folder);
  return join(modelsFolder(env), 'folders', isPlainPath(name) && !name.startsWith('.') ? name : 'model');
}

async function expectedOf(
  folder: string,
  root: string,
  chosen: readonly RepoFile[],
  options: PullOptions,
): Promise<SourceFile[]> {
  const sums = await sumsIn(folder);
  const verified = onceForward('verify', options.onProgress);
  const unknownBytes = total(chosen.filter(({ path }) => !sums.has(path)));
  const sources: SourceFile[] = [];
  let before = 0;
  for (const { path, expected } of chosen) {
    options.signal?.throwIfAborted();
    const from = join(folder, path);
    let sha256 = sums.get(path);
    if (sha256 === undefined) {
      sha256 = await sha256OfFile(from, (done) => verified(before + done, unknownBytes));
      before += expected.bytes;
    }
    sources.push({ from, to: join(root, path), expected: { bytes: expected.bytes, sha256 } });
  }
  return sources;
}

/** What `sha256sum` wrote into the folder: digest by path. */
async function sumsIn(folder: string): Promise<ReadonlyMap<string, string>> {
  const sums = new Map<string, string>();
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (!SUMS.test(name) || (await stat(path)).size > LONGEST_SUMS) continue;
    for (const line of (await readFile(path, 'utf8')).split('\n')) {
      const [, digest, file] = /^([0-9a-f]{64})(?: [ *](?:\.\/)?(\S.*?))?\r?$/i.exec(line.trimEnd()) ?? [];
      // A lone digest is of the file that its own is named after.
      if (digest) sums.set(file ?? name.replace(/\.sha256$/i, ''), digest.toLowerCase());
    }
  }
  return sums;
}

/** Whether the file has come already. Throws `name-taken` when another one has its place. */
async function isThere({ to, expected }: SourceFile): Promise<boolean> {
  const facts = await stat(to).catch(() => undefined);
  if (facts === undefined) return false;
  if (facts.size === expected.bytes && (await sha256OfFile(to)) === expected.sha256) return true;
  throw new HadalError('name-taken', {
    what: to,
    expected: 'nothing, or the same file',
    got: 'another one',
    next: `remove it first: hadal rm ${to}, or give the folder another name`,
  });
}

async function copy(
  { from, to, expected }: SourceFile,
  onProgress: (done: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await RangedFile.open(to, expected);
  const source = await open(from);
  try {
    const buffer = Buffer.allocUnsafe(COPIED_BYTES);
    for (const gap of file.missing(COPIED_BYTES)) {
      signal?.throwIfAborted();
      const { bytesRead } = await source.read(buffer, 0, gap.to - gap.from, gap.from);
      await file.write(gap.from, buffer.subarray(0, bytesRead));
      onProgress(file.heldBytes);
    }
    await file.finish();
  } finally {
    await source.close();
    await file.close();
  }
}

function total(files: readonly Pick<RepoFile, 'expected'>[]): number {
  return files.reduce((sum, { expected }) => sum + expected.bytes, 0);
}
