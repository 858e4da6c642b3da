/**
 * Owns: MXFP4: 32 four-bit floats under a power of two (17 bytes).
 * Refuses to know: other formats, how checkpoints pack their pairs; tensors, files.
 *
 * Layout after the OCP microscaling formats (MX) and, for the order of the nibbles, ggml.
 */
import { blocks } from './blocks.ts';

/** Twice the values of the codes, so that they are integers. The code of -0 is 0, as in ggml. */
const DOUBLED = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12] as const;

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
});
