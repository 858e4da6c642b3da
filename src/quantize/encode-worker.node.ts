/**
 * Owns: the main file of an encoding thread: jobs in, bytes or a packed error out.
 * Refuses to know: who asks, in what order answers are wanted.
 */
import { parentPort } from 'node:worker_threads';
import { encodeNatively } from '../backend/native/encode.node.ts';
import { type ErrorMessage, packError } from '../engine/channel.ts';
import { type EncodeJob, encodeRows } from './encode-job.ts';

/** What a thread answers to job `id`. */
export interface EncodeAnswer {
  readonly id: number;
  readonly bytes?: Uint8Array<ArrayBuffer>;
  readonly error?: ErrorMessage;
}

const port = parentPort!;
port.on('message', ({ id, job }: { id: number; job: EncodeJob }) => {
  try {
    const bytes = encodeRows(job, encodeNatively);
    port.postMessage({ id, bytes } satisfies EncodeAnswer, [bytes.buffer]);
  } catch (error) {
    port.postMessage({ id, error: packError(error) } satisfies EncodeAnswer);
  }
});
