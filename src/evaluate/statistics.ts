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

/** Where a true value lies in 95 % of the cases. */
export interface Bounds {
  readonly low: number;
  readonly high: number;
}

/** The 97.5 % point of the normal distribution. */
const Z = 1.959964;

/**
 * Where the true mean lies, by the normal distribution.
 *
 * @example meanBounds(estimate([1, 3])) // { low: 0.04, high: 3.96 }
 */
export function meanBounds({ mean, error }: Pick<Estimate, 'mean' | 'error'>): Bounds {
  return { low: mean - Z * error, high: mean + Z * error };
}

/**
 * Where the true percentile lies, whatever the distribution: between two of the numbers, by how many would have to lie
 * below it. Infinity where there are too few numbers to say. Source: Conover, Practical Nonparametric Statistics, 3.2.
 *
 * @param part 0 to 1
 * @example percentileBounds(Array.from({ length: 100 }, (_, i) => i + 1), 0.5) // { low: 40, high: 60 }
 */
export function percentileBounds(numbers: readonly number[], part: number): Bounds {
  const sorted = [...numbers].sort((a, b) => a - b);
  const rank = sorted.length * part;
  const spread = Z * Math.sqrt(sorted.length * part * (1 - part));
  return {
    low: sorted[Math.floor(rank - spread) - 1] ?? Number.NEGATIVE_INFINITY,
    high: sorted[Math.ceil(rank + spread) - 1] ?? Number.POSITIVE_INFINITY,
  };
}

/** A part of a whole, and where the true part lies in 95 % of the cases. */
export interface Interval extends Bounds {
  readonly mean: number;
  readonly count: number;
}

/**
 * Wilson's interval for a part, which holds near 0 and 1 too. Source: Wilson 1927, without continuity correction.
 *
 * @example wilson(5, 10) // { mean: 0.5, low: 0.237, high: 0.763, count: 10 }
 */
export function wilson(successes: number, count: number): Interval {
  const mean = successes / count;
  const middle = (successes + (Z * Z) / 2) / (count + Z * Z);
  const half = (Z / (count + Z * Z)) * Math.sqrt(count * mean * (1 - mean) + (Z * Z) / 4);
  return { mean, low: Math.max(0, middle - half), high: Math.min(1, middle + half), count };
}
