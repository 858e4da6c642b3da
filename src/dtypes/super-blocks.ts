/**
 * Owns: the search for the scales of groups as small integers under the one or two halves of a super-block.
 * Refuses to know: where integers and codes lie in a block.
 */
import { nearestScale } from './floats.ts';
import { type Code, fitAffine, fitScale, inverseOf, rounded, unsigned } from './scale-search.ts';

/** Rounds of fitting the halves again to the integers that were chosen for them. */
const ROUNDS = 3;

/** The nearest half, but not zero for what is not: integers below the largest may still reach small numbers. */
export const halfFor = (value: number) => nearestScale(value) || Math.sign(value) * 2 ** -24;

/** Numbers and what an error in each weighs, in groups of `size`. */
export interface Groups {
  readonly x: Float64Array;
  readonly w: Float64Array;
  readonly size: number;
}

/** y = d * scales[group] * code. */
export interface Scaled {
  readonly d: number;
  readonly scales: Int32Array;
}

/** The scaled groups that make the sum of w (x - y)^2 small. Example: `fitScaled(groups, signed(32), signed(128))` */
export function fitScaled(groups: Groups, code: Code, scaleCode: Code): Scaled {
  const { x, w, size } = groups;
  const count = x.length / size;
  const exact = new Float64Array(count);
  const weight = new Float64Array(count);
  for (let g = 0; g < count; g++) {
    exact[g] = fitScale(x, w, g * size, (g + 1) * size, code);
    const inverse = inverseOf(exact[g]!);
    for (let i = g * size; i < (g + 1) * size; i++) {
      const q = code.nearest(x[i]! * inverse);
      weight[g]! += w[i]! * q * q;
    }
  }
  let best: Scaled = { d: 0, scales: new Int32Array(count) };
  let bestError = Number.POSITIVE_INFINITY;
  let d = fitScale(exact, weight, 0, count, scaleCode);
  for (let round = 0; round < ROUNDS; round++) {
    d = halfFor(d);
    if (d === 0) break;
    const scales = new Int32Array(count);
    let error = 0;
    let xy = 0;
    let yy = 0;
    for (let g = 0; g < count; g++) {
      const [scale, groupError] = nearbyScale(groups, g, code, scaleCode, d, exact[g]! / d);
      scales[g] = scale;
      error += groupError;
      const inverse = inverseOf(d * scale);
      for (let i = g * size; i < (g + 1) * size; i++) {
        const y = scale * code.nearest(x[i]! * inverse);
        const wy = w[i]! * y;
        xy += wy * x[i]!;
        yy += wy * y;
      }
    }
    if (!(error < bestError)) break;
    bestError = error;
    best = { d, scales };
    d = yy > 0 ? xy / yy : 0;
  }
  return best;
}

/** The integer next to `wanted` under which group `g` loses least, and what it loses. */
function nearbyScale(
  { x, w, size }: Groups,
  g: number,
  code: Code,
  scaleCode: Code,
  d: number,
  wanted: number,
): [scale: number, error: number] {
  let best = 0;
  let bestError = Number.POSITIVE_INFINITY;
  for (let offset = -1; offset <= 1; offset++) {
    const scale = scaleCode.nearest(wanted + offset);
    const step = d * scale;
    const inverse = inverseOf(step);
    let error = 0;
    for (let i = g * size; i < (g + 1) * size && error < bestError; i++) {
      const e = x[i]! - step * code.nearest(x[i]! * inverse);
      error += w[i]! * e * e;
    }
    if (error < bestError) {
      bestError = error;
      best = scale;
    }
  }
  return [best, bestError];
}

/** y = d * scales[group] * q - dmin * mins[group]. */
export interface AffineGroups {
  readonly d: number;
  readonly dmin: number;
  readonly scales: Int32Array;
  readonly mins: Int32Array;
}

/**
 * The groups with minima that make the sum of w (x - y)^2 small; q from 0 to `most`, scales and minima from 0 to
 * `mostScale`.
 *
 * @example fitAffineGroups(groups, 15, 63)
 */
