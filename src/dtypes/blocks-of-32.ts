/**
 * Owns: the scales and codes of the formats that have 32 numbers under one half, or two: Q4_0, Q4_1, Q5_0, Q5_1.
 * Refuses to know: where the bits of a code lie.
 *
 * Without an importance matrix they are those of ggml to the bit, whose single-precision steps are kept with `fround`.
 */
import type { BlockImportance } from './blocks.ts';
import { writeScale } from './floats.ts';
import { fitAffine, fitScale, inverseOf, signed } from './scale-search.ts';
import { quantized } from './super-blocks.ts';
import { weighted } from './weighting.ts';

const f32 = Math.fround;

/** Writes d at `at`; the codes q of y = d * (q - size), from 0 to 2 * size - 1. */
export function encodeScaled32(
  src: Float32Array,
  index: number,
  dst: Uint8Array,
  at: number,
  size: number,
  importance: BlockImportance | undefined,
): Uint8Array {
  if (importance) {
    const { x, w } = weighted(src, index, 32, importance, importance.rowMeanSquare, 'square');
    const code = signed(size);
    const d = writeScale(dst, at, fitScale(x, w, 0, 32, code));
    const inverse = inverseOf(d);
    return Uint8Array.from(x, (value) => code.nearest(value * inverse) + size);
  }
  const x = src.subarray(index, index + 32);
  // The number of largest magnitude, with its sign, becomes -size.
  const extreme = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  const d = f32(extreme / -size);
  const inverse = d === 0 ? 0 : f32(1 / d);
  writeScale(dst, at, d);
  return codes(x, 2 * size - 1, (value) => f32(f32(value * inverse) + (size + 0.5)));
}

/** Writes d and m at `at`; the codes q of y = d * q + m, from 0 to `most`. */
export function encodeAffine32(
  src: Float32Array,
  index: number,
  dst: Uint8Array,
  at: number,
  most: number,
  importance: BlockImportance | undefined,
): Uint8Array {
  if (importance) {
    const { x, w } = weighted(src, index, 32, importance, importance.rowMeanSquare, 'square');
    const { scale, min } = fitAffine(x, w, 0, 32, most, true);
    const d = writeScale(dst, at, scale);
    const m = writeScale(dst, at + 2, -min);
    const inverse = inverseOf(d);
    return Uint8Array.from(x, (value) => quantized(value, inverse, -m, most));
  }
  const x = src.subarray(index, index + 32);
  const least = x.reduce((low, value) => (value < low ? value : low));
  const highest = x.reduce((high, value) => (value > high ? value : high));
  const d = f32(f32(highest - least) / most);
  const inverse = d === 0 ? 0 : f32(1 / d);
  writeScale(dst, at, d);
  writeScale(dst, at + 2, least);
  return codes(x, most, (value) => f32(f32(f32(value - least) * inverse) + 0.5));
}

/** Whole parts between 0 and `most`. */
function codes(x: Float32Array, most: number, code: (value: number) => number): Uint8Array {
  return Uint8Array.from(x, (value) => Math.max(0, Math.min(most, Math.trunc(code(value)))));
}
