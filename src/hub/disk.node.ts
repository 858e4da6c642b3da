/**
 * Owns: folders that are made, room on their disk, and what a full or locked disk is called.
 * Refuses to know: what is put there.
 */
import { mkdir, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../error.ts';

const UNWRITABLE = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'ENOENT', 'EEXIST']);

/** Room that is never asked for: notes, logs, the file system's own. */
const SPARE_BYTES = 16 << 20;

/**
 * Makes a folder, and those above it that are missing; one that is there is fine. Node's own way of doing so never ends
 * below a folder that takes none and says that it is not there, as /proc does.
 *
 * @throws what the system says, e.g. `ENOENT`, `EACCES`, `EEXIST` where a file is in the way
 * @example await makeFolder(join(home, 'models', 'a'));
 */
export async function makeFolder(path: string): Promise<void> {
  const isFolder = async () => (await stat(path).catch(() => undefined))?.isDirectory() === true;
  if (await isFolder()) return;
  if (dirname(path) !== path) await makeFolder(dirname(path));
  try {
    await mkdir(path);
  } catch (error) {
    // Another one may have made it meanwhile.
    if (!(await isFolder())) throw error;
  }
}

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
  if (UNWRITABLE.has(String(code))) {
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
