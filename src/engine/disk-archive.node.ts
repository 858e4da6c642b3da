/**
 * Owns: pages of prompts as files: who may share them, how long they stay, how much room they take, which are whole.
 * Refuses to know: engines, what the bytes mean, prompts.
 *
 * FOLDER/SALT/MODEL/NAME.page, all three hexadecimal digests; a name is one of everything that the rows depend on. A file is
 * a mark, its name, the digest of its bytes, and the bytes. It holds content: whoever reads it can tell what was asked.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArchiveFigures, DiskCache, PageArchive } from './archive.ts';

/** Where and how pages are kept. */
export interface DiskArchiveOptions extends Omit<DiskCache, 'version'> {
  /** Of the model's file and whatever else the bits of its rows depend on. */
  readonly identity: string;
  readonly onWarning: (sentence: string) => void;
}

const MARK = Buffer.from('HADALPG1');
const DIGEST_BYTES = 32;
const HEAD_BYTES = MARK.length + 2 * DIGEST_BYTES;
/** Copies of pages that wait to be written. */
const MOST_WAITING_BYTES = 64 << 20;
/** How far below the limit old pages are removed, so that not every write removes one. */
const ROOM = 0.9;

/**
 * Pages in a folder.
 *
 * @example createEngine(backend, model, { archive: (layout, pageBytes) => diskArchive(options, layout, pageBytes) });
 */
export function diskArchive(options: DiskArchiveOptions, layout: string, pageBytes: number): PageArchive {
  return new DiskArchive(options, layout, pageBytes);
}

/** The folder of a salt. Example: `rm(saltFolder(folder, salt))` erases what was kept under it. */
export function saltFolder(folder: string, salt: string): string {
  return join(folder, digestOf('salt', salt).toString('hex').slice(0, 32));
}

/**
 * Erases what was kept under a salt, and lets nobody write there again: an engine that still runs may have pages in
 * memory.
 *
 * @example await eraseSalt(folder, saltOf(key));
 */
export async function eraseSalt(folder: string, salt: string): Promise<void> {
  const path = saltFolder(folder, salt);
  const there = await stat(folder).catch(() => undefined);
  if (there === undefined) return;
  await rm(path, { recursive: true, force: true });
  // A file where the folder would be: nothing can be put into it.
  await writeFile(path, '', { mode: 0o600 });
}

/**
 * Erases what was kept under every salt; salts that nobody may write under any more stay so.
 *
 * @example await eraseAll(folder);
 */
export async function eraseAll(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.isDirectory() && /^[0-9a-f]{32}$/.test(entry.name))
      await rm(join(folder, entry.name), { recursive: true, force: true });
  }
}

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

class DiskArchive implements PageArchive {
  readonly #options: DiskArchiveOptions;
  readonly #model: string;
  readonly #pageBytes: number;
  /** Bytes of the whole folder as far as is known. */
  #bytes = 0;
  #waitingBytes = 0;
  #writing: Promise<void>;
  #full = false;
  #figures: ArchiveFigures = { found: 0, kept: 0, dropped: 0 };
  readonly #told = new Set<string>();
  /** Found whole on disk, or written. */
  readonly #whole = new Set<string>();

  constructor(options: DiskArchiveOptions, layout: string, pageBytes: number) {
    this.#options = options;
    this.#pageBytes = pageBytes;
    this.#model = digestOf('model', options.identity, layout).toString('hex').slice(0, 32);
    this.#writing = this.#sweep(options.maxBytes);
  }

  get figures(): ArchiveFigures {
    return this.#figures;
  }

