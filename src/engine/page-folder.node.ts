/**
 * Owns: the folder that pages of prompts are kept in: who has which part of it, its one budget, how long pages stay,
 * erasing.
 * Refuses to know: engines, what a page holds, how it is written.
 *
 * FOLDER/SALT/MODEL/NAME.page, all three hexadecimal digests. Any number of engines and servers share it, in processes of
 * their own: what lies there is the only account of it that they have in common.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskCache } from './archive.ts';

/** Options of {@link openPageFolder}. */
export interface PageFolderOptions extends Omit<DiskCache, 'version'> {
  readonly onWarning: (sentence: string) => void;
}

/** A folder of pages that is kept within its bounds for as long as this is open. */
export interface PageFolder {
  /** Removes old pages until there is room for so many bytes more; false where there cannot be. */
  makeRoom(bytes: number): Promise<boolean>;
  /** So many bytes were written. */
  added(bytes: number): void;
  /** Stops watching, after a last look at what there is. */
  close(): Promise<void>;
}

/** How far below the limit old pages are removed, so that not every write removes one. */
const ROOM = 0.9;
/** What one may write of the limit before everybody's pages are counted again. */
const UNSEEN = 0.02;
/** Between two looks: at most, since clocks jump and others write; at least; and after a page was written. */
const MOST_WAIT_MS = 600_000;
const LEAST_WAIT_MS = 1_000;
const SOON_MS = 10_000;

/**
 * Watches over a folder: what is too old goes at once and whenever its time ends, and the oldest go where there is more
 * than allowed.
 *
 * @example const pages = openPageFolder({ folder, maxBytes: 1e9, ttlMs: 86_400_000, onWarning }); await pages.close();
 */
export function openPageFolder(options: PageFolderOptions): PageFolder {
  const { folder, maxBytes, ttlMs, onWarning } = options;
  /** Bytes of everybody at the last look, and of ours since. */
  let [seenBytes, ownBytes] = [0, 0];
  let told = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let nextMs = 0;
  let sweeping: Promise<void> = Promise.resolve();

  const sweep = async (mostBytes: number): Promise<void> => {
    let waitMs = ttlMs;
    try {
      const counted = ownBytes;
      const files = await pagesOf(folder);
      ownBytes -= counted;
      seenBytes = files.reduce((sum, file) => sum + file.bytes, 0);
      for (const { path, bytes, mtimeMs } of files.toSorted((a, b) => a.mtimeMs - b.mtimeMs)) {
        const leftMs = mtimeMs + ttlMs - Date.now();
        waitMs = Math.min(waitMs, leftMs);
        if (leftMs >= 0 && seenBytes <= mostBytes) break;
        await rm(path, { force: true });
        seenBytes -= bytes;
        waitMs = ttlMs;
      }
    } catch (error) {
      if (!told) onWarning(`old pages of the cache on disk cannot be removed: ${String(error)}`);
      told = true;
    }
    lookAfter(Math.min(MOST_WAIT_MS, Math.max(LEAST_WAIT_MS, waitMs + 1)));
  };
  const lookAfter = (waitMs: number): void => {
    clearTimeout(timer);
    if (closed) return;
    nextMs = performance.now() + waitMs;
    timer = setTimeout(look, waitMs);
    timer.unref();
  };
  const inTurn = (mostBytes: number): Promise<void> => {
    sweeping = sweeping.then(() => sweep(mostBytes));
    return sweeping;
  };
  const look = (): void => void inTurn(maxBytes);
  look();

  return {
    async makeRoom(bytes) {
      await sweeping;
      if (bytes > maxBytes) return false;
      if (ownBytes + bytes > maxBytes * UNSEEN) await inTurn(maxBytes);
      if (seenBytes + ownBytes + bytes > maxBytes) await inTurn(Math.max(0, maxBytes * ROOM - bytes));
      return seenBytes + ownBytes + bytes <= maxBytes;
    },
    added(bytes) {
      ownBytes += bytes;
      if (nextMs > performance.now() + SOON_MS) lookAfter(SOON_MS);
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await inTurn(maxBytes);
    },
  };
}

/** The folder of a salt. Example: `saltFolder('pages', 'ada 9f86d081884c7d65')` */
export function saltFolder(folder: string, salt: string): string {
  return join(folder, digestOf('salt', salt).toString('hex').slice(0, 32));
}

/**
 * Erases what was kept under a salt, and lets nobody write there again: an engine that still runs may have pages in
 * memory, also where it has written none yet.
 *
 * @throws what the system says where something is there and cannot be erased
 * @example await eraseSalt(folder, saltOf(key));
 */
export async function eraseSalt(folder: string, salt: string): Promise<void> {
  const path = saltFolder(folder, salt);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch {
    // Where there can be no folder nothing is kept.
    if ((await stat(folder).catch(() => undefined)) === undefined) return;
  }
  for (;;) {
    const facts = await stat(path).catch(() => undefined);
    if (facts?.isFile()) return;
    if (facts !== undefined) await eraseFolder(path);
    try {
      // A file where the folder would be: nothing can be put into it.
      await writeFile(path, '', { mode: 0o600, flag: 'wx' });
      return;
    } catch (error) {
      // An engine has made it again meanwhile.
      if (!hasCode(error, 'EEXIST', 'EISDIR')) throw error;
    }
  }
}

/**
 * Erases what was kept under every salt; salts that nobody may write under any more stay so.
 *
 * @example await eraseAll(folder);
 */
export async function eraseAll(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    if (/^[0-9a-f]{32}$/.test(entry.name)) await eraseFolder(join(folder, entry.name));
    // One that an interrupted erasing left.
    else if (ERASED.test(entry.name)) await rm(join(folder, entry.name), { recursive: true, force: true });
  }
}

/** Under another name first, where nobody puts anything into it while it is removed. */
async function eraseFolder(path: string): Promise<void> {
  const aside = `${path}.${randomBytes(6).toString('hex')}.erased`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

const ERASED = /^[0-9a-f]{32}\.[0-9a-f]+\.erased$/;

/** What a folder holds. */
export interface FolderFigures {
  readonly pages: number;
  readonly bytes: number;
}

/**
 * Counts the pages of a folder.
 *
 * @example (await archiveFigures(folder)).bytes;
 */
export async function archiveFigures(folder: string): Promise<FolderFigures> {
  const files = await pagesOf(folder);
  return { pages: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

interface PageFile {
  readonly path: string;
  readonly bytes: number;
  readonly mtimeMs: number;
}

/** Files that are named as pages are, and what is left of interrupted writing; others are not ours. */
async function pagesOf(folder: string): Promise<PageFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files: PageFile[] = [];
  for (const entry of entries) {
    if (!entry.isFile() || !/^[0-9a-f]{64}\.page(\.[0-9a-f]+\.part)?$/.test(entry.name)) continue;
    const path = join(entry.parentPath, entry.name);
    const facts = await stat(path).catch(() => undefined);
    if (facts !== undefined) files.push({ path, bytes: facts.size, mtimeMs: facts.mtimeMs });
  }
  return files;
}

/** A digest of parts that are told apart by their lengths. Example: `digestOf('salt', salt).toString('hex')` */
export function digestOf(...parts: readonly (string | Uint8Array)[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest();
}

/** Whether an error of the system is one of these. Example: `hasCode(error, 'ENOENT')` */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '');
}
