/**
 * Owns: the point of a grid that lies nearest to some numbers, under weights and a step, among all of its points.
 * Refuses to know: block layouts; how steps are found.
 *
 * What a point costs is a sum over its coordinates, and a coordinate is one of few levels. So the costs of all first halves
 * and of all second halves that there could be are written down, and a point costs the sum of two of them.
 */
import type { DigitTable } from './iq-grids.ts';

/** Points that have their first half in common. */
interface Family {
  readonly first: number;
  /** The second half of each point, and which point it is. */
  readonly seconds: Uint8Array;
  readonly entries: Uint16Array;
}

/** A table of points, ready to be searched. */
export interface Grid {
  readonly dimensions: number;
  readonly alphabet: readonly number[];
  /** The coordinates of all points, one point after the other. */
  readonly points: Int8Array;
  readonly families: readonly Family[];
}

/** A grid of a table. Example: `gridOf(IQ3S).points.length // 512 * 4` */
export function gridOf({ alphabet, dimensions, digits }: DigitTable): Grid {
  const points = new Int8Array(digits.length);
  const families = new Map<number, { seconds: number[]; entries: number[] }>();
  for (let from = 0; from < digits.length; from += dimensions) {
    const halves: [number, number] = [0, 0];
    for (let j = 0; j < dimensions; j++) {
      const digit = digits.charCodeAt(from + j) - 48;
      const half = j < dimensions / 2 ? 0 : 1;
      halves[half] = halves[half] * alphabet.length + digit;
      points[from + j] = alphabet[digit]!;
    }
    const [first, second] = halves;
    const family = families.get(first) ?? { seconds: [], entries: [] };
    family.seconds.push(second);
    family.entries.push(from / dimensions);
    families.set(first, family);
  }
  return {
    dimensions,
    alphabet,
    points,
    families: Array.from(families, ([first, { seconds, entries }]) => ({
      first,
      seconds: Uint8Array.from(seconds),
      entries: Uint16Array.from(entries),
    })),
  };
}

/**
 * Looks for points that are near to numbers `x` with weights `w`.
 *
 * @example new GridSearch(grid, x, w).nearest(0, 0.01) // the point p with the least sum of w (x - 0.01 p)^2
 */
export class GridSearch {
  readonly #grid: Grid;
  readonly #x: Float64Array;
  readonly #w: Float64Array;
  readonly #firsts: Float64Array;
  readonly #seconds: Float64Array;
  readonly #levels: Float64Array;
  /** What the point that was found last costs. */
  error = 0;

  constructor(grid: Grid, x: Float64Array, w: Float64Array) {
    const halves = grid.alphabet.length ** (grid.dimensions / 2);
    this.#grid = grid;
    this.#x = x;
    this.#w = w;
    this.#firsts = new Float64Array(halves);
    this.#seconds = new Float64Array(halves);
    this.#levels = new Float64Array(grid.alphabet.length);
  }

  /** The point under which the numbers from `at` on lose least as step * (coordinate + shift). */
  nearest(at: number, step: number, shift = 0): number {
    const [firsts, seconds] = [this.#firsts, this.#seconds];
    this.#fill(firsts, at, step, shift);
    this.#fill(seconds, at + this.#grid.dimensions / 2, step, shift);
    let least = Number.POSITIVE_INFINITY;
    for (let half = 0; half < seconds.length; half++) if (seconds[half]! < least) least = seconds[half]!;
    let found = 0;
    let best = Number.POSITIVE_INFINITY;
    for (const family of this.#grid.families) {
      const cost = firsts[family.first]!;
      if (!(cost + least < best)) continue;
      const halves = family.seconds;
      for (let i = 0; i < halves.length; i++) {
        const both = cost + seconds[halves[i]!]!;
        if (both < best) {
          best = both;
          found = family.entries[i]!;
        }
      }
    }
    this.error = best;
    return found;
  }

  /** What each half would cost that begins at number `at`: its digits in order are its index. */
  #fill(costs: Float64Array, at: number, step: number, shift: number): void {
    const { alphabet, dimensions } = this.#grid;
    const levels = this.#levels;
    const count = alphabet.length;
    costs[0] = 0;
    for (let j = 0, known = 1; j < dimensions / 2; j++, known *= count) {
      const x = this.#x[at + j]!;
      const w = this.#w[at + j]!;
      for (let l = 0; l < count; l++) {
        const e = x - step * (alphabet[l]! + shift);
        levels[l] = w * e * e;
      }
      // From the end, since the longer ones take the place of the shorter.
      for (let code = known - 1; code >= 0; code--) {
        const cost = costs[code]!;
        for (let l = 0; l < count; l++) costs[code * count + l] = cost + levels[l]!;
      }
    }
  }
}
