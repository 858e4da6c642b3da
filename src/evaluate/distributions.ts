/**
 * Owns: distributions over a vocabulary: logarithms of softmax, how far one is from another, the likeliest token.
 * Refuses to know: where logits come from, and how far is too far.
 */

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
  // Not Float64Array.from, which takes thirty times as long over a vocabulary.
  const logs = new Float64Array(logits.length);
  for (let i = 0; i < logs.length; i++) logs[i] = logits[i]! - shift;
  return logs;
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