  name(before: string | undefined, salt: string, ids: readonly number[]): string {
    const words = Int32Array.from(ids);
    const bytes = new Uint8Array(words.buffer);
    return digestOf('page', this.#model, salt, before ?? '', bytes).toString('hex');
  }

  async fetch(salt: string, names: readonly string[]): Promise<readonly Uint8Array[]> {
    const found: Uint8Array[] = [];
    for (const name of names) {
      const bytes = await this.#read(this.#pathOf(salt, name), name);
      if (bytes === undefined) break;
      found.push(bytes);
    }
    this.#count('found', found.length);
    return found;
  }

  keep(salt: string, name: string, bytes: () => Uint8Array): void {
    if (this.#full || this.#waitingBytes >= MOST_WAITING_BYTES) {
      this.#count('dropped');
      return;
    }
    const copy = bytes();
    this.#waitingBytes += copy.length;
    this.#writing = this.#writing
      .then(() => this.#write(salt, name, copy))
      .catch((error) => {
        this.#full = true;
        this.#count('dropped');
        this.#tell('unwritable', `the cache on disk takes no more pages: ${wordsOf(error)}`);
      })
      .finally(() => {
        this.#waitingBytes -= copy.length;
      });
  }

  async ready(): Promise<void> {
    if (this.#waitingBytes >= MOST_WAITING_BYTES / 2) await this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing;
  }

  #pathOf(salt: string, name: string): string {
    return join(saltFolder(this.#options.folder, salt), this.#model, `${name}.page`);
  }

  async #read(path: string, name: string): Promise<Uint8Array | undefined> {
    try {
      // A link in its place is not ours.
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        const { mtimeMs, size } = await file.stat();
        if (Date.now() - mtimeMs > this.#options.ttlMs) return undefined;
        const whole = size === HEAD_BYTES + this.#pageBytes ? await file.readFile() : Buffer.alloc(0);
        const bytes = whole.subarray(HEAD_BYTES);
        if (whole.subarray(0, HEAD_BYTES).equals(headOf(name, bytes))) {
          this.#whole.add(path);
          return bytes;
        }
        this.#tell('broken', `${path} is no page of the cache as it was written: it is passed over`);
      } finally {
        await file.close();
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !isErased(error)) {
        this.#tell('unreadable', `the cache on disk cannot be read: ${wordsOf(error)}`);
      }
    }
    return undefined;
  }

  async #write(salt: string, name: string, bytes: Uint8Array): Promise<void> {
    if (this.#full) return;
    const path = this.#pathOf(salt, name);
    const there = await stat(path).catch(() => undefined);
    const young = there !== undefined && Date.now() - there.mtimeMs <= this.#options.ttlMs;
    if (young && (this.#whole.has(path) || (await this.#read(path, name)) !== undefined)) return;
    const size = HEAD_BYTES + bytes.length;
    if (size > this.#options.maxBytes) return;
    if (this.#bytes + size > this.#options.maxBytes) await this.#sweep(this.#options.maxBytes * ROOM - size);
    const part = `${path}.${process.pid}.part`;
    try {
      await mkdir(join(path, '..'), { recursive: true, mode: 0o700 });
      const file = await open(part, 'wx', 0o600);
      try {
        // Both write all or throw; `write` may come short where a disk is full.
        await file.writeFile(headOf(name, bytes));
        await file.writeFile(bytes);
      } finally {
        await file.close();
      }
      await rename(part, path);
      this.#bytes += size;
      this.#whole.add(path);
      this.#count('kept');
    } catch (error) {
      await rm(part, { force: true }).catch(() => undefined);
      if (!isErased(error)) throw error;
    }
  }

  /** Removes what is too old, and the oldest until `mostBytes` are left. */
  async #sweep(mostBytes: number): Promise<void> {
    try {
      const files = await pagesOf(this.#options.folder);
      let bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      for (const file of files.toSorted((a, b) => a.mtimeMs - b.mtimeMs)) {
        if (bytes <= mostBytes && Date.now() - file.mtimeMs <= this.#options.ttlMs) break;
        await rm(file.path, { force: true });
        bytes -= file.bytes;
      }
      this.#bytes = bytes;
    } catch (error) {
      this.#tell('unswept', `old pages of the cache on disk cannot be removed: ${wordsOf(error)}`);
    }
  }

  #count(what: keyof ArchiveFigures, pages = 1): void {
    this.#figures = { ...this.#figures, [what]: this.#figures[what] + pages };
  }

  #tell(kind: string, sentence: string): void {
    if (this.#told.has(kind)) return;
    this.#told.add(kind);
    this.#options.onWarning(sentence);
  }
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
    if (!entry.isFile() || !/^[0-9a-f]{64}\.page(\.\d+\.part)?$/.test(entry.name)) continue;
    const path = join(entry.parentPath, entry.name);
    const facts = await stat(path).catch(() => undefined);
    if (facts !== undefined) files.push({ path, bytes: facts.size, mtimeMs: facts.mtimeMs });
  }
  return files;
}

function headOf(name: string, bytes: Uint8Array): Buffer {
  return Buffer.concat([MARK, Buffer.from(name, 'hex'), digestOf('bytes', name, bytes)]);
}

/** Whether writing failed because the key was removed. */
function isErased(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOTDIR';
}

/** Parts are told apart by their lengths. */
function digestOf(...parts: readonly (string | Uint8Array)[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest();
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
