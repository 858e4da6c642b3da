/**
 * Owns: Q5_0 and Q5_1: 32 five-bit values under a half-precision scale, without and with a minimum.
 * Refuses to know: other formats, tensors, files.
 */
import { blocks } from './blocks.ts';
import { encodeAffine32, encodeScaled32 } from './blocks-of-32.ts';
import { readF16 } from './floats.ts';

/** Value `j` (0..31) of the 4 bytes of fifth bits at `high` and the 16 bytes of nibbles behind them. */
function five(src: Uint8Array, high: number, j: number): number {
  const low = (src[high + 4 + (j & 15)]! >> (j & 16 ? 4 : 0)) & 15;
  return low | (((src[high + (j >> 3)]! >> (j & 7)) & 1) << 4);
}

/** Writes the fifth bits at `high` and the nibbles behind them. */
function writeFive(dst: Uint8Array, high: number, codes: Uint8Array): void {
  for (let j = 0; j < 32; j++) {
    dst[high + (j >> 3)]! |= (codes[j]! >> 4) << (j & 7);
    dst[high + 4 + (j & 15)]! |= (codes[j]! & 15) << (j & 16 ? 4 : 0);
  }
}

/** f16 d; u32 h; u8 q[16]; y[j] = d * (five - 16), the order of Q4_0 and bit j of h the fifth of value j. */
export const Q5_0 = blocks({
  name: 'Q5_0',
  ggmlId: 6,
  blockElements: 32,
  blockBytes: 22,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let j = 0; j < 32; j++) dst[index + j] = d * (five(src, at + 2, j) - 16);
  },
  encodeBlock(src, index, dst, at, importance) {
    writeFive(dst, at + 2, encodeScaled32(src, index, dst, at, 16, importance));
  },
});

/** f16 d, m; u32 h; u8 q[16]; y = d * five + m, in the order of Q5_0. */
export const Q5_1 = blocks({
  name: 'Q5_1',
  ggmlId: 7,
  blockElements: 32,
  blockBytes: 24,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    const m = readF16(src, at + 2);
    for (let j = 0; j < 32; j++) dst[index + j] = d * five(src, at + 4, j) + m;
  },
  encodeBlock(src, index, dst, at, importance) {
    writeFive(dst, at + 4, encodeAffine32(src, index, dst, at, 31, importance));
  },
});
