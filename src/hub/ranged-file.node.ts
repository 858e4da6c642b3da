/**
 * Owns: a large file on its way in by pieces, in any order: which bytes are there, kept across runs and kills, and the
 * name it gets only when it is whole.
 * Refuses to know: where the bytes come from.
 *
 * Beside `<path>.incomplete` lies a log of the ranges that were written. A range is logged after its bytes went to the
 * system, so a killed process loses at most what it had not logged; whatever else may go wrong, the digest finds.
 */
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { HadalError } from '../error.ts';
import { blobDigest, type Expectation, sha256OfFile } from './digest.node.ts';
import { DigestAhead } from './digest-ahead.node.ts';

/** From the first byte to the one after the last. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/** Written bytes that are not logged yet. */
const LOG_BYTES = 4 << 20;
/** Written bytes that the disk is asked to take while others still come: at the end little is left to wait for. */
const SYNC_BYTES = 32 << 20;
/** Files worth a thread that takes the digest while they come. */
const AHEAD_BYTES = 16 << 20;

/**
 * An unfinished file.
 *
 * @example
 * const file = await RangedFile.open(path, { bytes, sha256 });
 * for (const gap of file.missing(8 << 20)) await file.write(gap.from, [await fetchBytes(gap)]);
 * await file.finish();
 */
export class RangedFile {
  readonly #path: string;
  readonly #expected: Expectation;
  readonly #file: FileHandle;
  readonly #log: FileHandle;
  #held: ByteRange[];
  #unlogged: ByteRange[] = [];
  #unloggedBytes = 0;
  #unsyncedBytes = 0;
  #syncing: Promise<void> | undefined;
  #syncError: unknown;
  #ahead: DigestAhead | undefined;

  private constructor(
    path: string,
    expected: Expectation,
    file: FileHandle,
    log: FileHandle,
    held: ByteRange[],
  ) {
    this.#path = path;
    this.#expected = expected;
    this.#file = file;
    this.#log = log;
    this.#held = held;
    this.#ahead = this.#newAhead();
  }

