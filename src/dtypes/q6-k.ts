/**
 * Owns: Q6_K: 256 six-bit values in 16 groups with signed byte scales under one half-precision scale (210 bytes).
 * Refuses to know: other formats, tensors, files.
 */
import { blocks } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';
import { inverseOf, signed } from './scale-search.ts';
import { fitScaled } from './super-blocks.ts';
import { weighted } from './weighting.ts';

const LOW = 0;
const HIGH = 128;
const SCALES = 192;
const D = 208;
const CODE = signed(32);
const SCALE_CODE = signed(128);

/** Position in the block of value `i`: byte and shift of its low four and its high two bits. */
function place(i: number): { low: number; lowShift: number; high: number; highShift: number } {
  const half = i >> 7;
  const quarter = (i >> 5) & 3;
  const l = i & 31;
  return {
    low: LOW + half * 64 + (quarter & 1) * 32 + l,
    lowShift: (quarter >> 1) * 4,
    high: HIGH + half * 32 + l,
    highShift: quarter * 2,
  };
}

const PLACES = Array.from({ length: 256 }, (_, i) => place(i));

/** u8 low[128]; u8 high[64]; i8 scale[16]; f16 d; y = d * scale * (q - 32), a scale for every 16 values. */
export const Q6_K = blocks({
  name: 'Q6_K',
  ggmlId: 14,
  blockElements: 256,
  blockBytes: 210,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at + D);
    for (let i = 0; i < 256; i++) {
      const { low, lowShift, high, highShift } = PLACES[i]!;
      const q = ((src[at + low]! >> lowShift) & 15) | (((src[at + high]! >> highShift) & 3) << 4);
      const scale = (src[at + SCALES + (i >> 4)]! << 24) >> 24;
      dst[index + i] = Math.fround(d * scale) * (q - 32);
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, undefined, 'square');
    const { d, scales } = fitScaled({ x, w, size: 16 }, CODE, SCALE_CODE);
    writeScale(dst, at + D, d);
    const inverses = Float64Array.from(scales, (scale) => inverseOf(d * scale));
    dst.set(scales, at + SCALES);
    for (let i = 0; i < 256; i++) {
      const q = CODE.nearest(x[i]! * inverses[i >> 4]!) + 32;
      const { low, lowShift, high, highShift } = PLACES[i]!;
      dst[at + low]! |= (q & 15) << lowShift;
      dst[at + high]! |= (q >> 4) << highShift;
    }
  },
});
