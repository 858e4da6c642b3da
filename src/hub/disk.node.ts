/**
 * Owns: room on the disk of a folder, and what a full or locked disk is called.
 * Refuses to know: what is put there.
 */
import { statfs } from 'node:fs/promises';
import { HadalError } from '../error.ts';

/** Room that is never asked for: notes, logs, the file system's own. */
const SPARE_BYTES = 16 << 20;

/**
 * Refuses before a byte is fetched when the disk of a folder cannot take so many.
 *
 * @throws HadalError `disk-full`
 * @example await demandSpace(folder, model.bytes);
 */
export async function demandSpace(folder: string, bytes: number): Promise<void> {
  const disk = await statfs(folder);
  const free = disk.bavail * disk.bsize;
  const needed = bytes + SPARE_BYTES;
  if (free < needed) throw diskFull(folder, `${megabytes(needed)} free`, megabytes(free));
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

function diskFull(folder: string, expected: string, got: string): HadalError {
  const next = 'free some space, or set HADAL_HOME (HF_HOME for files of a hub) to a folder on another disk';
  return new HadalError('disk-full', { what: `the disk of ${folder}`, expected, got, next });
}

/**
 * What a failed write means; undefined when it is no matter of the disk.
 *
 * @example throw diskError(error, folder) ?? error;
 */
export function diskError(error: unknown, folder: string): HadalError | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskFull(folder, 'room for the model', 'none left');
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOTDIR') {
    return new HadalError(
      'store-unwritable',
      {
        what: folder,
        expected: 'a folder that can be written',
        got: String(code),
        next: 'set HADAL_HOME to one that can',
      },
      { cause: error },
    );
  }
  return undefined;
}
