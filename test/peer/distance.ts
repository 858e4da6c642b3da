/**
 * Owns: how far two distributions over the vocabulary are from each other, and a tally over positions.
 * Refuses to know: where logits come from, and how far is too far.
 */

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

/**
 * Natural logarithms of the softmax of logits.
 *
 * @example logSoftmax(Float32Array.of(0, 0)) // [-0.693, -0.693]
 */
export function logSoftmax(logits: Float32Array): Float64Array {
  let max = -Infinity;
  for (const logit of logits) if (logit > max) max = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  const shift = max + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - shift);
}

/**
 * KL(p || q) in nats, of natural logarithms of probabilities; NaN where either is.
 *
 * @example divergence(logSoftmax(oracle), logSoftmax(ours))
 */
export function divergence(logP: Float64Array, logQ: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < logP.length; i++) sum += Math.exp(logP[i]!) * (logP[i]! - logQ[i]!);
  return sum;
}

/** Index of the largest number, the lowest on ties, and how far the next largest is below it. */
export function best(numbers: Float32Array): { readonly index: number; readonly margin: number } {
  let index = 0;
  let second = -Infinity;
  for (let i = 1; i < numbers.length; i++) {
    if (numbers[i]! > numbers[index]!) {
      second = numbers[index]!;
      index = i;
    } else if (numbers[i]! > second) second = numbers[i]!;
  }
  return { index, margin: numbers[index]! - second };
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
