/**
 * Owns: how evenly the experts of a layer are chosen.
 * Refuses to know: who counts, how it is shown.
 */

/** Figures of one layer. */
export interface ExpertBalance {
  /** Choices of all experts together: tokens times experts used. */
  readonly choices: number;
  /** Entropy of the choices over the logarithm of the number of experts: 1 when even, 0 when always the same one. */
  readonly evenness: number;
  /** Experts that were never chosen. */
  readonly dead: number;
  /** The expert that was chosen most, the lowest of equals. */
  readonly busiest: number;
  /** How many times its even share the busiest one was chosen. */
  readonly busiestShare: number;
}

/**
 * How evenly experts were chosen.
 *
 * @param counts [experts] how often each was chosen.
 * @example expertBalance([2, 2, 0, 4]) // { choices: 8, evenness: 0.75, dead: 1, busiest: 3, busiestShare: 2 }
 */
export function expertBalance(counts: ArrayLike<number>): ExpertBalance {
  const all = Array.from(counts);
  const choices = all.reduce((sum, n) => sum + n, 0);
  const busiest = all.reduce((best, n, e) => (n > all[best]! ? e : best), 0);
  const shares = all.filter((n) => n > 0).map((n) => n / choices);
  const entropy = shares.reduce((sum, p) => sum - p * Math.log(p), 0);
  return {
    choices,
    evenness: all.length > 1 && choices > 0 ? entropy / Math.log(all.length) : 1,
    dead: all.filter((n) => n === 0).length,
    busiest,
    busiestShare: choices > 0 ? (all[busiest]! * all.length) / choices : 0,
  };
}
