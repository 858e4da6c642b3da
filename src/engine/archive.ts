/**
 * Owns: what an engine asks of the place where pages of prompts outlive it.
 * Refuses to know: where that is.
 */

/** Pages of one engine's prompts, kept elsewhere. Nothing here ever fails: what cannot be kept or found is not there. */
export interface PageArchive {
  /**
   * The name of a page: of its ids, of the page before it (undefined for the first) and of a salt. Equal only where the
   * rows are.
   */
  name(before: string | undefined, salt: string, ids: readonly number[]): string;
  /** The bytes of pages in their order, up to the first that is not there. */
  fetch(salt: string, names: readonly string[]): Promise<readonly Uint8Array[]>;
  /** Keeps a page; `bytes` is called at once, or not at all where it is there already or there is no room. */
  keep(salt: string, name: string, bytes: () => Uint8Array): void;
  /** Resolves when so few pages wait to be written that more may come. */
  ready(): Promise<void>;
  /** Whether pages are being written. */
  readonly writing: boolean;
  /** Resolves when everything is written. */
  close(): Promise<void>;
  /** What became of pages since the archive was made. */
  readonly figures: ArchiveFigures;
}

/** Pages of an archive by what became of them. */
export interface ArchiveFigures {
  /** There, whole and young enough. */
  readonly found: number;
  readonly kept: number;
  /** Not kept, since too many waited, there was no room, or it could not be written. */
  readonly dropped: number;
}

/** Makes the archive of an engine: `layout` says how pages are laid out, `pageBytes` how long they are. */
export type ArchiveMaker = (layout: string, pageBytes: number) => PageArchive;

/** A cache on disk as far as it is chosen. It holds content: whoever reads it can tell what was asked. */
export interface DiskCache {
  readonly folder: string;
  /** Of all engines and servers that share the folder, together. */
  readonly maxBytes: number;
  /** From when a page was written. */
  readonly ttlMs: number;
  /** Of the program that computes: rows of another one may have other bits. */
  readonly version: string;
}
