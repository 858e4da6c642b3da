/**
 * Owns: bytes in memory as a byte source, and the check that a read lies inside one.
 * Refuses to know: files, formats.
 */
import { HadalError } from '../error.ts';
import type { ByteSource } from './tensor-info.ts';

/**
 * A byte source over bytes in memory; reads are views.
 *
 * @example const file = await readGguf(bytesSource(writeGguf(model), 'toy.gguf'));
 */
export function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.length,
    async read(offset, length) {
      checkRange(name, bytes.length, offset, length);
      return bytes.subarray(offset, offset + length);
    },
    async close() {},
  };
}

/**
 * Throws HadalError `read-outside` unless [offset, offset + length) lies in [0, size).
 *
 * @example checkRange('model.gguf', 100, 90, 20); // throws
 */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0) {
    if (offset + length <= size) return;
  }
  throw new HadalError('read-outside', {
    what: name,
    expected: `bytes ${offset} to ${offset + length}`,
    got: `a file of ${size} bytes`,
    next: 'it may have been cut short: fetch it again',
  });
}