export function fitAffineGroups(groups: Groups, most: number, mostScale: number): AffineGroups {
  const { x, w, size } = groups;
  const count = x.length / size;
  const scaleCode = unsigned(mostScale);
  const exact = Array.from({ length: count }, (_, g) =>
    fitAffine(x, w, g * size, (g + 1) * size, most, false),
  );
  const exactScales = Float64Array.from(exact, ({ scale }) => scale);
  const exactMins = Float64Array.from(exact, ({ min }) => min);
  const [scaleWeights, minWeights] = [new Float64Array(count), new Float64Array(count)];
  for (let g = 0; g < count; g++) {
    const { scale, min } = exact[g]!;
    const inverse = inverseOf(scale);
    for (let i = g * size; i < (g + 1) * size; i++) {
      const q = quantized(x[i]!, inverse, min, most);
      scaleWeights[g]! += w[i]! * q * q;
      minWeights[g]! += w[i]!;
    }
  }
  let best: AffineGroups = { d: 0, dmin: 0, scales: new Int32Array(count), mins: new Int32Array(count) };
  let bestError = Number.POSITIVE_INFINITY;
  let d = fitScale(exactScales, scaleWeights, 0, count, scaleCode);
  let dmin = fitScale(exactMins, minWeights, 0, count, scaleCode);
  for (let round = 0; round < ROUNDS; round++) {
    d = halfFor(d);
    dmin = halfFor(dmin);
    const [scales, mins] = [new Int32Array(count), new Int32Array(count)];
    let error = 0;
    // Normal equations of the two halves, y = d * a - dmin * b.
    let [aa, ab, bb, xa, xb] = [0, 0, 0, 0, 0];
    for (let g = 0; g < count; g++) {
      const chosen = nearbyAffine(groups, g, most, mostScale, d, dmin, exact[g]!.scale, exact[g]!.min);
      scales[g] = chosen.scale;
      mins[g] = chosen.min;
      error += chosen.error;
      const inverse = inverseOf(d * chosen.scale);
      for (let i = g * size; i < (g + 1) * size; i++) {
        const a = chosen.scale * quantized(x[i]!, inverse, dmin * chosen.min, most);
        const [wa, wb] = [w[i]! * a, w[i]! * chosen.min];
        aa += wa * a;
        ab += wa * chosen.min;
        bb += wb * chosen.min;
        xa += wa * x[i]!;
        xb += wb * x[i]!;
      }
    }
    if (!(error < bestError)) break;
    bestError = error;
    best = { d, dmin, scales, mins };
    const determinant = aa * bb - ab * ab;
    if (determinant > 0) {
      d = (xa * bb - xb * ab) / determinant;
      dmin = (xa * ab - xb * aa) / determinant;
    }
    if (!(determinant > 0) || dmin < 0) {
      d = aa > 0 ? xa / aa : 0;
      dmin = 0;
    }
  }
  return best;
}

/** The code of x under y = q / inverse - min. */
export function quantized(x: number, inverse: number, min: number, most: number): number {
  return Math.max(0, Math.min(most, rounded((x + min) * inverse)));
}

/** The pair of integers next to the wanted scale and minimum under which group `g` loses least. */
function nearbyAffine(
  { x, w, size }: Groups,
  g: number,
  most: number,
  mostScale: number,
  d: number,
  dmin: number,
  wantedScale: number,
  wantedMin: number,
): { scale: number; min: number; error: number } {
  const clamped = (value: number) => Math.max(0, Math.min(mostScale, rounded(value)));
  const best = { scale: 0, min: 0, error: Number.POSITIVE_INFINITY };
  for (let s = -1; s <= 1; s++) {
    const scale = d === 0 ? 0 : clamped(wantedScale / d + s);
    for (let m = -1; m <= 1; m++) {
      const min = dmin === 0 ? 0 : clamped(wantedMin / dmin + m);
      const [step, offset] = [d * scale, dmin * min];
      const inverse = inverseOf(step);
      let error = 0;
      for (let i = g * size; i < (g + 1) * size && error < best.error; i++) {
        const e = x[i]! - (step * quantized(x[i]!, inverse, offset, most) - offset);
        error += w[i]! * e * e;
      }
      if (error < best.error) Object.assign(best, { scale, min, error });
    }
  }
  return best;
}
