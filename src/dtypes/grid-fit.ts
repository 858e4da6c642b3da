/**
 * Owns: the search for the scales of groups of points under the one half of a super-block, and for the signs of numbers.
 * Refuses to know: where points, signs and scales lie in a block.
 */
import { type Grid, GridSearch } from './grid-search.ts';
import { fitScale, odd } from './scale-search.ts';
import { halfFor } from './super-blocks.ts';

/** Where the largest number of a group is tried: what it is of the largest coordinate. */
const TRIALS = [0.7, 0.78, 0.86, 0.95, 1.05, 1.15, 1.27] as const;

/** What a nibble of scale stands for. */
const ODD = odd(31);

/** How a format puts numbers on a grid. */
export interface GridKind {
  readonly grid: Grid;
  /** Numbers that have a scale in common. */
  readonly size: number;
  /** y = d * unit * (2 * scale + 1) * coordinate. */
  readonly unit: number;
}

/** What a block of points holds. */
export interface FittedGrid {
  readonly d: number;
  /** From 0 to 15, one for each group. */
  readonly scales: Uint8Array;
  /** [256 / dimensions] */
  readonly entries: Uint16Array;
}

/**
 * Makes all numbers positive and says which were not: a byte for each eight. `even`: an even number of them, so that the
 * number that is lost least with the wrong sign is kept below zero where there would be an odd one.
 */
export function takeSigns(x: Float64Array, w: Float64Array, even: boolean): Uint8Array {
  return Uint8Array.from({ length: x.length / 8 }, (_, k) => {
    let [signs, odd, least] = [0, false, 0];
    for (let j = 0; j < 8; j++) {
      const at = k * 8 + j;
      if (x[at]! < 0) {
        x[at] = -x[at]!;
        signs |= 1 << j;
        odd = !odd;
      }
      if (w[at]! * x[at]! < w[k * 8 + least]! * x[k * 8 + least]!) least = j;
    }
    if (even && odd) {
      x[k * 8 + least] = -x[k * 8 + least]!;
      signs ^= 1 << least;
    }
    return signs;
  });
}

/** Sums over the points of a group under a step: w (x - step p)^2, w x p and w p p. */
interface Sums {
  readonly error: number;
  readonly xp: number;
  readonly pp: number;
}

/**
 * The scales and points that make the sum of w (x - y)^2 small, of numbers that are not below zero but for signs that
 * cannot be kept.
 *
 * @example fitGrid(x, w, { grid: gridOf(IQ3S), size: 32, unit: 1 })
 */
export function fitGrid(x: Float64Array, w: Float64Array, { grid, size, unit }: GridKind): FittedGrid {
  const { dimensions, points, alphabet } = grid;
  const count = x.length / size;
  const search = new GridSearch(grid, x, w);
  const entries = new Uint16Array(x.length / dimensions);
  const under = (g: number, step: number): Sums => {
    let [error, xp, pp] = [0, 0, 0];
    for (let at = g * size; at < (g + 1) * size; at += dimensions) {
      const entry = search.nearest(at, step);
      entries[at / dimensions] = entry;
      error += search.error;
      for (let j = 0; j < dimensions; j++) {
        const p = points[entry * dimensions + j]!;
        const wp = w[at + j]! * p;
        xp += wp * x[at + j]!;
        pp += wp * p;
      }
    }
    return { error, xp, pp };
  };
  const [exact, weight] = [new Float64Array(count), new Float64Array(count)];
  for (let g = 0; g < count; g++) {
    const [from, to] = [g * size, (g + 1) * size];
    let largest = 0;
    for (let i = from; i < to; i++) largest = Math.max(largest, x[i]!);
    let [least, best] = [Number.POSITIVE_INFINITY, 0];
    for (const trial of TRIALS) {
      const step = largest / (alphabet[alphabet.length - 1]! * trial);
      let error = 0;
      for (let at = from; at < to && error < least; at += dimensions) {
        search.nearest(at, step);
        error += search.error;
      }
      if (error < least) [least, best] = [error, step];
    }
    const { xp, pp } = under(g, best);
    exact[g] = xp > 0 ? xp / pp : 0;
    weight[g] = xp > 0 ? pp : 0;
  }
  const zeros = { d: 0, scales: new Uint8Array(count), entries: new Uint16Array(entries.length) };
  const first = halfFor(fitScale(exact, weight, 0, count, ODD) / unit);
  if (first === 0) return zeros;
  const scales = new Uint8Array(count);
  let [error, xy, yy] = [0, 0, 0];
  for (let g = 0; g < count; g++) {
    let [least, xp, pp] = [Number.POSITIVE_INFINITY, 0, 0];
    for (let offset = -2; offset <= 2; offset += 2) {
      const scale = ODD.nearest(exact[g]! / (first * unit) + offset);
      const sums = under(g, first * unit * scale);
      if (sums.error < least) {
        least = sums.error;
        scales[g] = (scale - 1) / 2;
        xp = scale * sums.xp;
        pp = scale * scale * sums.pp;
      }
    }
    error += least;
    xy += xp;
    yy += pp;
  }
  let all = 0;
  for (let i = 0; i < x.length; i++) all += w[i]! * x[i]! * x[i]!;
  // A grid has no zero: of numbers for which halves are too large nothing is kept.
  if (!(error < all)) return zeros;
  const d = halfFor(xy / yy / unit);
  for (let g = 0; g < count; g++) under(g, d * unit * (2 * scales[g]! + 1));
  return { d, scales, entries };
}
