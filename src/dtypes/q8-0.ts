/**
 * Owns: Q8_0: 32 signed bytes under one half-precision scale (34 bytes).
 * Refuses to know: other formats, tensors, files.
 */
import { blocks } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';

/** f16 d; i8 q[32]; y = d * q. Encoded as ggml does: d = max|x| / 127, q rounded half away from zero. */
export const Q8_0 = blocks({
  name: 'Q8_0',
  ggmlId: 8,
  blockElements: 32,
  blockBytes: 34,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let i = 0; i < 32; i++) dst[index + i] = d * ((src[at + 2 + i]! << 24) >> 24);
  },
  encodeBlock(src, index, dst, at) {
    let largest = 0;
    for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(src[index + i]!));
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    writeScale(dst, at, d);
    for (let i = 0; i < 32; i++) {
      const x = Math.fround(src[index + i]! * inverse);
      dst[at + 2 + i] = Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
    }
  },
});
