/**
 * Owns: Q4_0 and Q4_1: 32 nibbles under a half-precision scale, without and with a minimum.
 * Refuses to know: other formats, tensors, files.
 */
import { blocks } from './blocks.ts';
import { encodeAffine32, encodeScaled32 } from './blocks-of-32.ts';
import { readF16 } from './floats.ts';

/** f16 d; u8 q[16]; y[j] = d * ((q[j] & 15) - 8), y[j + 16] = d * ((q[j] >> 4) - 8). */
export const Q4_0 = blocks({
  name: 'Q4_0',
  ggmlId: 2,
  blockElements: 32,
  blockBytes: 18,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let j = 0; j < 16; j++) {
      const q = src[at + 2 + j]!;
      dst[index + j] = d * ((q & 15) - 8);
      dst[index + j + 16] = d * ((q >> 4) - 8);
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    writeNibbles(dst, at + 2, encodeScaled32(src, index, dst, at, 8, importance));
  },
});

/** f16 d, m; u8 q[16]; y = d * nibble + m, in the order of Q4_0. */
export const Q4_1 = blocks({
  name: 'Q4_1',
  ggmlId: 3,
  blockElements: 32,
  blockBytes: 20,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    const m = readF16(src, at + 2);
    for (let j = 0; j < 16; j++) {
      const q = src[at + 4 + j]!;
      dst[index + j] = d * (q & 15) + m;
      dst[index + j + 16] = d * (q >> 4) + m;
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    writeNibbles(dst, at + 4, encodeAffine32(src, index, dst, at, 15, importance));
  },
});

function writeNibbles(dst: Uint8Array, at: number, codes: Uint8Array): void {
  for (let j = 0; j < 16; j++) dst[at + j] = codes[j]! | (codes[j + 16]! << 4);
}
