/**
 * Owns: the search for the scale, or the scale and minimum, under which a run of numbers loses least.
 * Refuses to know: block layouts; how scales themselves are kept.
 *
 * For given codes the best scale is a least-squares fit, and for a given scale the best codes are the nearest: so each
 * search tries scales that put the largest number near the end of the code, fits, and repeats from the best of them.
 */

/** Numbers that a code can stand for, before any scale. */
export interface Code {
  /** The member nearest to a number. */
  readonly nearest: (value: number) => number;
  /** Where to try to put the largest number. */
  readonly tops: readonly number[];
}

/** The nearest integer, halves upwards: as every processor does it in one step. */
export const rounded = (value: number): number => Math.floor(value + 0.5);

/** What to multiply with instead of dividing by a step; 0 for a step of 0, under which all codes are one. */
export const inverseOf = (step: number): number => (step === 0 ? 0 : 1 / step);

/** Rounds of fitting again from the best that the trials gave. */
const REFITS = 4;

const around = (middle: number, step: number, count: number) =>
  Array.from({ length: 2 * count + 1 }, (_, i) => middle + (i - count) * step);

/** Integers from -size to size - 1. Example: `signed(8).nearest(9) // 7` */
export function signed(size: number): Code {
  return {
    nearest: (value) => Math.max(-size, Math.min(size - 1, rounded(value))),
    tops: [...around(-size, 0.1, 9), ...around(size - 1, 0.1, 9)],
  };
}

/** Integers from 0 to `most`. Example: `unsigned(15).nearest(-3) // 0` */
export function unsigned(most: number): Code {
  return {
    nearest: (value) => Math.max(0, Math.min(most, rounded(value))),
    tops: around(most, 0.1, 9),
  };
}

/** Odd integers from 1 to `most`, as bits of scale stand for them. Example: `odd(31).nearest(4) // 5` */
export function odd(most: number): Code {
  return {
    nearest: (value) => 2 * Math.max(0, Math.min((most - 1) / 2, Math.floor(value / 2))) + 1,
    tops: around(most, 0.5, 4),
  };
}

/** A few levels, integers between -127 and 127 in ascending order. */
export function levels(members: readonly number[]): Code {
  const [lowest, highest] = [members[0]!, members[members.length - 1]!];
  // Levels are integers, so the nearest one is the same between two neighbouring halves. One more: what is barely below
  // the highest level may be rounded up to it.
  const halves = Float64Array.from({ length: 2 * (highest - lowest) + 1 }, (_, i) => {
    const value = lowest + (i + 0.5) / 2;
    return members.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
  });
  return {
    nearest(value) {
      if (value >= highest) return highest;
      return value > lowest ? halves[Math.floor((value - lowest) * 2)]! : lowest;
    },
    // Far beyond the ends too: a lone large number that weighs little is better cut off.
    tops: [...around(lowest, 1, 20), ...around(highest, 1, 20)],
  };
}

/**
 * The scale s that makes the sum of w (x - s code)^2 small over [from, to), its codes being the nearest ones.
 *
 * @example fitScale(x, w, 0, 32, signed(8))
 */
export function fitScale(x: Float64Array, w: Float64Array, from: number, to: number, code: Code): number {
  let extreme = 0;
  for (let i = from; i < to; i++) if (Math.abs(x[i]!) > Math.abs(extreme)) extreme = x[i]!;
  if (extreme === 0) return 0;
  const { nearest, tops } = code;
  let scale = 0;
  let gain = 0;
  for (let trial = 0; trial < tops.length + REFITS; trial++) {
    const inverse = trial < tops.length ? tops[trial]! / extreme : 1 / scale;
    let xq = 0;
    let qq = 0;
    for (let i = from; i < to; i++) {
      const q = nearest(x[i]! * inverse);
      const wq = w[i]! * q;
      xq += wq * x[i]!;
      qq += wq * q;
    }
    // With the best scale xq / qq the error is the sum of w x^2 less this.
    if (xq * xq > gain * qq) {
      gain = (xq * xq) / qq;
      scale = xq / qq;
    } else if (trial >= tops.length) break;
  }
  return scale;
}

/** y = scale * q - min. */
export interface Affine {
  readonly scale: number;
  readonly min: number;
}

/** Where the end of the code is tried around the largest number, and its beginning above the least one, in codes. */
const AFFINE_TRIALS = [0, 1 / 3, 2 / 3].flatMap((cut) => around(0, 0.15, 6).map((over) => ({ cut, over })));

/**
 * The scale and minimum that make the sum of w (x - scale q + min)^2 small over [from, to), q from 0 to `most`.
 * `signedMin`: whether min may be below 0, that is, all numbers above it.
 *
 * @example fitAffine(x, w, 0, 32, 15, false)
 */
export function fitAffine(
  x: Float64Array,
  w: Float64Array,
  from: number,
  to: number,
  most: number,
  signedMin: boolean,
): Affine {
  let low = signedMin ? Number.POSITIVE_INFINITY : 0;
  let high = Number.NEGATIVE_INFINITY;
  let sw = 0;
  let sx = 0;
  let sxx = 0;
  for (let i = from; i < to; i++) {
    low = Math.min(low, x[i]!);
    high = Math.max(high, x[i]!);
    sw += w[i]!;
    sx += w[i]! * x[i]!;
    sxx += w[i]! * x[i]! * x[i]!;
  }
  let scale = 0;
  let min = sw > 0 ? -sx / sw : -low;
  if (!signedMin) min = Math.max(0, min);
  if (!(high > low)) return { scale, min };
  let error = sxx + 2 * min * sx + min * min * sw;
  for (let trial = 0; trial < AFFINE_TRIALS.length + REFITS; trial++) {
    const fresh = AFFINE_TRIALS[trial];
    const bottom = fresh ? low + (fresh.cut * (high - low)) / most : -min;
    const inverse = fresh ? (most - fresh.cut + fresh.over) / (high - bottom) : 1 / scale;
    let sq = 0;
    let sqq = 0;
    let sxq = 0;
    for (let i = from; i < to; i++) {
      const q = Math.max(0, Math.min(most, rounded((x[i]! - bottom) * inverse)));
      const wq = w[i]! * q;
      sq += wq;
      sqq += wq * q;
      sxq += wq * x[i]!;
    }
    const determinant = sw * sqq - sq * sq;
    if (!(determinant > 0)) continue;
    let s = (sw * sxq - sx * sq) / determinant;
    let m = (sq * sxq - sqq * sx) / determinant;
    if (m < 0 && !signedMin) {
      m = 0;
      s = sxq / sqq;
    }
    const e = sxx - 2 * s * sxq + 2 * m * sx + s * s * sqq - 2 * s * m * sq + m * m * sw;
    if (s > 0 && e < error) {
      error = e;
      scale = s;
      min = m;
    } else if (!fresh) break;
  }
  return { scale, min };
}
