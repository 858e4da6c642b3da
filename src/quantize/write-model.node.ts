/**
 * Owns: writing a model to disk piece by piece: the files' order, room on the disk, going on after a kill, the final name.
 * Refuses to know: where tensors come from, why each has its type.
 *
 * Nothing stands under the final name before all of it is there. Until then it is `<name>.part`, with a journal beside it
 * that says what it is made of and how many tensors are whole, and a lock while a process writes it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  access,
  constants,
  type FileHandle,
  open,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { DTypeName } from '../dtypes/dtype.ts';
import { HadalError } from '../error.ts';
import { shardGguf } from '../formats/gguf/shards.ts';
import { type GgufPlan, layOutGguf } from '../formats/gguf/write.ts';
import type { FileLayout } from '../formats/layout.ts';
import { alone } from '../hub/lock.node.ts';
import type { EncodePool } from './encode-pool.node.ts';
import type { Piece, SourceTensor } from './pieces.ts';

/** A tensor and what it becomes. */
export interface PlannedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DTypeName;
  readonly source: SourceTensor;
  /** [matrices * cols] how much an error in each column weighs, or [cols] for all matrices alike. */
  readonly importance?: Float32Array;
}

/** What is to be written. */
export interface WritePlan {
  readonly metadata: GgufPlan['metadata'];
  readonly tensors: readonly PlannedTensor[];
  /** The files that are read, which are never replaced. */
  readonly inputs: readonly string[];
  /** What it is made from: sizes and times of the inputs and the options. A part made from anything else is begun anew. */
  readonly identity: string;
}

/** Options of {@link writeModel}. */
export interface WriteOptions {
  readonly pool: EncodePool;
  /** Replace a file that is there. */
  readonly force?: boolean;
  /** Most bytes of tensors in a file; one file when absent. */
  readonly shardBytes?: number;
  readonly signal?: AbortSignal;
  /** Bytes written so far and in all, what an earlier run left included. */
  readonly onProgress?: (doneBytes: number, totalBytes: number, tensor: string) => void;
}

/** What was written. */
export interface Written {
  readonly paths: readonly string[];
  readonly bytes: number;
  /** Tensors that an earlier run had finished. */
  readonly resumedTensors: number;
}

interface Journal {
  readonly identity: string;
  readonly tensors: number;
}

interface OutFile {
  readonly path: string;
  readonly layout: FileLayout;
  readonly tensors: readonly PlannedTensor[];
}

/** Bytes of a file that may be lost to a fall of the power. */
const SYNC_BYTES = 256 << 20;

/**
 * Writes a GGUF model, or goes on where an earlier run of the same plan was stopped.
 *
 * @param path the file's name, which ends in `.gguf`; shards are named after it
 * @throws HadalError `output-is-input`, `output-exists`, `output-busy`, `disk-full`, `output-unwritable`, the signal's reason, and what
 *   encoding throws.
 * @example await writeModel('v2-lite-q4_k_m.gguf', plan, { pool });
 */
export async function writeModel(path: string, plan: WritePlan, options: WriteOptions): Promise<Written> {
  const files = outFiles(path, plan, options.shardBytes);
  for (const file of files) await refuseInputs(file.path, plan.inputs);
  try {
    return await alone(
      partOf(path),
      options.signal,
      () => writeOrGoOn(path, files, digest(plan, files), options),
      (lock) => {
        const next = `wait until that is done; if nothing runs, delete ${lock}`;
        throw new HadalError('output-busy', { what: path, expected: 'that nothing else writes it', next });
      },
    );
  } catch (error) {
    throw explained(error, path);
  }
}

async function writeOrGoOn(
  path: string,
  files: readonly OutFile[],
  identity: string,
  options: WriteOptions,
): Promise<Written> {
  const journalPath = `${path}.part.json`;
  const { tensors: done, left } = await whatIsDone(files, await readJournal(journalPath), identity);
  const free = (file: OutFile) => refuseExisting(file.path, options.force === true);
  left.forEach(free);
  const totalBytes = files.reduce((sum, { layout }) => sum + layout.totalBytes, 0);
  if (done === 0) await Promise.all(files.map((file) => rm(partOf(file.path), { force: true })));
  await demandRoom(path, left);
  await writeFile(journalPath, JSON.stringify({ identity, tensors: done }));
  await writeFiles(files, done, totalBytes, { ...options, journalPath, identity });
  for (const file of left) {
    // Hours may lie between: what came there meanwhile is somebody's.
    free(file);
    await rename(partOf(file.path), file.path);
  }
  await rm(journalPath, { force: true });
  return { paths: files.map((file) => file.path), bytes: totalBytes, resumedTensors: done };
}

