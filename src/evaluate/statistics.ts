/**
 * Owns: means with their standard errors, and percentiles.
 * Refuses to know: what the numbers are.
 */

/** A mean and how sure it is. */
export interface Estimate {
  readonly mean: number;
  /** Standard error of the mean; 1.96 of it on either side hold the true mean in 95 % of the cases. */
  readonly error: number;
  readonly count: number;
}

/**
 * Mean and standard error of numbers that are independent of each other. NaN where there are none, or one is NaN.
 *
 * @example estimate([1, 3]) // { mean: 2, error: 1, count: 2 }
 */
export function estimate(numbers: ArrayLike<number>): Estimate {
  const count = numbers.length;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += numbers[i]!;
  const mean = sum / count;
  let squares = 0;
  for (let i = 0; i < count; i++) squares += (numbers[i]! - mean) ** 2;
  const error = count > 1 ? Math.sqrt(squares / (count - 1) / count) : Number.NaN;
  return { mean, error, count };
}

/**
 * The number below which a part of the numbers lies, between the two nearest ones.
 *
 * @param part 0 to 1
 * @example percentile([1, 2, 3], 0.5) // 2
 */
export function percentile(numbers: readonly number[], part: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = part * (sorted.length - 1);
  const low = Math.floor(at);
  const next = sorted[low + 1] ?? sorted[low]!;
  return sorted[low]! + (at - low) * (next - sorted[low]!);
}

/** A part of a whole, and where the true part lies in 95 % of the cases. */
export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/**
 * Wilson's interval for a part, which holds near 0 and 1 too. Source: Wilson 1927, without continuity correction.
 *
 * @example wilson(5, 10) // { mean: 0.5, low: 0.237, high: 0.763, count: 10 }
 */
export function wilson(successes: number, count: number): Interval {
  const z = 1.959964;
  const mean = successes / count;
  const middle = (successes + (z * z) / 2) / (count + z * z);
  const half = (z / (count + z * z)) * Math.sqrt(count * mean * (1 - mean) + (z * z) / 4);
  return { mean, low: Math.max(0, middle - half), high: Math.min(1, middle + half), count };
}
