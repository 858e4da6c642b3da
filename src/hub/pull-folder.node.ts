/**
 * Owns: bringing a model from a folder or a file of this machine (a stick, a share) into Hadal's own, whole and checked.
 * Refuses to know: the network, what a model file holds, how a source says what its files are (folder-source.node.ts).
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { HadalError } from '../error.ts';
import { sha256OfFile } from './digest.node.ts';
import { demandSpace, makeFolder } from './disk.node.ts';
import { digestsOf, filesUnder, locateSource, ofSource } from './folder-source.node.ts';
import { isPlainPath, type RepoFile } from './hugging-face.node.ts';
import { alone } from './lock.node.ts';
import { onceForward } from './progress.ts';
import type { Pulled, PullOptions } from './pull.node.ts';
import { RangedFile } from './ranged-file.node.ts';
import { selectFiles } from './reference.ts';
import { type Environment, modelsFolder } from './store.node.ts';

const COPIED_BYTES = 4 << 20;

/** A file of the source, and what it has to be. */
interface SourceFile {
  readonly from: string;
  readonly to: string;
  readonly expected: { readonly bytes: number; readonly sha256: string };
}

/**
 * Copies the model in a folder, or a file with its shards. One pull at a time fills a folder of Hadal's.
 *
 * @param source a file, a folder, or a folder with `:` and a file or quantization in it
 * @throws HadalError `folder-missing`, `file-not-a-model`, `file-missing`, `quantization-needed`, `digest-mismatch`, `name-taken` where another
 *   model has that name already, `disk-full`, `source-changed`, and what reading the source throws
 * @example (await pullFolder('/media/stick/DeepSeek-V2-Lite:Q4_K_M', { env: process.env })).path;
 */
export async function pullFolder(source: string, options: PullOptions): Promise<Pulled> {
  const { env, signal } = options;
  const { folder, wanted } = await locateSource(source);
  const files = await filesUnder(folder);
  const { main, files: chosen } = selectFiles({ repo: folder, commit: '', files }, wanted);
  const root = destination(env, folder);
  const digests = await digestsOf(folder, chosen, {
    signal,
    onProgress: onceForward('verify', options.onProgress),
  });
  const sources = chosen.map(({ path, expected: { bytes } }, i): SourceFile => {
    return { from: join(folder, path), to: join(root, path), expected: { bytes, sha256: digests[i] ?? '' } };
  });
  const path = main === undefined ? root : join(root, main);
  await makeFolder(dirname(root));
  const fetchedBytes = await alone(root, signal, () => bring(sources, folder, path, options), options.onWait);
  return { path, bytes: total(sources), fetchedBytes };
}

/** Copies what is not there yet, and answers with its bytes. */
async function bring(
  sources: readonly SourceFile[],
  folder: string,
  path: string,
  options: PullOptions,
): Promise<number> {
  const { env, signal } = options;
  const missing: SourceFile[] = [];
  for (const file of sources) if (!(await isThere(file, signal))) missing.push(file);
  const bytes = total(missing);
  if (missing.length === 0) return 0;
  const root = destination(env, folder);
  await makeFolder(root);
  await demandSpace(root, bytes);
  const title = `${basename(folder)}${missing.length > 1 ? ` (${missing.length} files)` : ''}`;
  const { sha256 } = missing.reduce((a, b) => (b.expected.bytes > a.expected.bytes ? b : a)).expected;
  options.onAnnounce?.({ title, license: 'license not said', sha256, bytes, path, from: folder });
  const copied = onceForward('fetch', options.onProgress);
  let before = 0;
  for (const file of missing) {
    await makeFolder(dirname(file.to));
    await copy(file, (done) => copied(before + done, bytes), signal);
    before += file.expected.bytes;
  }
  return bytes;
}

/** The folder is named like its source; what else lies in it already is checked by {@link isThere}. */
function destination(env: Environment, folder: string): string {
  const name = basename(folder);
  return join(modelsFolder(env), 'folders', isPlainPath(name) && !name.startsWith('.') ? name : 'model');
}

/** Whether the file has come already. Throws `name-taken` when another one has its place. */
async function isThere({ to, expected }: SourceFile, signal: AbortSignal | undefined): Promise<boolean> {
  const facts = await stat(to).catch(() => undefined);
  if (facts === undefined) return false;
  if (facts.size === expected.bytes && (await sha256OfFile(to, undefined, signal)) === expected.sha256) {
    return true;
  }
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
  try {
    const source = await ofSource(from, () => open(from));
    try {
      const buffer = Buffer.allocUnsafe(COPIED_BYTES);
      for (const { from: at, to: end } of file.missing(COPIED_BYTES)) {
        signal?.throwIfAborted();
        const piece = buffer.subarray(0, end - at);
        const got = await fill(piece, source, at, from);
        if (got < piece.length) throw changed(from, expected.bytes, at + got);
        await file.write(at, [piece]);
        onProgress(file.heldBytes);
      }
    } finally {
      await source.close();
    }
    await file.finish(undefined, signal);
  } finally {
    await file.close();
  }
}

/** Reads from `at` until the buffer is full or the file ends; answers with the bytes read. */
async function fill(buffer: Buffer, source: FileHandle, at: number, path: string): Promise<number> {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await ofSource(path, () =>
      source.read(buffer, done, buffer.length - done, at + done),
    );
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

function changed(path: string, bytes: number, got: number): HadalError {
  return new HadalError('source-changed', {
    what: path,
    expected: `${bytes} bytes to its end`,
    got: `${got}`,
    next: 'see that nothing writes to it, and run the same command again',
  });
}

function total(files: readonly Pick<RepoFile, 'expected'>[]): number {
  return files.reduce((sum, { expected }) => sum + expected.bytes, 0);
}
