/**
 * Owns: the chance of fuzzers: the same numbers for the same run and seed on every machine.
 * Refuses to know: what is changed by it.
 */

/**
 * mulberry32, seeded by the run and the seed: numbers from 0 to below 1.
 *
 * @example const random = randomOf(7, 1); random();
 */
export function randomOf(run, seed) {
  let state = Math.imul(run + 1, 0x9e3779b1) ^ Math.imul(seed, 0x85ebca6b);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
