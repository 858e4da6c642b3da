/**
 * Owns: MXFP4: 32 four-bit floats under a power of two (17 bytes).
 * Refuses to know: other formats, how checkpoints pack their pairs; tensors, files.
 *
 * Layout after the OCP microscaling formats (MX) and, for the order of the nibbles, ggml.
 */
import { blocks } from './blocks.ts';
import { levels } from './scale-search.ts';

/** Twice the values of the codes, so that they are integers. The code of -0 is 0, as in ggml. */
const DOUBLED: readonly number[] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/** The doubled values, once each and in order, and the code of each, by value + 12. */
const CODE = levels([...new Set(DOUBLED)].sort((a, b) => a - b));
const CODES = Uint8Array.from({ length: 25 }, (_, i) => Math.max(0, DOUBLED.indexOf(i - 12)));

/** u8 e; u8 q[16]; y = 2^(e - 127) * value, in the order of Q4_0. */
export const MXFP4 = blocks({
  name: 'MXFP4',
  ggmlId: 39,
  blockElements: 32,
  blockBytes: 17,
  decodeBlock(src, at, dst, index) {
    const half = 2 ** (src[at]! - 128);
    for (let j = 0; j < 16; j++) {
      const q = src[at + 1 + j]!;
      dst[index + j] = half * DOUBLED[q & 15]!;
      dst[index + j + 16] = half * DOUBLED[q >> 4]!;
    }
  },
  /** The largest value between 4 and 8 steps, though the codes end at 6, or between 2 and 4: whichever loses less. */
  encodeBlock(src, index, dst, at) {
    const x = src.subarray(index, index + 32);
    const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const exponent = largest > 0 ? Math.floor(Math.log2(largest)) - 2 : -127;
    let least = Number.POSITIVE_INFINITY;
    let half = 0;
    for (const tried of [exponent, exponent + 1]) {
      const e = Math.max(0, Math.min(254, tried + 127));
      const step = 2 ** (e - 128);
      let error = 0;
      for (const value of x) {
        const e = value - step * CODE.nearest(value / step);
        error += e * e;
      }
      if (error < least) {
        least = error;
        half = step;
        dst[at] = e;
      }
    }
    for (let j = 0; j < 32; j++) {
      dst[at + 1 + (j & 15)]! |= CODES[CODE.nearest(x[j]! / half) + 12]! << (j & 16 ? 4 : 0);
    }
  },
});
