/**
 * Owns: Q2_K: 256 pairs of bits in 16 groups, each with a four-bit scale and minimum (84 bytes).
 * Refuses to know: other formats, tensors, files.
 */
import { blocks, meanSquare } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';
import { inverseOf } from './scale-search.ts';
import { fitAffineGroups, quantized } from './super-blocks.ts';
import { weighted } from './weighting.ts';

const SCALES = 0;
const Q = 16;
const D = 80;
const DMIN = 82;

/**
 * u8 scale[16]; u8 q[64]; f16 d, dmin; y = d * (scale & 15) * pair - dmin * (scale >> 4), a scale for every 16 values;
 * each 32 bytes hold 128 values, from the low pair to the high one.
 */
export const Q2_K = blocks({
  name: 'Q2_K',
  ggmlId: 10,
  blockElements: 256,
  blockBytes: 84,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at + D);
    const dmin = readF16(src, at + DMIN);
    for (let i = 0; i < 256; i++) {
      const scale = src[at + SCALES + (i >> 4)]!;
      const pair = (src[at + Q + (i >> 7) * 32 + (i & 31)]! >> (((i >> 5) & 3) * 2)) & 3;
      dst[index + i] = d * (scale & 15) * pair - dmin * (scale >> 4);
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, meanSquare(src, index, 256), 'magnitude');
    const { d, dmin, scales, mins } = fitAffineGroups({ x, w, size: 16 }, 3, 15);
    writeScale(dst, at + D, d);
    writeScale(dst, at + DMIN, dmin);
    const inverses = Float64Array.from(scales, (scale) => inverseOf(d * scale));
    for (let i = 0; i < 256; i++) {
      const group = i >> 4;
      dst[at + SCALES + group] = scales[group]! | (mins[group]! << 4);
      const pair = quantized(x[i]!, inverses[group]!, dmin * mins[group]!, 3);
      dst[at + Q + (i >> 7) * 32 + (i & 31)]! |= pair << (((i >> 5) & 3) * 2);
    }
  },
});
