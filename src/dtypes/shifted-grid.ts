/**
 * Owns: the search for the scales of groups of ternary points under the one half of a super-block, and for whether points
 * are moved up or down.
 * Refuses to know: where points, moves and scales lie in a block.
 *
 * Scales and moves are chosen by each number by itself, that is, by what is nearest of -1, 0 and 1, moved. Points of the grid
 * are looked for under what was chosen: to look for them under all that is tried gains next to nothing.
 */
import { type Grid, GridSearch } from './grid-search.ts';
import { fitScale, inverseOf, odd, rounded } from './scale-search.ts';
import { halfFor } from './super-blocks.ts';

/** How many steps the largest number of a group may be. */
const TOPS = [1, 1.2, 1.45, 1.75, 2.1, 2.5, 3, 3.8, 5] as const;

/** What three bits of scale stand for. */
const ODD = odd(15);

/** How a format puts numbers on a grid of -1, 0 and 1. */
export interface ShiftedKind {
  readonly grid: Grid;
  /** Numbers that have a scale in common. */
  readonly size: number;
  /** Numbers that are moved together. */
  readonly run: number;
  /** How far. */
  readonly shift: number;
}

/** What a block of points holds: y = d * (2 * scale + 1) * (point ± shift). */
export interface FittedShifts {
  readonly d: number;
  /** From 0 to 7, one for each group. */
  readonly scales: Uint8Array;
  /** 1 where the points of a run are moved down. */
  readonly down: Uint8Array;
  /** [256 / 8] */
  readonly entries: Uint16Array;
}

/** Sums over numbers under a step: w (x - step q)^2, w x q and w q q. */
class Sums {
  error = 0;
  xq = 0;
  qq = 0;
  add(x: number, w: number, q: number, step: number): void {
    const e = x - step * q;
    const wq = w * q;
    this.error += w * e * e;
    this.xq += wq * x;
    this.qq += wq * q;
  }
}

/**
 * The scales, moves and points that make the sum of w (x - y)^2 small.
 *
 * @example fitShifted(x, w, { grid: gridOf(IQ1S), size: 32, run: 32, shift: 0.125 })
 */
export function fitShifted(x: Float64Array, w: Float64Array, kind: ShiftedKind): FittedShifts {
  const { grid, size, run, shift } = kind;
  const { dimensions, points } = grid;
  const [groups, runs] = [x.length / size, size / run];
  const search = new GridSearch(grid, x, w);
  const entries = new Uint16Array(x.length / dimensions);

  /** A run with each number by itself. */
  const alone = (r: number, step: number, move: number): Sums => {
    const sums = new Sums();
    const inverse = inverseOf(step);
    for (let i = r * run; i < (r + 1) * run; i++) {
      const ternary = Math.max(-1, Math.min(1, rounded(x[i]! * inverse - move)));
      sums.add(x[i]!, w[i]!, ternary + move, step);
    }
    return sums;
  };
  const moved = (r: number, step: number): { readonly sums: Sums; readonly down: boolean } => {
    const [up, down] = [alone(r, step, shift), alone(r, step, -shift)];
    return down.error < up.error ? { sums: down, down: true } : { sums: up, down: false };
  };
  /** A run on points, which become its entries. */
  const onGrid = (r: number, step: number, move: number): Sums => {
    const sums = new Sums();
    for (let at = r * run; at < (r + 1) * run; at += dimensions) {
      const entry = search.nearest(at, step, move);
      entries[at / dimensions] = entry;
      for (let j = 0; j < dimensions; j++) {
        sums.add(x[at + j]!, w[at + j]!, points[entry * dimensions + j]! + move, step);
      }
    }
    return sums;
  };

  const [exact, weight] = [new Float64Array(groups), new Float64Array(groups)];
  for (let g = 0; g < groups; g++) {
    let largest = 0;
    for (let i = g * size; i < (g + 1) * size; i++) largest = Math.max(largest, Math.abs(x[i]!));
    let gain = 0;
    for (const top of TOPS) {
      let [xq, qq] = [0, 0];
      for (let r = g * runs; r < (g + 1) * runs; r++) {
        const { sums } = moved(r, largest / top);
        xq += sums.xq;
        qq += sums.qq;
      }
      if (!(xq > 0 && xq * xq > gain * qq)) continue;
      gain = (xq * xq) / qq;
      exact[g] = xq / qq;
      weight[g] = qq;
    }
  }
  const zeros: FittedShifts = {
    d: 0,
    scales: new Uint8Array(groups),
    down: new Uint8Array(groups * runs),
    entries: new Uint16Array(entries.length),
  };
  const first = halfFor(fitScale(exact, weight, 0, groups, ODD));
  if (first === 0) return zeros;
  const scales = new Uint8Array(groups);
  let [error, xy, yy] = [0, 0, 0];
  for (let g = 0; g < groups; g++) {
    let least = Number.POSITIVE_INFINITY;
    for (let offset = -2; offset <= 2; offset += 2) {
      const scale = ODD.nearest(exact[g]! / first + offset);
      let sum = 0;
      for (let r = g * runs; r < (g + 1) * runs; r++) sum += moved(r, first * scale).sums.error;
      if (sum < least) {
        least = sum;
        scales[g] = (scale - 1) / 2;
      }
    }
    const scale = 2 * scales[g]! + 1;
    for (let r = g * runs; r < (g + 1) * runs; r++) {
      const sums = onGrid(r, first * scale, moved(r, first * scale).down ? -shift : shift);
      error += sums.error;
      xy += scale * sums.xq;
      yy += scale * scale * sums.qq;
    }
  }
  let all = 0;
  for (let i = 0; i < x.length; i++) all += w[i]! * x[i]! * x[i]!;
  // Of numbers for which halves are too large nothing is kept.
  if (!(error < all)) return zeros;
  const d = halfFor(xy / yy);
  const down = new Uint8Array(groups * runs);
  for (let r = 0; r < down.length; r++) {
    const step = d * (2 * scales[Math.floor(r / runs)]! + 1);
    down[r] = moved(r, step).down ? 1 : 0;
    onGrid(r, step, down[r] ? -shift : shift);
  }
  return { d, scales, down, entries };
}