  #newAhead(): DigestAhead | undefined {
    const { bytes } = this.#expected;
    const worth = bytes >= AHEAD_BYTES && 'sha256' in this.#expected;
    return worth ? new DigestAhead(incomplete(this.#path)) : undefined;
  }

  /** Opens what an earlier run left, if it was of the same file. */
  static async open(path: string, expected: Expectation): Promise<RangedFile> {
    const held = await heldAt(path, expected);
    const file = await open(incomplete(path), held === undefined ? 'w+' : 'r+', 0o644);
    const log = await open(logPath(path), held === undefined ? 'w' : 'a', 0o644);
    if (held === undefined) await log.write(header(expected));
    return new RangedFile(path, expected, file, log, held ?? []);
  }

  /** Bytes that are there. */
  get heldBytes(): number {
    return total(this.#held);
  }

  /** What is not there yet, in pieces of at most so many bytes. */
  missing(mostBytes: number): ByteRange[] {
    const gaps: ByteRange[] = [];
    const ends = [...this.#held, { from: this.#expected.bytes, to: this.#expected.bytes }];
    let at = 0;
    for (const { from, to } of ends) {
      for (; at < from; at += mostBytes) gaps.push({ from: at, to: Math.min(at + mostBytes, from) });
      at = to;
    }
    return gaps;
  }

  /**
   * Writes pieces one after the other, from `at` on.
   *
   * @throws HadalError `download-too-long`, before a byte too many is written.
   */
  async write(at: number, pieces: readonly Uint8Array[]): Promise<void> {
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (at + bytes > this.#expected.bytes) {
      throw new HadalError('download-too-long', {
        what: basename(this.#path),
        expected: `${this.#expected.bytes} bytes`,
        got: 'more',
      });
    }
    if (bytes === 0) return;
    if (this.#syncError !== undefined) throw this.#syncError;
    // A host without ranges sends what is there once more, and perhaps other bytes: then the whole is read at the end.
    if (this.#ahead && at < this.#ahead.toldBytes) {
      await this.#ahead[Symbol.asyncDispose]();
      this.#ahead = undefined;
    }
    let left = pieces;
    for (let done = 0; done < bytes; ) {
      const { bytesWritten } = await this.#file.writev(left, at + done);
      done += bytesWritten;
      if (done < bytes) left = after(left, bytesWritten);
    }
    const range = { from: at, to: at + bytes };
    this.#held = joined([...this.#held, range]);
    this.#unlogged.push(range);
    this.#unloggedBytes += bytes;
    const [first] = this.#held;
    if (first?.from === 0) this.#ahead?.upTo(first.to);
    if (this.#unloggedBytes >= LOG_BYTES) await this.#writeLog();
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes >= SYNC_BYTES) this.#syncBeside();
  }

  /** Brings what was written to the disk, unless that is under way. The system tells of a failure only once. */
  #syncBeside(): void {
    if (this.#syncing) return;
    this.#unsyncedBytes = 0;
    this.#syncing = this.#file
      .datasync()
      .catch((error: unknown) => {
        this.#syncError ??= error;
      })
      .finally(() => {
        this.#syncing = undefined;
      });
  }

  /** @throws what kept an earlier part from the disk. */
  async #synced(): Promise<void> {
    await this.#syncing;
    if (this.#syncError !== undefined) throw this.#syncError;
  }

  /** Throws away what is there. */
  async restart(): Promise<void> {
    this.#held = [];
    this.#unlogged = [];
    this.#unloggedBytes = 0;
    await this.#ahead?.[Symbol.asyncDispose]();
    await this.#syncing;
    await this.#log.truncate(0);
    await this.#file.truncate(0);
    await this.#log.write(header(this.#expected));
    this.#ahead = this.#newAhead();
  }

  /**
   * Checks the digest of the whole, and gives the file its name. A wrong file is thrown away.
   *
   * @param onProgress bytes checked so far
   * @throws HadalError `download-incomplete` (what is there stays, to be continued) or `digest-mismatch`; the reason of
   *   `signal`, and what is there stays then too.
   */
  async finish(onProgress?: (doneBytes: number) => void, signal?: AbortSignal): Promise<void> {
    const { bytes } = this.#expected;
    if (this.heldBytes !== bytes) {
      throw new HadalError('download-incomplete', {
        what: basename(this.#path),
        expected: `${bytes} bytes`,
        got: `${this.heldBytes}`,
      });
    }
    const wanted = 'sha256' in this.#expected ? this.#expected.sha256 : this.#expected.gitBlob;
    const got = await this.#digest(onProgress, signal);
    if (got !== wanted) {
      await this.restart();
      throw new HadalError('digest-mismatch', {
        what: basename(this.#path),
        expected: `${'sha256' in this.#expected ? 'SHA-256' : 'the git digest'} ${wanted}`,
        got,
      });
    }
    await this.#synced();
    await this.#file.sync();
    await this.close();
    await rename(incomplete(this.#path), this.#path);
    await rm(logPath(this.#path), { force: true });
  }

  #digest(onProgress?: (doneBytes: number) => void, signal?: AbortSignal): Promise<string> {
    const path = incomplete(this.#path);
    if (this.#ahead) return this.#ahead.finish(this.#expected.bytes, onProgress, signal);
    return 'sha256' in this.#expected ? sha256OfFile(path, onProgress, signal) : blobDigest(path);
  }

  /** Writes the log and closes; a file without a byte is removed. */
  async close(): Promise<void> {
    await this.#ahead?.[Symbol.asyncDispose]();
    await this.#syncing;
    await this.#writeLog().catch(() => undefined);
    await this.#log.close().catch(() => undefined);
    await this.#file.close().catch(() => undefined);
    if (this.#held.length > 0) return;
    await rm(incomplete(this.#path), { force: true });
    await rm(logPath(this.#path), { force: true });
  }

  async #writeLog(): Promise<void> {
    const ranges = joined(this.#unlogged);
    this.#unlogged = [];
    this.#unloggedBytes = 0;
    if (ranges.length > 0) await this.#log.write(ranges.map(({ from, to }) => `${from} ${to}\n`).join(''));
  }
}

/**
 * Bytes that are there of an unfinished file; touches nothing, for another process may be at work on it.
 *
 * @example await heldBytesAt(path, { bytes, sha256 });
 */
export async function heldBytesAt(path: string, expected: Expectation): Promise<number> {
  return total((await heldAt(path, expected)) ?? []);
}

async function heldAt(path: string, expected: Expectation): Promise<ByteRange[] | undefined> {
  const size = (await stat(incomplete(path)).catch(() => undefined))?.size;
  return size === undefined ? undefined : readLog(path, expected, size);
}

/** What is left of pieces behind their first `bytes`. */
function after(pieces: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let skipped = bytes;
  return pieces.flatMap((piece) => {
    const rest = piece.subarray(Math.min(skipped, piece.length));
    skipped -= piece.length - rest.length;
    return rest.length === 0 ? [] : [rest];
  });
}

function total(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}

function incomplete(path: string): string {
  return `${path}.incomplete`;
}

function logPath(path: string): string {
  return `${path}.incomplete.ranges`;
}

function header(expected: Expectation): string {
  return `${expected.bytes} bytes of ${'sha256' in expected ? expected.sha256 : expected.gitBlob}\n`;
}

/** The logged ranges, or undefined where there is no log of this file. A last line that was cut off does not count. */
async function readLog(path: string, expected: Expectation, size: number): Promise<ByteRange[] | undefined> {
  const text = await readFile(logPath(path), 'utf8').catch(() => '');
  const first = header(expected);
  if (!text.startsWith(first)) return undefined;
  const ranges: ByteRange[] = [];
  for (const [, from, to] of text.slice(first.length).matchAll(/^(\d+) (\d+)\n/gm)) {
    const range = { from: Number(from), to: Number(to) };
    if (range.from < range.to && range.to <= Math.min(size, expected.bytes)) ranges.push(range);
  }
  return joined(ranges);
}

/** Sorted, and without overlaps or seams. */
function joined(ranges: readonly ByteRange[]): ByteRange[] {
  const out: ByteRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.from - b.from)) {
    const last = out.at(-1);
    if (last === undefined || range.from > last.to) out.push(range);
    else if (range.to > last.to) out[out.length - 1] = { from: last.from, to: range.to };
  }
  return out;
}
