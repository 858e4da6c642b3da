/**
 * Owns: files on disk as byte sources.
 * Refuses to know: formats, mapping.
 */
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { HadalError } from '../error.ts';
import { checkRange } from './byte-source.ts';
import type { ByteSource } from './tensor-info.ts';

/**
 * Opens a file for reading at any offset.
 *
 * @throws HadalError `file-missing`, `file-unreadable` or `file-not-regular`; reads throw `read-outside` and, when the
 *   file has become shorter since, `file-shrank`.
 * @example const source = await openFile('model.gguf');
 */
export async function openFile(path: string): Promise<ByteSource> {
  const handle = await open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
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
  });
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
  const { size } = status;
  return {
    name: path,
    path: resolve(path),
    size,
    async read(offset, length) {
      checkRange(path, size, offset, length);
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
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
    close: () => handle.close(),
  };
}