/**
 * How many tensors are whole, and which files have not got their final name yet: a kill may come between two. A part that
 * is not as long as the journal says is worth nothing.
 */
async function whatIsDone(
  files: readonly OutFile[],
  journal: Journal | undefined,
  identity: string,
): Promise<{ readonly tensors: number; readonly left: readonly OutFile[] }> {
  const anew = { tensors: 0, left: files };
  if (journal?.identity !== identity) return anew;
  const left: OutFile[] = [];
  let first = 0;
  for (const file of files) {
    const whole = Math.min(file.tensors.length, journal.tensors - first);
    first += file.tensors.length;
    const { offset, bytes } = file.layout.places[whole - 1] ?? { offset: 0, bytes: 0 };
    const part = await stat(partOf(file.path)).catch(() => undefined);
    if (part === undefined && whole === file.tensors.length && (await isThere(file))) continue;
    if (whole > 0 && !(part && part.size >= offset + bytes)) return anew;
    left.push(file);
  }
  return { tensors: journal.tensors, left };
}

/** Whether a file of this size and with this header stands under the final name. */
async function isThere({ path, layout: { header, totalBytes } }: OutFile): Promise<boolean> {
  const handle = await open(path, 'r').catch(() => undefined);
  if (handle === undefined) return false;
  try {
    const start = Buffer.alloc(header.length);
    const { bytesRead } = await handle.read(start, 0, start.length, 0);
    return bytesRead === start.length && start.equals(header) && (await handle.stat()).size === totalBytes;
  } finally {
    await handle.close();
  }
}

/**
 * Writes a small file as a whole: nothing stands under its name before all of it is there.
 *
 * @param parts its bytes, in order
 * @throws HadalError `output-exists`, `disk-full`, `output-unwritable`
 * @example await writeParts('model-imatrix.gguf', imatrixBytes(imatrix, 'gguf'), false);
 */
