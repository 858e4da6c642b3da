/**
 * Owns: drafting tokens ahead for running sequences, taking over what proves right, and what that gains.
 * Refuses to know: batches, pages, backends, sampling; how the model's predictor guesses.
 *
 * A draft changes no answer. Its rows are computed in one pass of the decode class, in which a row has the bits that it
 * has alone; then each token is chosen as without a draft, and the rows after the first that differs are forgotten. The
 * n-th token of an answer draws the n-th number of its seed either way, so even a drawn answer is the same token for
 * token. A guess that does not know that number is accepted with min(1, p / q), which is p for one token: no rule accepts
 * more. The predictor's guesses are drawn with it, from the predictor's distribution: the nearer that is to the model's,
 * the more of them are the token that the model draws, up to all.
 */
import { DraftDepth, StepCost } from './draft-depth.ts';
import { DraftGain } from './draft-gain.ts';
import { NgramDrafter } from './ngram-drafter.ts';
import type { DraftCounts, DraftFigures } from './request.ts';
import type { DraftSource, Sequence } from './sequence.ts';

/** `auto`: as many tokens as measurably gain, down to none. */
export type Drafting = 'auto' | 'off' | { readonly depth: number };

/** Tokens of one draft at most. */
export const MOST_DRAFTED = 7;

/** Weight of the newest measurement of what a pass of the predictor costs. */
const NEWEST = 0.1;
/**
 * The predictor gives a sequence up after so many choices in a row by which its guesses were not worth their cost; half as
 * many after each that was given up, for keeping its cache in step with a text costs as much as a layer, down to so few.
 */
const PATIENCE = { most: 64, least: 8 } as const;
/** A step without drafts now and then, to know what one costs; the very first two as well. */
const PLAIN_EVERY = 64;
/** Where the predictor gains more, every so many of the text's own guesses are tried all the same. */
const RETRY_EVERY = 32;

/** A step that computed rows of the decode class only. */
export interface DecodeStep {
  readonly ms: number;
  /** Rows, drafts included. */
  readonly rows: number;
  /** Its sequences with the tokens that each of them got. */
  readonly tokens: ReadonlyMap<Sequence, number>;
}

/** Drafts for all sequences of one engine. */
export class Speculator {
  readonly #drafting: Drafting;
  readonly #cost = new StepCost();
  readonly #depths: Readonly<Record<DraftSource, DraftDepth>>;
  readonly #gain = new DraftGain();
  #counts: DraftCounts = { drafted: 0, accepted: 0 };
  /** What a pass of the predictor takes, and what those since the last step took. */
  #passMs = 0;
  #unpaidMs = 0;
  #steps = 0;
  #retries = 0;
  #patience: number = PATIENCE.most;
  /** Sequences that are about to decode, and whether without drafts. */
  #next = { sequences: 0, plain: false };

  constructor(drafting: Drafting) {
    this.#drafting = drafting;
    this.#depths = {
      ngrams: new DraftDepth(MOST_DRAFTED, this.#cost),
      predictor: new DraftDepth(MOST_DRAFTED, this.#cost, () => this.#passMs),
    };
  }

  /** Of all sequences since the start. */
  get figures(): DraftFigures {
    return { ...this.#counts, ...this.#gain.figures };
  }

  /** Puts what the text suggests on every sequence that is about to compute its newest token alone. */
  draft(sequences: readonly Sequence[], contextTokens: number): void {
    if (this.#drafting === 'off') return;
    const decoding = sequences.filter(isNext);
    if (decoding.length === 0) return;
    const plain = this.#drafting === 'auto' && (this.#steps < 2 || this.#steps % PLAIN_EVERY === 0);
    this.#next = { sequences: decoding.length, plain };
    this.#steps++;
    for (const sequence of decoding) {
      const { ids } = sequence;
      sequence.draft = [];
      sequence.drafter ??= new NgramDrafter();
      const guess = sequence.drafter.draft(ids, Math.min(MOST_DRAFTED, contextTokens - ids.length));
      if (guess.length === 0 || plain) continue;
      sequence.draft = guess.slice(0, this.#depthFor('ngrams'));
      sequence.draftedBy = 'ngrams';
    }
  }

  /** How many tokens the predictor shall guess for a sequence, after {@link draft}. */
  wanted(sequence: Sequence, contextTokens: number): number {
    if (this.#drafting === 'off' || this.#next.plain || !isNext(sequence)) return 0;
    const most = Math.min(MOST_DRAFTED, contextTokens - sequence.ids.length);
    const found = sequence.draft.length;
    if (typeof this.#drafting === 'object') return found > 0 ? 0 : Math.min(most, this.#drafting.depth);
    const { ngrams, predictor } = this.#depths;
    const { sequences } = this.#next;
    const best = predictor.best(sequences, most);
    sequence.unforeseen = best.depth > 0 ? 0 : sequence.unforeseen + 1;
    if (sequence.unforeseen > this.#patience && !sequence.lapsed) {
      sequence.lapsed = true;
      this.#patience = Math.max(PATIENCE.least, this.#patience / 2);
    }
    if (found === 0) return Math.min(most, predictor.choose(sequences));
    const worse = ngrams.best(sequences, found).rate < best.rate && ++this.#retries % RETRY_EVERY > 0;
    return worse ? best.depth : 0;
  }

  /** Notes what became of a sequence's draft. */
  verified(sequence: Sequence, drafted: number, accepted: number): void {
    sequence.draft = [];
    if (drafted === 0) return;
    if (accepted > 0 && sequence.draftedBy === 'predictor') this.#patience = PATIENCE.most;
    this.#depths[sequence.draftedBy].verified(drafted, accepted);
    this.#counts = sumOf(this.#counts, { drafted, accepted });
  }

  /** Notes what passes of the predictor took. */
  predicted(passes: number, ms: number): void {
    if (passes === 0) return;
    this.#unpaidMs += ms;
    const each = ms / passes;
    this.#passMs = this.#passMs === 0 ? each : this.#passMs * (1 - NEWEST) + each * NEWEST;
  }

  /** Notes a step; undefined for one that computed prompts as well, by which nothing can be measured. */
  stepped(step: DecodeStep | undefined): void {
    const draftMs = this.#unpaidMs;
    this.#unpaidMs = 0;
    if (!step || step.tokens.size === 0) return;
    const { ms, rows, tokens } = step;
    this.#cost.add(rows, ms);
    const sequences = tokens.size;
    const plainMs = rows === sequences ? ms : this.#cost.of(sequences);
    for (const [sequence, count] of tokens) {
      const taken = {
        tokens: count,
        plainMs: (count * plainMs) / sequences,
        spentMs: (ms + draftMs) / sequences,
      };
      sequence.gain.add(taken);
      this.#gain.add(taken);
    }
  }

  #depthFor(source: DraftSource): number {
    return typeof this.#drafting === 'object'
      ? this.#drafting.depth
      : this.#depths[source].choose(this.#next.sequences);
  }
}

/** Whether a sequence's next row is that of its newest token, and what follows it is chosen. */
function isNext({ decoding, pending, consumer }: Sequence): boolean {
  return decoding && pending === 1 && consumer.wanted !== 'every-row';
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
