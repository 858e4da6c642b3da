/**
 * Owns: reading a text file that a flag or a word names.
 * Refuses to know: what is in it.
 */
import { readFile } from 'node:fs/promises';
import { HadalError } from '../error.ts';

/**
 * A file as text.
 *
 * @param expected what it should be, for the error
 * @throws HadalError `file-unreadable`
 * @example await textFile('./wiki.test.raw');
 */
export function textFile(path: string, expected = 'a text'): Promise<string> {
  return readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    const got = cause.code ?? cause.message;
    throw new HadalError('file-unreadable', { what: path, expected, got, next: 'check the path' });
  });
}
