/**
 * Owns: who runs, who waits, and which rows make up the next step; giving and taking pages.
 * Refuses to know: logits, sampling, how a step is computed.
 *
 * Generated tokens go first, so that a long prompt never holds an answer up; while there are any, a step gets as many
 * prompt rows as fit into a quarter of a second, or what was asked for. Tenants take turns: with their prompts step by
 * step, and for places in the batch whoever has the fewest goes first. When pages run out the youngest gives its pages
 * back and is computed again later: in the same classes, so with the same bits.
 */
import type { PageCache } from './cache.ts';
import { ChunkSizer } from './chunk-sizer.ts';
import type { Sequence } from './sequence.ts';

/** Rows of one sequence in a step: its ids, and what is drafted after them, [from, to). */
export interface Slice {
  readonly sequence: Sequence;
  readonly from: number;
  readonly to: number;
  /** How many of its last rows have their logits read. */
  readonly outputs: number;
  /** What the last rows hold beyond the sequence's ids: guesses. */
  readonly drafted: readonly number[];
}

/** Bounds of one step. */
export interface StepLimits {
  readonly maxSequences: number;
  readonly maxRows: number;
  readonly maxOutputs: number;
  /** How long prompts may hold the next tokens of answers up; 250 ms when absent. */
  readonly promptMs?: number;
}

/** Decides what each step computes. */
export class Scheduler {
  readonly #pages: PageCache;
  readonly #limits: StepLimits;
  readonly #waiting: Sequence[] = [];
  /** Oldest first. */
  readonly #running: Sequence[] = [];
  readonly #chunks: ChunkSizer;
  /** In which step each tenant last had prompt rows. */
  readonly #turns = new Map<string, number>();
  readonly #fill: ((page: number, bytes: Uint8Array) => void) | undefined;
  #step = 0;

