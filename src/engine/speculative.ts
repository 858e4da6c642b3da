/**
 * Owns: drafting tokens ahead for running sequences, and taking over what proves right.
 * Refuses to know: batches, pages, backends, sampling.
 *
 * A draft changes no answer. Its rows are computed in one pass of the decode class, in which a row has the bits that it
 * has alone; then each token is chosen as without a draft, and the rows after the first that differs are forgotten. The
 * n-th token of an answer draws the n-th number of its seed either way, so even a drawn answer is the same token for
 * token. For a drafter that names one token, this accepts with min(1, p / q), which is p: no rule accepts more.
 */
import { DraftDepth } from './draft-depth.ts';
import { NgramDrafter } from './ngram-drafter.ts';
import type { DraftCounts } from './request.ts';
import type { Sequence } from './sequence.ts';

/** `auto`: as many tokens as measurably gain, down to none. */
export type Drafting = 'auto' | 'off' | { readonly depth: number };

/** Tokens of one draft at most. */
export const MOST_DRAFTED = 7;

/** Drafts for all sequences of one engine. */
export class Speculator {
  readonly #drafting: Drafting;
  readonly #depth: DraftDepth;
  #counts: DraftCounts = { drafted: 0, accepted: 0 };

  constructor(drafting: Drafting) {
    this.#drafting = drafting;
    this.#depth = new DraftDepth(MOST_DRAFTED);
  }

  /** Of all sequences since the start. */
  get counts(): DraftCounts {
    return this.#counts;
  }

  /** Puts a draft on every sequence that is about to compute its newest token alone. */
  draft(sequences: readonly Sequence[], contextTokens: number): void {
    if (this.#drafting === 'off') return;
    const decoding = sequences.filter(({ decoding: ready, pending }) => ready && pending === 1);
    for (const sequence of decoding) {
      const { consumer, ids } = sequence;
      sequence.draft = [];
      if (consumer.wanted === 'every-row') continue;
      sequence.drafter ??= new NgramDrafter();
      const room = contextTokens - ids.length;
      const guess = sequence.drafter.draft(ids, Math.min(MOST_DRAFTED, room));
      if (guess.length > 0) sequence.draft = guess.slice(0, this.#depthFor(decoding.length));
    }
  }

  /** Notes what became of a sequence's draft. */
  verified(sequence: Sequence, drafted: number, accepted: number): void {
    sequence.draft = [];
    if (drafted === 0) return;
    this.#depth.verified(drafted, accepted);
    this.#counts = sumOf(this.#counts, { drafted, accepted });
  }

  /** Notes how long a step took that had rows of the decode class only. */
  took(rows: number, ms: number): void {
    this.#depth.took(rows, ms);
  }

  #depthFor(rows: number): number {
    return typeof this.#drafting === 'object' ? this.#drafting.depth : this.#depth.choose(rows);
  }
}

/**
 * Goes through the rows of a draft, choosing a token by each, as long as the draft was right.
 *
 * @param drafted the drafted tokens; row i holds what follows the first i of them.
 * @param choose the token after row i, or undefined where the answer ended with it.
 * @param goesOn asked after each: whether the next row's results are of the kind that the next choice needs.
 * @returns the chosen tokens, how many drafts they make good, and whether the answer ended.
 * @example verifyDraft([5, 7], (row) => [5, 6, 9][row], () => true) // { chosen: [5, 6], accepted: 1, ended: false }
 */
export function verifyDraft(
  drafted: readonly number[],
  choose: (row: number) => number | undefined,
  goesOn: () => boolean,
): { readonly chosen: readonly number[]; readonly accepted: number; readonly ended: boolean } {
  const chosen: number[] = [];
  for (let row = 0; row <= drafted.length; row++) {
    const next = choose(row);
    if (next === undefined) return { chosen, accepted: row, ended: true };
    chosen.push(next);
    if (next !== drafted[row] || !goesOn()) return { chosen, accepted: row, ended: false };
  }
  return { chosen, accepted: drafted.length, ended: false };
}

/** Both together. Example: `sumOf(before, { drafted: 4, accepted: 2 })`. */
export function sumOf(a: DraftCounts, b: DraftCounts): DraftCounts {
  return { drafted: a.drafted + b.drafted, accepted: a.accepted + b.accepted };
}
