/**
 * Owns: results that are appended to a file as they come, one JSON document a line, and found again after a kill.
 * Refuses to know: what is measured.
 */
import { createHash } from 'node:crypto';
import { access, appendFile, constants, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../error.ts';

/** Results of one measurement in a file that others may be in too. */
export interface KeptResults<T extends object> {
  /** Those of earlier runs, in the order of the file. */
  readonly before: readonly T[];
  /** Appends one. */
  keep(result: T): Promise<void>;
}

/**
 * Opens a file of results; those of another identity are left alone, and a line that a kill cut off is left out.
 *
 * @throws HadalError `results-unwritable`, before anything is measured, and `results-foreign` for a file of something else
 * @example const { before, keep } = await keptResults<Row>('m.compare.jsonl', digestOf(model, text));
 */
export async function keptResults<T extends object>(path: string, identity: string): Promise<KeptResults<T>> {
  const text = await textOf(path);
  const add = (line: string) =>
    appendFile(path, line).catch((cause) => Promise.reject(unwritable(path, cause)));
  if (text !== '' && !text.endsWith('\n')) await add('\n');
  const before = text.split('\n').flatMap((line): T[] => {
    try {
      const { identity: of, ...result } = JSON.parse(line);
      return of === identity ? [result] : [];
    } catch {
      // Cut off, or empty.
      return [];
    }
  });
  return { before, keep: (result) => add(`${JSON.stringify({ identity, ...result })}\n`) };
}

/** How every line begins; the first one may have been cut off. */
const BEGINNING = '{"identity":"';

async function textOf(path: string): Promise<string> {
  try {
    const handle = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (handle === undefined) {
      await access(dirname(path), constants.W_OK);
      return '';
    }
    const { bytesRead, buffer } = await handle
      .read(Buffer.alloc(BEGINNING.length), 0, BEGINNING.length, 0)
      .finally(() => handle.close());
    const start = buffer.toString('utf8', 0, bytesRead).trimEnd();
    if (BEGINNING.startsWith(start)) return await readFile(path, 'utf8');
  } catch (cause) {
    throw unwritable(path, cause as NodeJS.ErrnoException);
  }
  throw new HadalError('results-foreign', {
    what: path,
    expected: 'a file of results, to append to, or none',
    got: 'a file of something else',
    next: 'name another one with --out',
  });
}

function unwritable(path: string, cause: NodeJS.ErrnoException): HadalError {
  return new HadalError(
    'results-unwritable',
    {
      what: path,
      expected: 'a file for results that can be written',
      got: cause.code ?? cause.message,
      next: 'make room, or name a file in a folder that exists with --out',
    },
    { cause },
  );
}

/** A short digest of what a result depends on. Example: `digestOf(model, text, 512)` */
export function digestOf(...parts: readonly (string | number)[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 16);
}