  /** `fill` writes rows into a page; without it nothing is found elsewhere. */
  constructor(pages: PageCache, limits: StepLimits, fill?: (page: number, bytes: Uint8Array) => void) {
    this.#pages = pages;
    this.#limits = limits;
    this.#fill = fill;
    this.#chunks = new ChunkSizer(limits.maxRows, limits.promptMs);
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get runningCount(): number {
    return this.#running.length;
  }

  /** All sequences, running ones first. */
  all(): Sequence[] {
    return [...this.#running, ...this.#waiting];
  }

  add(sequence: Sequence): void {
    this.#waiting.push(sequence);
  }

  /** Takes a sequence out and its pages back. */
  remove(sequence: Sequence): void {
    for (const list of [this.#running, this.#waiting]) {
      const at = list.indexOf(sequence);
      if (at >= 0) list.splice(at, 1);
    }
    this.#vacate(sequence);
    if (!this.all().some(({ tenant }) => tenant === sequence.tenant)) this.#turns.delete(sequence.tenant);
  }

  /** The rows of the next step, those of the decode class first; empty when there is nothing to do. */
  plan(): Slice[] {
    this.#admit();
    this.#step++;
    const slices: Slice[] = [];
    const decoding = this.#running.filter((sequence) => sequence.decoding);
    let rows = this.#limits.maxRows;
    let outputs = this.#limits.maxOutputs;
    for (const group of [decoding, this.#prompts()]) {
      if (group !== decoding) rows = Math.min(rows, this.#chunks.rows(slices.length));
      for (const sequence of group) {
        if (!this.#running.includes(sequence)) continue;
        const everyRow = sequence.consumer.wanted === 'every-row';
        const states = sequence.consumer.wanted === 'states';
        const most = Math.min(sequence.pending, rows, everyRow ? outputs : rows);
        if (most <= 0 || (!everyRow && !states && outputs === 0)) continue;
        const known = sequence.doneTokens + this.#room(sequence, most, slices);
        if (known === sequence.doneTokens) continue;
        const from = sequence.doneTokens;
        const drafted = known === sequence.ids.length ? this.#drafted(sequence, rows, outputs) : [];
        const to = known + drafted.length;
        const ends = known === sequence.ids.length && !states;
        const wanted = everyRow ? to - from : ends ? 1 + drafted.length : 0;
        slices.push({ sequence, from, to, outputs: wanted, drafted });
        rows -= to - from;
        outputs -= wanted;
        if (group !== decoding) this.#turns.set(sequence.tenant, this.#step);
      }
    }
    return slices;
  }

  /** Notes how long a step took. */
  took(prefillRows: number, ms: number): void {
    this.#chunks.measured(prefillRows, ms);
  }

  /** Sequences with prompt rows to compute, those first whose tenants had none for longest. */
  #prompts(): Sequence[] {
    return this.#running
      .filter((sequence) => !sequence.decoding)
      .toSorted((a, b) => this.#turn(a) - this.#turn(b));
  }

  #turn({ tenant }: Sequence): number {
    return this.#turns.get(tenant) ?? 0;
  }

  /** As much of a draft as fits the step beside one row for everybody, and pages that nobody has. */
  #drafted(sequence: Sequence, rows: number, outputs: number): readonly number[] {
    const { draft, ids } = sequence;
    const most = Math.min(draft.length, rows - this.#running.length, outputs - this.#running.length);
    const held = this.extend(sequence, ids.length + most);
    return draft.slice(0, Math.max(0, Math.min(most, held - ids.length)));
  }

  /** Gives a sequence pages for so many tokens as far as nobody has them; returns for how many it has pages. */
  extend({ pages }: Sequence, tokens: number): number {
    const { pageTokens } = this.#pages;
    while (pages.length * pageTokens < tokens) {
      const page = this.#pages.take();
      if (page === undefined) break;
      pages.push(page);
    }
    return pages.length * pageTokens;
  }

  /** Notes that a slice is computed, guesses apart, and makes its full prompt pages known. */
  done({ sequence, to, drafted }: Slice): void {
    sequence.doneTokens = to - drafted.length;
    // Texts to embed come by the thousand and once each: they would only drive out what answers begin with.
    if (sequence.consumer.wanted === 'states') return;
    const { pageTokens } = this.#pages;
    const full = Math.floor(Math.min(to, sequence.promptTokens) / pageTokens);
    while (sequence.publishedPages >= 0 && sequence.publishedPages < full) {
      const index = sequence.publishedPages;
      const published = this.#pages.publish(
        sequence.ids,
        index,
        sequence.pages[index]!,
        sequence.pages[index - 1],
        sequence.salt,
      );
      sequence.publishedPages = published ? index + 1 : -1;
    }
  }

  /** Lets waiting sequences run while there is room for their prompts; tells the others how many go before them. */
  #admit(): void {
    const { pageTokens } = this.#pages;
    const pagesOf = ({ ids }: Sequence) => Math.ceil(ids.length / pageTokens);
    // Those who run may not have taken all pages of their prompts yet.
    let promised = this.#running.reduce((sum, one) => sum + Math.max(0, pagesOf(one) - one.pages.length), 0);
    for (const sequence of this.#order()) {
      if (this.#running.length >= this.#limits.maxSequences) break;
      const shareable = this.shareablePages(sequence);
      this.#putInPlace(sequence);
      const known = this.#pages.match(sequence.ids, shareable, sequence.salt);
      const needed = pagesOf(sequence) - known.length;
      if (needed > this.#pages.available - promised && this.#running.length > 0) {
        this.#pages.release(known);
        break;
      }
      if (this.#isBeingComputed(sequence, known.length, shareable)) {
        this.#pages.release(known);
        continue;
      }
      promised += needed;
      this.#waiting.splice(this.#waiting.indexOf(sequence), 1);
      this.#running.push(sequence);
      sequence.pages.push(...known);
      sequence.publishedPages = known.length;
      sequence.doneTokens = known.length * pageTokens;
      sequence.cachedTokens ??= sequence.doneTokens;
    }
    if (this.#waiting.length === 0) return;
    for (const [before, sequence] of this.#order().entries()) sequence.consumer.queued(before);
  }

  /**
   * The waiting ones in the order of their turns: those first that gave their place up, then whose tenants would have
   * the fewest places, then whose tenants had prompt rows longest ago, then as they came.
   */
  #order(): Sequence[] {
    const places = new Map<string, number>();
    for (const { tenant } of this.#running) places.set(tenant, (places.get(tenant) ?? 0) + 1);
    const ranked = this.#waiting.map((sequence) => {
      const rank = places.get(sequence.tenant) ?? 0;
      places.set(sequence.tenant, rank + 1);
      return { sequence, rank: sequence.cachedTokens === undefined ? rank : -1 };
    });
    return ranked
      .toSorted((a, b) => a.rank - b.rank || this.#turn(a.sequence) - this.#turn(b.sequence))
      .map(({ sequence }) => sequence);
  }

  /** Pages of a prompt that others may have. The last row is always computed: its logits are wanted. */
  shareablePages({ ids, promptTokens, consumer }: Sequence): number {
    // Of every row something is wanted.
    if (consumer.wanted === 'every-row' || consumer.wanted === 'states') return 0;
    const most = Math.min(promptTokens - 1, ids.length - 1, consumer.unscored ?? promptTokens);
    return Math.max(0, Math.floor(most / this.#pages.pageTokens));
  }

  /** Makes pages known whose rows were found elsewhere. */
  #putInPlace(sequence: Sequence): void {
    const { fetched, ids, salt } = sequence;
    sequence.fetched = undefined;
    if (fetched === undefined || this.#fill === undefined) return;
    const held = this.#pages.match(ids, fetched.from + fetched.pages.length, salt);
    for (let index = held.length; index < fetched.from + fetched.pages.length; index++) {
      const bytes = fetched.pages[index - fetched.from];
      const page = bytes && this.#pages.take();
      if (bytes === undefined || page === undefined) break;
      this.#fill(page, bytes);
      this.#pages.publish(ids, index, page, held.at(-1), salt);
      held.push(page);
    }
    this.#pages.release(held);
  }

  /** Whether a running sequence is about to compute most of a waiting one's prompt: waiting is faster then. */
  #isBeingComputed(sequence: Sequence, known: number, shareable: number): boolean {
    const { pageTokens } = this.#pages;
    const worthwhile = Math.max(known + 1, Math.ceil((known + sequence.ids.length / pageTokens) / 2));
    if (worthwhile > shareable) return false;
    return this.#running.some((other) => {
      if (other.salt !== sequence.salt || other.decoding || other.publishedPages < 0) return false;
      if (other.consumer.wanted === 'states') return false;
      const most = Math.min(shareable, Math.floor(other.promptTokens / pageTokens));
      if (most < worthwhile) return false;
      const common = commonTokens(sequence.ids, other.ids, most * pageTokens);
      const pages = Math.floor(common / pageTokens);
      return pages >= worthwhile && other.publishedPages < pages;
    });
  }

  /** How many of the next `most` rows have pages, after taking what is needed, from younger sequences if need be. */
  #room(sequence: Sequence, most: number, slices: readonly Slice[]): number {
    const { pageTokens } = this.#pages;
    const wanted = Math.ceil((sequence.doneTokens + most) / pageTokens);
    while (sequence.pages.length < wanted) {
      const page = this.#pages.take();
      if (page !== undefined) {
        sequence.pages.push(page);
        continue;
      }
      const youngest = this.#running.at(-1)!;
      if (youngest === sequence || slices.some((slice) => slice.sequence === youngest)) break;
      this.#running.pop();
      this.#vacate(youngest);
      this.#waiting.unshift(youngest);
    }
    return Math.min(most, sequence.pages.length * pageTokens - sequence.doneTokens);
  }

  #vacate(sequence: Sequence): void {
    this.#pages.release(sequence.pages);
    sequence.pages.length = 0;
    sequence.draft = [];
    sequence.doneTokens = 0;
    sequence.publishedPages = 0;
  }
}

/** How many ids two sequences begin alike with, at most `most`. */
function commonTokens(a: readonly number[], b: readonly number[], most: number): number {
  let count = 0;
  while (count < most && a[count] === b[count]) count++;
  return count;
}
