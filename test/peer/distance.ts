/**
 * Owns: a tally of how far two engines' distributions over the vocabulary are from each other, position by position.
 * Refuses to know: where logits come from, and how far is too far.
 */
import { best, divergence, logSoftmax } from '../../src/evaluate/distributions.ts';

/** Where the two disagree on the best token. */
export interface Disagreement {
  readonly text: number;
  readonly position: number;
  /** How far the oracle's two best logits are apart. */
  readonly margin: number;
}

/** What a {@link Tally} has counted. */
export interface Figures {
  readonly positions: number;
  /** Nats. */
  readonly meanKl: number;
  readonly worstKl: number;
  /** Part of the positions with the same best token, 0 to 1. */
  readonly agreement: number;
  readonly disagreements: readonly Disagreement[];
}

/** Adds up how far `theirs` is from an oracle, position by position. */
export class Tally {
  #positions = 0;
  #klSum = 0;
  #worstKl = 0;
  readonly #disagreements: Disagreement[] = [];

  /** Rows of logits of one text: both [positions, vocab]. */
  add(text: number, oracle: Float32Array, theirs: Float32Array, vocab: number): void {
    for (let position = 0; position * vocab < oracle.length; position++) {
      const row = (of: Float32Array) => of.subarray(position * vocab, (position + 1) * vocab);
      const kl = divergence(logSoftmax(row(oracle)), logSoftmax(row(theirs)));
      this.#positions++;
      this.#klSum += kl;
      if (!(kl <= this.#worstKl)) this.#worstKl = kl;
      const { index, margin } = best(row(oracle));
      if (best(row(theirs)).index !== index) this.#disagreements.push({ text, position, margin });
    }
  }

  figures(): Figures {
    return {
      positions: this.#positions,
      meanKl: this.#klSum / this.#positions,
      worstKl: this.#worstKl,
      agreement: 1 - this.#disagreements.length / this.#positions,
      disagreements: this.#disagreements,
    };
  }
}

/**
 * One line for a reader.
 *
 * @example console.info(figuresLine('native, decode class', tally.figures()))
 */
export function figuresLine(title: string, of: Figures): string {
  const margin = Math.max(0, ...of.disagreements.map((one) => one.margin));
  return (
    `${title}: mean KL ${of.meanKl.toExponential(3)}, worst ${of.worstKl.toExponential(3)}, ` +
    `best token equal at ${(of.agreement * 100).toFixed(2)} % of ${of.positions} positions, ` +
    `widest margin of a disagreement ${margin.toFixed(3)}`
  );
}
