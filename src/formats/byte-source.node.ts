/**
 * Owns: files on disk as byte sources.
 * Refuses to know: formats, mapping.
 */
import { constants, fstat, read as readHeld } from 'node:fs';
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { HadalError } from '../error.ts';
import { checkRange } from './byte-source.ts';
import type { ByteSource } from './tensor-info.ts';

/**
 * Opens a file for reading at any offset. A pipe or a device is refused, and never waited for.
 *
 * @throws HadalError `file-missing`, `file-unreadable` or `file-not-regular`; reads throw `read-outside` and, when the
 *   file has become shorter since, `file-shrank`.
 * @example const source = await openFile('model.gguf');
 */
export async function openFile(path: string): Promise<ByteSource> {
  // Where a pipe has no writer, opening it would wait for one.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch(
    (cause: NodeJS.ErrnoException) => {
      const missing = cause.code === 'ENOENT';
      throw new HadalError(
        missing ? 'file-missing' : 'file-unreadable',
        {
          what: path,
          expected: 'a file that can be read',
          got: missing ? 'nothing there' : (cause.code ?? 'an error'),
          next: missing ? 'check the path' : 'check its permissions',
        },
        { cause },
      );
    },
  );
  const status = await handle.stat();
  if (!status.isFile()) {
    await handle.close();
    throw new HadalError('file-not-regular', {
      what: path,
      expected: 'a regular file',
      got: status.isDirectory() ? 'a folder' : 'something else',
      next: 'name the model file itself',
    });
  }
  return sourceOver(
    path,
    status.size,
    handle.fd,
    (bytes, ...at) => handle.read(bytes, ...at),
    () => handle.close(),
  );
}

/**
 * A file that somebody else has open under a number, and closes.
 *
 * @throws HadalError `file-unreadable`; reads as those of {@link openFile}.
 * @example const source = await heldFile('model.gguf', 21);
 */
export async function heldFile(path: string, fd: number): Promise<ByteSource> {
  const { size } = await promisify(fstat)(fd).catch((cause: NodeJS.ErrnoException) => {
    const complaint = { what: path, expected: 'a file that is open', got: cause.code ?? 'an error' };
    throw new HadalError('file-unreadable', { ...complaint, next: 'open the model again' }, { cause });
  });
  const read = promisify(readHeld);
  return sourceOver(
    path,
    size,
    fd,
    (bytes, ...at) => read(fd, bytes, ...at),
    async () => {},
  );
}

type Reading = (
  bytes: Uint8Array,
  at: number,
  length: number,
  offset: number,
) => Promise<{ bytesRead: number }>;

function sourceOver(
  path: string,
  size: number,
  fd: number,
  readSome: Reading,
  close: () => Promise<void>,
): ByteSource {
  return {
    name: path,
    path: resolve(path),
    fd,
    size,
    async read(offset, length, into) {
      checkRange(path, size, offset, length);
      const bytes = into === undefined ? new Uint8Array(length) : into.subarray(0, length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await readSome(bytes, done, length - done, offset + done);
        if (bytesRead === 0) {
          throw new HadalError('file-shrank', {
            what: path,
            expected: `${size} bytes, as when it was opened`,
            got: `an end at byte ${offset + done}`,
            next: 'leave model files alone while they are in use; fetch it again',
          });
        }
        done += bytesRead;
      }
      return bytes;
    },
    close,
  };
}
