/**
 * Owns: threads that encode: one job at a time each, the rest in a queue.
 * Refuses to know: what is encoded, where the bytes go.
 */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { unpackError } from '../engine/channel.ts';
import { HadalError } from '../error.ts';
import type { EncodeJob } from './encode-job.ts';
import type { EncodeAnswer } from './encode-worker.node.ts';

interface Waiting {
  readonly job: EncodeJob;
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A pool of encoding threads.
 *
 * @example
 * await using pool = new EncodePool();
 * const bytes = await pool.encode(job);
 */
export class EncodePool implements AsyncDisposable {
  readonly threads: number;
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];
  readonly #queue: Waiting[] = [];
  readonly #running = new Map<Worker, Waiting>();
  #jobs = 0;

  /** @param threads all that the machine grants when absent. */
  constructor(threads: number = availableParallelism()) {
    this.threads = threads;
  }

  /** The job's rows in their new type; rejects as `encodeRows` throws. The job's bytes stay the caller's. */
  encode(job: EncodeJob): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ job, resolve, reject });
      this.#next();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#queue.length = 0;
    await Promise.all(this.#all.map((worker) => worker.terminate()));
  }

  #next(): void {
    const waiting = this.#queue[0];
    if (waiting === undefined) return;
    const worker = this.#idle.pop() ?? (this.#all.length < this.threads ? this.#start() : undefined);
    if (worker === undefined) return;
    this.#queue.shift();
    this.#running.set(worker, waiting);
    worker.postMessage({ id: ++this.#jobs, job: waiting.job });
  }

  #start(): Worker {
    const worker = new Worker(mainFile());
    worker.on('message', ({ bytes, error }: EncodeAnswer) => {
      const { resolve, reject } = this.#running.get(worker)!;
      this.#running.delete(worker);
      this.#idle.push(worker);
      if (error) reject(unpackError(error));
      else resolve(bytes!);
      this.#next();
    });
    const gone = (why: string) => {
      const waiting = this.#running.get(worker);
      this.#running.delete(worker);
      this.#all.splice(this.#all.indexOf(worker), 1);
      const complaint = {
        what: `an encoding thread ended: ${why}`,
        next: 'run the command again: it goes on',
      };
      waiting?.reject(new HadalError('encoder-died', complaint));
      // What waits in the queue is for another one.
      this.#next();
    };
    worker.once('error', ({ message }) => gone(message));
    this.#all.push(worker);
    return worker;
  }
}

/** The thread's main file: beside this one, or where a checkout has been built when this is the source. */
function mainFile(): URL {
  const beside = new URL('./encode-worker.node.js', import.meta.url);
  const built = new URL('../../dist/quantize/encode-worker.node.js', import.meta.url);
  const main = existsSync(beside) ? beside : built;
  if (existsSync(main)) return main;
  throw new HadalError('not-built', {
    what: 'the encoder',
    expected: fileURLToPath(built),
    got: 'nothing there',
    next: 'run `npm run build`',
  });
}
