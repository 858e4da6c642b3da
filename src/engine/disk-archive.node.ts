/**
 * Owns: pages of one engine's prompts as files: what they are called, which are whole, what becomes of one that cannot be
 * written.
 * Refuses to know: engines, what the bytes mean, prompts, what else is in the folder.
 *
 * A name is a digest of everything that the rows depend on. A file is a mark, its name, the digest of its bytes, and the
 * bytes. It holds content: whoever reads it can tell what was asked.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ArchiveFigures, PageArchive } from './archive.ts';
import {
  digestOf,
  hasCode,
  openPageFolder,
  type PageFolder,
  type PageFolderOptions,
  saltFolder,
} from './page-folder.node.ts';

/** Where and how pages are kept. */
export interface DiskArchiveOptions extends PageFolderOptions {
  /** Of the model's file and whatever else the bits of its rows depend on. */
  readonly identity: string;
}

const MARK = Buffer.from('HADALPG1');
const DIGEST_BYTES = 32;
const HEAD_BYTES = MARK.length + 2 * DIGEST_BYTES;
/** Copies of pages that wait to be written. */
const MOST_WAITING_BYTES = 64 << 20;
/** How long nothing is written after a disk was full or the folder could not be written to. */
const PAUSE_MS = 60_000;
/**
 * What fails where somebody erases, removes or writes the same page meanwhile; such a page is skipped. Everything else is
 * trouble of the disk.
 */
const SKIPPED = ['ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR', 'ENOTEMPTY'];

/**
 * Pages in a folder.
 *
 * @example createEngine(backend, model, { archive: (layout, pageBytes) => diskArchive(options, layout, pageBytes) });
 */
export function diskArchive(options: DiskArchiveOptions, layout: string, pageBytes: number): PageArchive {
  return new DiskArchive(options, layout, pageBytes);
}

class DiskArchive implements PageArchive {
  readonly #options: DiskArchiveOptions;
  readonly #model: string;
  readonly #pageBytes: number;
  readonly #folder: PageFolder;
  #waitingBytes = 0;
  #writing: Promise<void> = Promise.resolve();
  /** Nothing is written before; undefined where the last write went well. */
  #pausedUntilMs: number | undefined;
  #figures: ArchiveFigures = { found: 0, kept: 0, dropped: 0 };
  readonly #told = new Set<string>();
  /** Found whole on disk, or written. */
  readonly #whole = new Set<string>();

  constructor(options: DiskArchiveOptions, layout: string, pageBytes: number) {
    this.#options = options;
    this.#pageBytes = pageBytes;
    this.#model = digestOf('model', options.identity, layout).toString('hex').slice(0, 32);
    this.#folder = openPageFolder(options);
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
    if (this.#isPaused() || this.#waitingBytes >= MOST_WAITING_BYTES) {
      this.#count('dropped');
      return;
    }
    const copy = bytes();
    this.#waitingBytes += copy.length;
    this.#writing = this.#writing
      .then(() => this.#write(salt, name, copy))
      .catch((error) => this.#pause(error))
      .finally(() => {
        this.#waitingBytes -= copy.length;
      });
  }

  get writing(): boolean {
    return this.#waitingBytes > 0;
  }

  async ready(): Promise<void> {
    if (this.#waitingBytes >= MOST_WAITING_BYTES / 2) await this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#folder.close();
  }

  #isPaused(): boolean {
    return this.#pausedUntilMs !== undefined && Date.now() < this.#pausedUntilMs;
  }

  #pause(error: unknown): void {
    this.#count('dropped');
    const first = this.#pausedUntilMs === undefined;
    this.#pausedUntilMs = Date.now() + PAUSE_MS;
    const words = `the cache on disk takes no more pages: ${wordsOf(error)}; it tries again every minute`;
    if (first) this.#options.onWarning(words);
  }

  #resume(): void {
    if (this.#pausedUntilMs !== undefined) this.#options.onWarning('the cache on disk takes pages again');
    this.#pausedUntilMs = undefined;
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
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) {
        this.#tell('unreadable', `the cache on disk cannot be read: ${wordsOf(error)}`);
      }
    }
    return undefined;
  }

  async #write(salt: string, name: string, bytes: Uint8Array): Promise<void> {
    if (this.#isPaused()) {
      this.#count('dropped');
      return;
    }
    const path = this.#pathOf(salt, name);
    const there = await stat(path).catch(() => undefined);
    const young = there !== undefined && Date.now() - there.mtimeMs <= this.#options.ttlMs;
    if (young && (this.#whole.has(path) || (await this.#read(path, name)) !== undefined)) return;
    const size = HEAD_BYTES + bytes.length;
    if (!(await this.#folder.makeRoom(size))) {
      this.#count('dropped');
      return;
    }
    // Where the folder itself cannot be there is no room for any page.
    await mkdir(this.#options.folder, { recursive: true, mode: 0o700 });
    const part = `${path}.${randomBytes(6).toString('hex')}.part`;
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const file = await open(part, 'wx', 0o600);
      try {
        // Both write all or throw; `write` may come short where a disk is full.
        await file.writeFile(headOf(name, bytes));
        await file.writeFile(bytes);
      } finally {
        await file.close();
      }
      await rename(part, path);
    } catch (error) {
      await rm(part, { force: true }).catch(() => undefined);
      if (!hasCode(error, ...SKIPPED)) throw error;
      this.#count('dropped');
      return;
    }
    this.#resume();
    this.#folder.added(size);
    this.#whole.add(path);
    this.#count('kept');
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

function headOf(name: string, bytes: Uint8Array): Buffer {
  return Buffer.concat([MARK, Buffer.from(name, 'hex'), digestOf('bytes', name, bytes)]);
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
