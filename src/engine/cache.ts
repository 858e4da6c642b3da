/**
 * Owns: which page of the cache belongs to whom, and which pages hold a known beginning of a prompt.
 * Refuses to know: what rows hold, backends, requests.
 *
 * A page of prompt tokens is known by its own ids and the page before it, so equal beginnings share pages; the first by
 * a salt as well, so that only who has the same salt shares, and nobody else can tell by the time what was asked before.
 * Only rows of the prefill class are shared: a hit then has the bits that computing would have given. Where pages outlive
 * the engine, a page that is given up is kept there first.
 */
import type { PageArchive } from './archive.ts';

/** Where pages go that are given up. */
export interface PageKeeper {
  readonly archive: PageArchive;
  /** A copy of the rows of a page, as they are now. */
  bytes(page: number): Uint8Array;
}

/** A known page as an archive knows it. */
interface Named {
  readonly name: string;
  readonly salt: string;
}

/** What is in use. */
export interface PageCounts {
  readonly total: number;
  /** Pages that running sequences hold. */
  readonly used: number;
  /** Pages that nobody holds and that are kept for prompts to come. */
  readonly kept: number;
}

/** Pages of `pageTokens` tokens, numbered from 0. */
export class PageCache {
  readonly pageTokens: number;
  readonly #total: number;
  readonly #free: number[];
  readonly #holders: Uint32Array;
  /** Serial number of what a page holds; a new one each time it is published. */
  readonly #serials: Float64Array;
  readonly #keys: (string | undefined)[];
  readonly #known = new Map<string, number>();
  /** Known pages without holders, oldest first. */
  readonly #idle = new Set<number>();
  #lastSerial = 0;
  readonly #named: (Named | undefined)[];
  /** Set before anything is known; nothing is kept without it. */
  keeper: PageKeeper | undefined;

  constructor(pages: number, pageTokens: number) {
    this.pageTokens = pageTokens;
    this.#total = pages;
    this.#free = Array.from({ length: pages }, (_, i) => pages - 1 - i);
    this.#holders = new Uint32Array(pages);
    this.#serials = new Float64Array(pages);
    this.#keys = new Array(pages);
    this.#named = new Array(pages);
  }

  /** Pages that {@link take} could give now. */
  get available(): number {
    return this.#free.length + this.#idle.size;
  }

  counts(): PageCounts {
    const kept = this.#idle.size;
    return { total: this.#total, used: this.#total - this.#free.length - kept, kept };
  }

  /** A page of one's own, or undefined when all are held. */
  take(): number | undefined {
    const page = this.#free.pop() ?? this.#forgetOldest();
    if (page !== undefined) this.#holders[page] = 1;
    return page;
  }

  /** Gives pages back, the last first, so that a prompt's tail is forgotten before its beginning. */
  release(pages: readonly number[]): void {
    for (const page of pages.toReversed()) {
      this.#holders[page]!--;
      if (this.#holders[page] !== 0) continue;
      if (this.#keys[page] === undefined) this.#free.push(page);
      else this.#idle.add(page);
    }
  }

  /** Known pages that begin like `ids` under a salt, at most `most`; the caller holds them from now on. */
  match(ids: readonly number[], most: number, salt: string): number[] {
    const pages: number[] = [];
    while (pages.length < most) {
      const page = this.#known.get(this.#keyOf(ids, pages.length, pages.at(-1), salt));
      if (page === undefined) break;
      this.#idle.delete(page);
      this.#holders[page]!++;
      pages.push(page);
    }
    return pages;
  }

  /**
   * Makes page `index` of a sequence known, once all its rows are prompt rows and written. `before` is the sequence's
   * page before it. Returns false where an equal page is known already; the chain of this sequence ends there.
   */
  publish(
    ids: readonly number[],
    index: number,
    page: number,
    before: number | undefined,
    salt: string,
  ): boolean {
    if (before !== undefined && this.#keys[before] === undefined) return false;
    const key = this.#keyOf(ids, index, before, salt);
    if (this.#known.has(key)) return false;
    this.#known.set(key, page);
    this.#keys[page] = key;
    this.#serials[page] = ++this.#lastSerial;
    if (this.keeper) {
      const beforeName = before === undefined ? undefined : this.#named[before]?.name;
      const name = this.keeper.archive.name(beforeName, salt, this.#idsOf(ids, index));
      this.#named[page] = { name, salt };
    }
    return true;
  }

  /** Keeps every known page that nobody holds; for when the engine ends. */
  async keepAll(): Promise<void> {
    for (const page of this.#idle) {
      await this.keeper?.archive.ready();
      this.#keep(page);
    }
  }

  #keep(page: number): void {
    const named = this.#named[page];
    if (this.keeper === undefined || named === undefined) return;
    const { archive, bytes } = this.keeper;
    archive.keep(named.salt, named.name, () => bytes(page));
  }

  #idsOf(ids: readonly number[], index: number): readonly number[] {
    const start = index * this.pageTokens;
    return ids.slice(start, start + this.pageTokens);
  }

  #keyOf(ids: readonly number[], index: number, before: number | undefined, salt: string): string {
    // A salt begins with a letter, a serial number with a digit.
    const after = before === undefined ? `s${salt}` : this.#serials[before]!;
    return `${after}:${this.#idsOf(ids, index).join(',')}`;
  }

  #forgetOldest(): number | undefined {
    for (const page of this.#idle) {
      this.#keep(page);
      this.#idle.delete(page);
      this.#known.delete(this.#keys[page]!);
      this.#keys[page] = undefined;
      this.#named[page] = undefined;
      return page;
    }
    return undefined;
  }
}
