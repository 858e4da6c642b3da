/**
 * Owns: TQ1_0 and TQ2_0: 256 values of -1, 0, 1 under one half-precision scale, as digits of base 3 or as pairs of bits.
 * Refuses to know: other formats, tensors, files.
 */
import { blocks } from './blocks.ts';
import { readF16 } from './floats.ts';

/** The runs of digits in a block of TQ1_0: first byte, bytes, digits of each byte. */
const RUNS = [
  [0, 32, 5],
  [32, 16, 5],
  [48, 4, 4],
] as const;

/** u8 q[48]; u8 qh[4]; f16 d; y = d * (digit - 1), where a byte is the fraction 0.digits in base 3, rounded up. */
export const TQ1_0 = blocks({
  name: 'TQ1_0',
  ggmlId: 34,
  blockElements: 256,
  blockBytes: 54,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at + 52);
    let to = index;
    for (const [first, bytes, digits] of RUNS) {
      for (let n = 0; n < digits; n++) {
        for (let m = 0; m < bytes; m++) {
          const rest = (src[at + first + m]! * 3 ** n) & 255;
          dst[to++] = d * (((rest * 3) >> 8) - 1);
        }
      }
    }
  },
});

/** u8 q[64]; f16 d; y = d * (pair - 1), the pairs of each 32 bytes from the low one to the high one. */
export const TQ2_0 = blocks({
  name: 'TQ2_0',
  ggmlId: 35,
  blockElements: 256,
  blockBytes: 66,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at + 64);
    let to = index;
    for (let half = 0; half < 64; half += 32) {
      for (let shift = 0; shift < 8; shift += 2) {
        for (let m = 0; m < 32; m++) dst[to++] = d * (((src[at + half + m]! >> shift) & 3) - 1);
      }
    }
  },
});
