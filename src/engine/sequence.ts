/**
 * Owns: what the engine knows of one running sequence: its ids, how far they are computed, its pages.
 * Refuses to know: other sequences, sampling, backends.
 */

import { DraftGain } from './draft-gain.ts';
import type { NgramDrafter } from './ngram-drafter.ts';
import type { DraftCounts } from './request.ts';

/** What a sequence wants to know: of the logits of its newest row the argmax or all, of every row all; or hidden states. */
export type Wanted = 'argmax' | 'logits' | 'every-row' | 'states';

/** Guesses come from where the text went on like this before, or from the model's predictor. */
export type DraftSource = 'ngrams' | 'predictor';

/** Hidden states of some rows of one sequence. */
export interface States {
  /** [count, hidden] */
  readonly rows: Float32Array;
  readonly count: number;
  readonly hidden: number;
  readonly firstPosition: number;
}

/** What is done with the results of a sequence. */
export interface Consumer {
  readonly wanted: Wanted;
  /** It waits, and so many go before it. */
  queued(before: number): void;
  /** Prompt rows computed so far. */
  prefilled(doneTokens: number): void;
  /** Logits of rows from `firstPosition` [rows, vocab]; the ids to go on with, or undefined to end. */
  logits(logits: Float32Array, firstPosition: number): number | undefined;
  /** The token that it would choose after `drafted` by logits that are a guess [vocab]; changes nothing. Negative: none. */
  guess(logits: Float32Array, drafted: readonly number[]): number;
  /** The argmax of the newest row; as {@link logits}. */
  argmax(id: number): number | undefined;
  /** The first row of the prompt whose logits are wanted beside those of its last; undefined where none are any more. */
  readonly unscored?: number | undefined;
  /** Logits [vocab] of such rows from `firstPosition` on: during the step, before anything else of it is told. */
  scored?(rows: readonly Float32Array[], firstPosition: number): void;
  /** Hidden states of the rows of a step; where those are wanted. */
  states?(states: States): void;
  fail(error: unknown): void;
  abort(): void;
}

/** Whose a sequence is, and with whom it shares. */
export interface Ownership {
  readonly tenant?: string | undefined;
  readonly salt?: string | undefined;
}

/** One sequence. Its first `promptTokens` ids are of the prefill class, the others of the decode class. */
export class Sequence {
  readonly requestId: string;
  readonly ids: number[];
  readonly promptTokens: number;
  readonly consumer: Consumer;
  readonly tenant: string;
  readonly salt: string;
  readonly pages: number[] = [];
  /** Ids whose rows are in the cache. */
  doneTokens = 0;
  /** Pages that need not be published (any more); -1 when the chain has ended. */
  publishedPages = 0;
  /** Tokens whose rows were in the cache when the sequence first ran. */
  cachedTokens: number | undefined;
  /** Rows of pages that were found elsewhere, the first of them of page `from`; until they are put in place. */
  fetched: { readonly from: number; readonly pages: readonly Uint8Array[] } | undefined;
  /** Guesses at the ids after `ids`, for the next step. */
  draft: readonly number[] = [];
  /** Who made them. */
  draftedBy: DraftSource = 'ngrams';
  /** Finds guesses in the text; knows the ids. */
  drafter: NgramDrafter | undefined;
  /** What became of them. */
  drafts: DraftCounts = { drafted: 0, accepted: 0 };
  readonly gain = new DraftGain();
  /** Choices in a row by which the predictor's guesses were not worth their cost. */
  unforeseen = 0;
  /** The predictor's cache no longer keeps up with the text, and never will again. */
  lapsed = false;
  aborted = false;

  constructor(
    requestId: string,
    ids: ArrayLike<number>,
    promptTokens: number,
    consumer: Consumer,
    { tenant = '', salt = '' }: Ownership = {},
  ) {
    this.requestId = requestId;
    this.ids = Array.from(ids);
    this.promptTokens = promptTokens;
    this.consumer = consumer;
    this.tenant = tenant;
    this.salt = salt;
  }

  /** Whether the next rows are of the decode class. */
  get decoding(): boolean {
    return this.doneTokens >= this.promptTokens;
  }

  /** Ids of the present class that are not yet computed. */
  get pending(): number {
    return (this.decoding ? this.ids.length : this.promptTokens) - this.doneTokens;
  }
}
