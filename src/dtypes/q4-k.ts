/**
 * Owns: Q4_K and Q5_K: 256 values of four or five bits in 8 groups, each with a six-bit scale and minimum.
 * Refuses to know: other formats, tensors, files.
 */
import { type BlockImportance, blocks, meanSquare } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';
import { inverseOf } from './scale-search.ts';
import { fitAffineGroups, quantized } from './super-blocks.ts';
import { weighted } from './weighting.ts';

const D = 0;
const DMIN = 2;
const SCALES = 4;
const Q4_NIBBLES = 16;
const Q5_HIGH = 16;
const Q5_NIBBLES = 48;

/** Six-bit scale of group 0..7 of the 12 bytes at `at`. */
function scaleOf(src: Uint8Array, at: number, group: number): number {
  if (group < 4) return src[at + group]! & 63;
  return (src[at + group + 4]! & 15) | ((src[at + group - 4]! >> 6) << 4);
}

/** Six-bit minimum of group 0..7 of the 12 bytes at `at`. */
function minOf(src: Uint8Array, at: number, group: number): number {
  if (group < 4) return src[at + group + 4]! & 63;
  return (src[at + group + 4]! >> 4) | ((src[at + group]! >> 6) << 4);
}

/** Nibble of value `i`: each 32 bytes hold two groups, the first in the low nibbles. */
const nibbleOf = (src: Uint8Array, at: number, i: number) =>
  (src[at + (i >> 6) * 32 + (i & 31)]! >> (((i >> 5) & 1) * 4)) & 15;

function decodeGroups(
  src: Uint8Array,
  at: number,
  dst: Float32Array,
  index: number,
  codeOf: (i: number) => number,
): void {
  const d = readF16(src, at + D);
  const dmin = readF16(src, at + DMIN);
  for (let group = 0; group < 8; group++) {
    const scale = d * scaleOf(src, at + SCALES, group);
    const min = dmin * minOf(src, at + SCALES, group);
    for (let i = group * 32; i < group * 32 + 32; i++) dst[index + i] = scale * codeOf(i) - min;
  }
}

/** Writes halves, scales and minima and the low nibbles of codes from 0 to `most`; the codes. */
function encodeGroups(
  src: Float32Array,
  index: number,
  dst: Uint8Array,
  at: number,
  nibbles: number,
  most: number,
  importance: BlockImportance | undefined,
): Uint8Array {
  const surroundings = 2 * meanSquare(src, index, 256);
  const { x, w } = weighted(src, index, 256, importance, surroundings, 'magnitude and mean of 32');
  const { d, dmin, scales, mins } = fitAffineGroups({ x, w, size: 32 }, most, 63);
  writeScale(dst, at + D, d);
  writeScale(dst, at + DMIN, dmin);
  for (let group = 0; group < 8; group++) {
    const [scale, min] = [scales[group]!, mins[group]!];
    if (group < 4) {
      dst[at + SCALES + group]! |= scale;
      dst[at + SCALES + group + 4]! |= min;
    } else {
      dst[at + SCALES + group + 4] = (scale & 15) | ((min & 15) << 4);
      dst[at + SCALES + group - 4]! |= (scale >> 4) << 6;
      dst[at + SCALES + group]! |= (min >> 4) << 6;
    }
  }
  const inverses = Float64Array.from(scales, (scale) => inverseOf(d * scale));
  return Uint8Array.from(x, (value, i) => {
    const q = quantized(value, inverses[i >> 5]!, dmin * mins[i >> 5]!, most);
    dst[at + nibbles + (i >> 6) * 32 + (i & 31)]! |= (q & 15) << (((i >> 5) & 1) * 4);
    return q;
  });
}

/** f16 d, dmin; u8 scale[12]; u8 q[128]; y = d * scale * nibble - dmin * min. */
export const Q4_K = blocks({
  name: 'Q4_K',
  ggmlId: 12,
  blockElements: 256,
  blockBytes: 144,
  decodeBlock(src, at, dst, index) {
    decodeGroups(src, at, dst, index, (i) => nibbleOf(src, at + Q4_NIBBLES, i));
  },
  encodeBlock(src, index, dst, at, importance) {
    encodeGroups(src, index, dst, at, Q4_NIBBLES, 15, importance);
  },
});

/** f16 d, dmin; u8 scale[12]; u8 high[32]; u8 q[128]; as Q4_K, with bit `group` of high[i mod 32] as the fifth. */
export const Q5_K = blocks({
  name: 'Q5_K',
  ggmlId: 13,
  blockElements: 256,
  blockBytes: 176,
  decodeBlock(src, at, dst, index) {
    const fifth = (i: number) => ((src[at + Q5_HIGH + (i & 31)]! >> (i >> 5)) & 1) << 4;
    decodeGroups(src, at, dst, index, (i) => nibbleOf(src, at + Q5_NIBBLES, i) | fifth(i));
  },
  encodeBlock(src, index, dst, at, importance) {
    const codes = encodeGroups(src, index, dst, at, Q5_NIBBLES, 31, importance);
    for (const [i, q] of codes.entries()) dst[at + Q5_HIGH + (i & 31)]! |= (q >> 4) << (i >> 5);
  },
});
