/**
 * Owns: drafting with the model's own predictor: keeping its cache in step with the text, and its guesses ahead.
 * Refuses to know: how many guesses are worth making, whether they are right; backends, pages' owners.
 *
 * Row t of the predictor takes the model's hidden state of token t and the embedding of token t + 1, so each step's rows
 * follow once the tokens after them are known, and the newest row's logits are the first guess. Rows of further guesses,
 * on guessed tokens and the predictor's own hidden states, are written over when the text gets there. The last row of a
 * prompt's shared pages was made with the token that came first after them: a guess may be worse for it, an answer never.
 */
import { HadalError } from '../error.ts';
import type { Slice } from './scheduler.ts';
import type { Sequence } from './sequence.ts';
import type { PredictorRows, Stepper, StepResult } from './step.ts';

/** What guesses are made with. */
export interface ForesightOptions {
  readonly stepper: Pick<Stepper, 'predict' | 'vocabSize'>;
  /** Gives a sequence pages for so many tokens as far as any are free; returns for how many it has them. */
  extend(sequence: Sequence, tokens: number): number;
}

/** A sequence whose next tokens are guessed. */
interface Guessing {
  readonly sequence: Sequence;
  readonly depth: number;
  readonly drafted: number[];
}

/** Follows the steps of one engine. */
export class Foresight {
  readonly #options: ForesightOptions;

  constructor(options: ForesightOptions) {
    this.#options = options;
  }

  /**
   * Computes the predictor's rows of a step, and drafts for the sequences that `wanted` gives a number above 0 for.
   *
   * @param slices what the step computed, its results handed out; nothing was computed since.
   * @returns passes of the predictor that were made.
   */
  async follow(slices: readonly Slice[], wanted: (sequence: Sequence) => number): Promise<number> {
    const rows: PredictorRows[] = [];
    const guessing: Guessing[] = [];
    let source = 0;
    for (const { sequence, from, to } of slices) {
      const { ids, promptTokens } = sequence;
      const first = source;
      source += to - from;
      const decode = from >= promptTokens;
      const end = Math.min(sequence.doneTokens, ids.length - 1);
      // One that is aborted is followed to the end: others may share the pages of its prompt.
      if (end <= from || (decode && sequence.lapsed) || sequence.consumer.wanted === 'states') continue;
      const depth = end === ids.length - 1 ? this.#depth(sequence, wanted(sequence)) : 0;
      if (depth > 0) guessing.push({ sequence, depth, drafted: [] });
      const tokens = ids.slice(from + 1, end + 1);
      const sources = tokens.map((_, i) => first + i);
      rows.push({ sequence, from, decode, tokens, sources, outputs: depth > 0 ? 1 : 0 });
    }
    if (rows.length === 0) return 0;
    let passes = 1;
    let asking = this.#taken(guessing, await this.#predict(rows, 'model'));
    for (; asking.length > 0; passes++) {
      const next = asking.map(({ guess, output }): PredictorRows => {
        const { sequence, drafted } = guess;
        const from = sequence.ids.length + drafted.length - 2;
        return { sequence, from, decode: true, tokens: drafted.slice(-1), sources: [output], outputs: 1 };
      });
      const still = asking.map(({ guess }) => guess);
      asking = this.#taken(still, await this.#predict(next, 'predictor'));
    }
    for (const { sequence, drafted } of guessing) {
      if (drafted.length === 0) continue;
      sequence.draft = drafted;
      sequence.draftedBy = 'predictor';
    }
    return passes;
  }

  /** As many as have pages: guess k has row ids.length + k - 2. */
  #depth(sequence: Sequence, wanted: number): number {
    if (wanted <= 0) return 0;
    const before = sequence.ids.length - 2;
    return Math.min(wanted, this.#options.extend(sequence, before + wanted) - before);
  }

  /** Notes a guess for each; those that go on, and which output they go on from. */
  #taken(
    guessing: readonly Guessing[],
    result: StepResult,
  ): { readonly guess: Guessing; readonly output: number }[] {
    const { vocabSize } = this.#options.stepper;
    return guessing.flatMap((guess, output) => {
      const { sequence, depth, drafted } = guess;
      const id =
        result.kind === 'argmax'
          ? result.ids[output]!
          : sequence.consumer.guess(
              result.logits.slice(output * vocabSize, (output + 1) * vocabSize),
              drafted,
            );
      // Logits that are no numbers guess nothing; the model's own say whether something is broken.
      if (id < 0) return [];
      drafted.push(id);
      return drafted.length < depth ? [{ guess, output }] : [];
    });
  }

  async #predict(rows: readonly PredictorRows[], from: 'model' | 'predictor'): Promise<StepResult> {
    for (;;) {
      try {
        return await this.#options.stepper.predict(rows, from);
      } catch (error) {
        // An abort that came late; what the pass reads is still there, so it is simply made again.
        if (!(error instanceof HadalError && error.code === 'aborted')) throw error;
      }
    }
  }
}
