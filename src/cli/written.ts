/**
 * Owns: a file that a command was told to write beside its answer.
 * Refuses to know: what is in it.
 */
import { writeFile } from 'node:fs/promises';
import { HadalError } from '../error.ts';

/**
 * Writes `text` to `path`; what was there is replaced. Throws `file-unwritable`.
 *
 * @example await writeText('bom.json', '{}\n')
 */
export async function writeText(path: string, text: string): Promise<void> {
  await writeFile(path, text).catch(({ code }: NodeJS.ErrnoException) => {
    throw new HadalError('file-unwritable', {
      what: path,
      expected: 'a file that can be written',
      got: `${code}`,
      next: 'name a file in a folder that exists',
    });
  });
}
