/**
 * Owns: numbers that look random, as a function of a seed and a counter.
 * Refuses to know: what is drawn with them.
 *
 * A counter instead of a state: token n of an answer draws the n-th number, whatever happened in between.
 */

/** Mixes 32 bits so that every input bit moves every output bit (MurmurHash3's finaliser). */
function mix(bits: number): number {
  let h = bits | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * The `index`-th number of a seed, in [0, 1), with 53 random bits.
 *
 * @param seed a whole number from 0 to 2^53 - 1.
 * @example uniform(7, 0) === uniform(7, 0) // true
 */
export function uniform(seed: number, index: number): number {
  const low = mix((seed % 0x100000000) ^ 0x9e3779b9);
  const key = mix(low ^ mix(Math.floor(seed / 0x100000000) + 0x7f4a7c15));
  const first = mix(key + Math.imul(index + 1, 0x9e3779b9));
  const second = mix(first ^ mix(key ^ Math.imul(index + 1, 0x85ebca77)));
  return ((first >>> 5) * 0x4000000 + (second >>> 6)) / 0x20000000000000;
}

/** A seed nobody chose, below 2^32. Example: `randomSeed()` */
export function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