export async function writeParts(path: string, parts: Iterable<Uint8Array>, force: boolean): Promise<void> {
  refuseExisting(path, force);
  try {
    const handle = await open(partOf(path), 'w');
    try {
      let at = 0;
      for (const bytes of parts) {
        await writeAll(handle, bytes, at);
        at += bytes.length;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partOf(path), path);
  } catch (error) {
    await rm(partOf(path), { force: true });
    throw explained(error, path, 'make room and run the command again');
  }
}

function outFiles(path: string, { metadata, tensors }: WritePlan, shardBytes: number | undefined): OutFile[] {
  if (shardBytes === undefined) return [{ path, layout: layOutGguf({ metadata, tensors }), tensors }];
  return shardGguf(path.replace(/\.gguf$/i, ''), { metadata, tensors }, shardBytes).map(({ name, plan }) => ({
    path: name,
    layout: layOutGguf(plan),
    tensors: plan.tensors,
  }));
}

async function writeFiles(
  files: readonly OutFile[],
  done: number,
  totalBytes: number,
  options: WriteOptions & { readonly journalPath: string; readonly identity: string },
): Promise<void> {
  const { journalPath, identity, onProgress } = options;
  let index = 0;
  let doneBytes = 0;
  let unsyncedBytes = 0;
  for (const file of files) {
    // Whole files may have their final name already.
    if (index + file.tensors.length <= done && !existsSync(partOf(file.path))) {
      index += file.tensors.length;
      for (const { bytes } of file.layout.places) doneBytes += bytes;
      continue;
    }
    const handle = await open(partOf(file.path), existsSync(partOf(file.path)) ? 'r+' : 'w+');
    try {
      await writeAll(handle, file.layout.header, 0);
      for (const [i, tensor] of file.tensors.entries()) {
        const { offset, bytes } = file.layout.places[i]!;
        if (index >= done) {
          await writeTensor(handle, tensor, offset, options);
          unsyncedBytes += bytes;
          if (unsyncedBytes >= SYNC_BYTES || i === file.tensors.length - 1) {
            await handle.datasync();
            await replace(journalPath, JSON.stringify({ identity, tensors: index + 1 }));
            unsyncedBytes = 0;
          }
        }
        index++;
        doneBytes += bytes;
        onProgress?.(doneBytes, totalBytes, tensor.name);
      }
      await handle.truncate(file.layout.totalBytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

/** Encodes pieces a few at a time and writes them in order. */
async function writeTensor(
  handle: FileHandle,
  { name, dtype, source, importance }: PlannedTensor,
  offset: number,
  { pool, signal }: WriteOptions,
): Promise<void> {
  const cols = source.shape[0]!;
  const weighed = (matrix: number) => {
    if (importance === undefined) return {};
    const from = importance.length > cols ? matrix * cols : 0;
    return { importance: importance.slice(from, from + cols) };
  };
  const encoded = async ({ matrix, read }: Piece) =>
    pool.encode({ ...(await read()), name, to: dtype, ...weighed(matrix) });
  const ahead: Promise<Uint8Array>[] = [];
  let at = offset;
  const writeFirst = async () => {
    const bytes = await ahead.shift()!;
    await writeAll(handle, bytes, at);
    at += bytes.length;
  };
  try {
    for (const piece of source.pieces()) {
      signal?.throwIfAborted();
      const made = encoded(piece);
      // It may fail before its turn has come, and is heard then.
      made.catch(() => undefined);
      ahead.push(made);
      if (ahead.length > 2 * pool.threads) await writeFirst();
    }
    while (ahead.length > 0) await writeFirst();
  } finally {
    await Promise.allSettled(ahead);
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

/** Writes a small file so that a kill leaves the old one or the new one. */
async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

async function readJournal(path: string): Promise<Journal | undefined> {
  try {
    const { identity, tensors } = JSON.parse(await readFile(path, 'utf8'));
    return typeof identity === 'string' && Number.isInteger(tensors) ? { identity, tensors } : undefined;
  } catch {
    // None, or one that was cut off: the part is begun anew.
    return undefined;
  }
}

function digest({ identity, tensors }: WritePlan, files: readonly OutFile[]): string {
  const hash = createHash('sha256').update(identity);
  for (const { name, dtype, shape, importance } of tensors) {
    hash.update(JSON.stringify([name, dtype, shape]));
    if (importance)
      hash.update(new Uint8Array(importance.buffer, importance.byteOffset, importance.byteLength));
  }
  for (const { path, layout } of files) hash.update(basename(path)).update(layout.header);
  return hash.digest('hex');
}

/**
 * Refuses a name that is taken, unless it may be replaced, and a folder that cannot be written to: before the work.
 *
 * @throws HadalError `output-exists`, `output-unwritable`
 * @example await demandPlace('model-imatrix.gguf', false);
 */
export async function demandPlace(path: string, force: boolean): Promise<void> {
  refuseExisting(path, force);
  await access(dirname(path), constants.W_OK).catch((error: unknown) => {
    throw explained(error, path);
  });
}

async function refuseInputs(path: string, inputs: readonly string[]): Promise<void> {
  const there = await stat(path).catch(() => undefined);
  for (const input of there ? inputs : []) {
    const { dev, ino } = await stat(input);
    if (dev !== there!.dev || ino !== there!.ino) continue;
    throw new HadalError('output-is-input', {
      what: path,
      expected: 'another file than the one that is read',
      got: input,
      next: 'choose another name with --out, and delete the original afterwards if you can do without it',
    });
  }
}

function refuseExisting(path: string, force: boolean): void {
  if (force || !existsSync(path)) return;
  throw new HadalError('output-exists', {
    what: path,
    expected: 'a name that is free',
    got: 'a file',
    next: 'choose another name, or replace it with --force',
  });
}

async function demandRoom(path: string, files: readonly OutFile[]): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  let neededBytes = 0;
  for (const { path: out, layout } of files) {
    const there = await open(partOf(out), 'r').catch(() => undefined);
    const hereBytes = (await there?.stat())?.blocks ?? 0;
    await there?.close();
    neededBytes += Math.max(0, layout.totalBytes - hereBytes * 512);
  }
  if (neededBytes <= bavail * bsize) return;
  throw new HadalError('disk-full', {
    what: dirname(path),
    expected: `${neededBytes} bytes free`,
    got: `${bavail * bsize}`,
    next: 'make room, or write elsewhere with --out',
  });
}

function partOf(path: string): string {
  return `${path}.part`;
}

/**
 * What the system said, as a sentence; our own errors as they are.
 *
 * @param next what to do where the disk is full
 */
function explained(
  error: unknown,
  path: string,
  next = 'make room and run the command again: it goes on from the last whole tensor',
): unknown {
  if (error instanceof HadalError || !(error instanceof Error) || !('code' in error)) return error;
  if (error.code === 'ENOSPC') {
    const what = `the disk of ${path} is full`;
    return new HadalError('disk-full', { what, next }, { cause: error });
  }
  return new HadalError(
    'output-unwritable',
    {
      what: path,
      expected: 'a place that can be written to',
      got: String(error.code),
      next: 'check the path',
    },
    { cause: error },
  );
}
