/**
 * Owns: Q3_K: 256 three-bit values in 16 groups with six-bit scales (110 bytes).
 * Refuses to know: other formats, tensors, files.
 */
import { blocks, meanSquare } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';
import { inverseOf, signed } from './scale-search.ts';
import { fitScaled } from './super-blocks.ts';
import { weighted } from './weighting.ts';

const MASK = 0;
const Q = 32;
const SCALES = 96;
const D = 108;
const CODE = signed(4);
const SCALE_CODE = signed(32);

/** Scale of group 0..15 of the 12 bytes at `at`: four low bits, two high ones, minus 32. */
function scaleOf(src: Uint8Array, at: number, group: number): number {
  const low = group < 8 ? src[at + group]! & 15 : src[at + group - 8]! >> 4;
  const high = (src[at + 8 + (group & 3)]! >> ((group >> 2) * 2)) & 3;
  return (low | (high << 4)) - 32;
}

/**
 * u8 mask[32]; u8 q[64]; u8 scale[12]; f16 d; y = d * scale * (pair - 4), without the 4 where the mask has the bit; pairs
 * in the order of Q2_K, and each 32 values take the next bit of the mask.
 */
export const Q3_K = blocks({
  name: 'Q3_K',
  ggmlId: 11,
  blockElements: 256,
  blockBytes: 110,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at + D);
    for (let i = 0; i < 256; i++) {
      const l = i & 31;
      const pair = (src[at + Q + (i >> 7) * 32 + l]! >> (((i >> 5) & 3) * 2)) & 3;
      const bit = (src[at + MASK + l]! >> (i >> 5)) & 1;
      dst[index + i] = d * scaleOf(src, at + SCALES, i >> 4) * (pair - (bit ? 0 : 4));
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const surroundings = 2 * meanSquare(src, index, 256);
    const { x, w } = weighted(src, index, 256, importance, surroundings, 'square');
    const { d, scales } = fitScaled({ x, w, size: 16 }, CODE, SCALE_CODE);
    writeScale(dst, at + D, d);
    for (let group = 0; group < 16; group++) {
      const scale = scales[group]! + 32;
      dst[at + SCALES + (group & 7)]! |= (scale & 15) << (group < 8 ? 0 : 4);
      dst[at + SCALES + 8 + (group & 3)]! |= (scale >> 4) << ((group >> 2) * 2);
    }
    const inverses = Float64Array.from(scales, (scale) => inverseOf(d * scale));
    for (let i = 0; i < 256; i++) {
      const q = CODE.nearest(x[i]! * inverses[i >> 4]!) + 4;
      const l = i & 31;
      dst[at + Q + (i >> 7) * 32 + l]! |= (q & 3) << (((i >> 5) & 3) * 2);
      dst[at + MASK + l]! |= (q >> 2) << (i >> 5);
    }
  },
});
