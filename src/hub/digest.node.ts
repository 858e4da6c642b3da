/**
 * Owns: digests of files on disk, as hubs name them.
 * Refuses to know: where a file came from.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';

/** What a finished file must be: large files of a hub have a SHA-256, small ones git's digest of a blob. */
export type Expectation =
  | { readonly bytes: number; readonly sha256: string }
  | { readonly bytes: number; readonly gitBlob: string };

/**
 * The SHA-256 of a file, hexadecimal.
 *
 * @param onProgress bytes read so far and in all
 * @throws the reason of `signal`
 * @example await sha256OfFile('model.gguf');
 */
export function sha256OfFile(
  path: string,
  onProgress?: (done: number, total: number) => void,
  signal?: AbortSignal,
): Promise<string> {
  return digestOf(path, createHash('sha256'), onProgress, signal);
}

/**
 * git's digest of a blob: SHA-1 of `blob`, the length, a zero byte and the bytes.
 *
 * @example await blobDigest('config.json');
 */
export async function blobDigest(path: string): Promise<string> {
  const hash = createHash('sha1');
  hash.update(`blob ${(await stat(path)).size}\0`);
  return digestOf(path, hash);
}

async function digestOf(
  path: string,
  hash: ReturnType<typeof createHash>,
  onProgress?: (done: number, total: number) => void,
  signal?: AbortSignal,
): Promise<string> {
  const total = (await stat(path)).size;
  let done = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    signal?.throwIfAborted();
    hash.update(chunk as Buffer);
    done += (chunk as Buffer).length;
    onProgress?.(done, total);
  }
  return hash.digest('hex');
}
