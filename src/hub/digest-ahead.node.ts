/**
 * Owns: the SHA-256 of a file that still grows, taken on a thread of its own, so that little is left when it is whole.
 * Refuses to know: where the bytes come from, in which order they are written.
 */
import { Worker } from 'node:worker_threads';

/** The thread: hashes the file up to where it is told, says how far it is, and at the end what came out. */
const THREAD = `
const { createHash } = require('node:crypto');
const { openSync, readSync } = require('node:fs');
const { parentPort, workerData } = require('node:worker_threads');
const file = openSync(workerData, 'r');
const hash = createHash('sha256');
const buffer = Buffer.allocUnsafe(1 << 20);
let done = 0;
parentPort.on('message', ({ to, last }) => {
  while (done < to) {
    const read = readSync(file, buffer, 0, Math.min(buffer.length, to - done), done);
    if (read === 0) throw new Error('the file ends at ' + done + ' of ' + to + ' bytes');
    hash.update(buffer.subarray(0, read));
    done += read;
    if (last && done < to) parentPort.postMessage({ done });
  }
  parentPort.postMessage(last ? { done, digest: hash.digest('hex') } : { done });
});
`;

interface Answer {
  readonly done: number;
  readonly digest?: string;
}

/** Bytes that make a message to the thread worth it. */
const STEP_BYTES = 4 << 20;

/**
 * A digest that follows the file: {@link upTo} may be called at any time with bytes that do not change any more.
 *
 * @example
 * await using ahead = new DigestAhead(path);
 * ahead.upTo(32 << 20);
 * const sha256 = await ahead.finish(totalBytes);
 */
export class DigestAhead implements AsyncDisposable {
  readonly #thread: Worker;
  #told = 0;

  constructor(path: string) {
    this.#thread = new Worker(THREAD, { eval: true, workerData: path });
    // What goes wrong is told by `finish`, which hears of the exit.
    this.#thread.on('error', () => undefined);
    this.#thread.unref();
  }

  /** Bytes that must not change any more. */
  get toldBytes(): number {
    return this.#told;
  }

  /** The first `bytes` of the file stay as they are. */
  upTo(bytes: number): void {
    if (bytes - this.#told < STEP_BYTES) return;
    this.#told = bytes;
    this.#thread.postMessage({ to: bytes });
  }

  /**
   * The SHA-256 of the first `bytes` of the file, hexadecimal; the thread has ended then.
   *
   * @param onProgress bytes hashed so far
   * @throws Error when the file could not be read; the reason of `signal`
   */
  async finish(bytes: number, onProgress?: (done: number) => void, signal?: AbortSignal): Promise<string> {
    const over = new AbortController();
    try {
      return await new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        signal?.addEventListener('abort', () => reject(signal.reason), { signal: over.signal });
        this.#thread.on('message', ({ done, digest }: Answer) => {
          onProgress?.(done);
          if (digest !== undefined) resolve(digest);
        });
        this.#thread.once('error', reject);
        this.#thread.once('exit', () => reject(new Error('the thread that takes the digest ended')));
        this.#thread.ref();
        this.#thread.postMessage({ to: bytes, last: true });
      });
    } finally {
      over.abort();
      await this[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread.terminate();
  }
}
