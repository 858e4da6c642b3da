/**
 * Owns: results that are appended to a file as they come, one JSON document a line, and found again after a kill.
 * Refuses to know: what is measured.
 */
import { createHash } from 'node:crypto';
import { appendFile, readFile } from 'node:fs/promises';

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
 * @throws what the system says where the file cannot be read or written
 * @example const { before, keep } = await keptResults<Row>('m.compare.jsonl', digestOf(model, text));
 */
export async function keptResults<T extends object>(path: string, identity: string): Promise<KeptResults<T>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  if (text !== '' && !text.endsWith('\n')) await appendFile(path, '\n');
  const before = text.split('\n').flatMap((line): T[] => {
    try {
      const { identity: of, ...result } = JSON.parse(line);
      return of === identity ? [result] : [];
    } catch {
      // Cut off, or empty.
      return [];
    }
  });
  return { before, keep: (result) => appendFile(path, `${JSON.stringify({ identity, ...result })}\n`) };
}

/** A short digest of what a result depends on. Example: `digestOf(model, text, 512)` */
export function digestOf(...parts: readonly (string | number)[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 16);
}
