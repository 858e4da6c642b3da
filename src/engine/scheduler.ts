/**
 * Owns: who runs, who waits, and which rows make up the next step; giving and taking pages.
 * Refuses to know: logits, sampling, how a step is computed.
 *
 * Generated tokens go first, so that a long prompt never holds an answer up; what room is left goes to prompts in the
 * order of their coming. When pages run out the youngest gives its pages back and is computed again later: in the same
 * classes, so with the same bits.
 */
import type { PageCache } from './cache.ts';
import type { Sequence } from './sequence.ts';

/** Rows of one sequence in a step: its ids [from, to). */
export interface Slice {
  readonly sequence: Sequence;
  readonly from: number;
  readonly to: number;
  /** How many of its last rows have their logits read. */
  readonly outputs: number;
}

/** Bounds of one step. */
export interface StepLimits {
  readonly maxSequences: number;
  readonly maxRows: number;
  readonly maxOutputs: number;
}

/** Decides what each step computes. */
export class Scheduler {
  readonly #pages: PageCache;
  readonly #limits: StepLimits;
  readonly #waiting: Sequence[] = [];
  /** Oldest first. */
  readonly #running: Sequence[] = [];

  constructor(pages: PageCache, limits: StepLimits) {
    this.#pages = pages;
    this.#limits = limits;
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
  }

  /** The rows of the next step, those of the decode class first; empty when there is nothing to do. */
  plan(): Slice[] {
    this.#admit();
    const slices: Slice[] = [];
    let rows = this.#limits.maxRows;
    let outputs = this.#limits.maxOutputs;
    for (const decoding of [true, false]) {
      for (const sequence of [...this.#running]) {
        if (sequence.decoding !== decoding || !this.#running.includes(sequence)) continue;
        const everyRow = sequence.consumer.wanted === 'every-row';
        const most = Math.min(sequence.pending, rows, everyRow ? outputs : rows);
        if (most <= 0 || (!everyRow && outputs === 0)) continue;
        const to = sequence.doneTokens + this.#room(sequence, most, slices);
        if (to === sequence.doneTokens) continue;
        const from = sequence.doneTokens;
        const wanted = everyRow ? to - from : to === sequence.ids.length ? 1 : 0;
        slices.push({ sequence, from, to, outputs: wanted });
        rows -= to - from;
        outputs -= wanted;
      }
    }
    return slices;
  }

  /** Notes that a slice is computed, and makes its full prompt pages known. */
  done({ sequence, to }: Slice): void {
    sequence.doneTokens = to;
    const { pageTokens } = this.#pages;
    const full = Math.floor(Math.min(to, sequence.promptTokens) / pageTokens);
    while (sequence.publishedPages >= 0 && sequence.publishedPages < full) {
      const index = sequence.publishedPages;
      const published = this.#pages.publish(
        sequence.ids,
        index,
        sequence.pages[index]!,
        sequence.pages[index - 1],
      );
      sequence.publishedPages = published ? index + 1 : -1;
    }
  }

  /** Lets waiting sequences run while there is room for their prompts. */
  #admit(): void {
    while (this.#waiting.length > 0 && this.#running.length < this.#limits.maxSequences) {
      const sequence = this.#waiting[0]!;
      const { pageTokens } = this.#pages;
      // The last prompt row is always computed: its logits are wanted. Evaluation wants all rows computed.
      const prompt = Math.min(sequence.promptTokens, sequence.ids.length);
      const shareable = sequence.consumer.wanted === 'every-row' ? 0 : Math.floor((prompt - 1) / pageTokens);
      const known = this.#pages.match(sequence.ids, Math.max(0, shareable));
      const needed = Math.ceil(sequence.ids.length / pageTokens) - known.length;
      if (needed > this.#pages.available && this.#running.length > 0) {
        this.#pages.release(known);
        return;
      }
      this.#waiting.shift();
      this.#running.push(sequence);
      sequence.pages.push(...known);
      sequence.publishedPages = known.length;
      sequence.doneTokens = known.length * pageTokens;
      sequence.cachedTokens ??= sequence.doneTokens;
    }
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
    sequence.doneTokens = 0;
    sequence.publishedPages = 0;
  }
}
