/**
 * Owns: Q8_0: 32 signed bytes under one half-precision scale (34 bytes).
 * Refuses to know: other formats, tensors, files.
 */
import type { DType } from './dtype.ts';
import { readF16, writeF16 } from './floats.ts';

/** f16 d; i8 q[32]; y = d * q. Encoded as ggml does: d = max|x| / 127, q rounded half away from zero. */
export const Q8_0: DType = {
  name: 'Q8_0',
  ggmlId: 8,
  blockElements: 32,
  blockBytes: 34,
  decode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const at = srcOffset + b * 34;
      const d = readF16(src, at);
      for (let i = 0; i < 32; i++) dst[dstOffset + b * 32 + i] = d * ((src[at + 2 + i]! << 24) >> 24);
    }
  },
  encode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const from = srcOffset + b * 32;
      const at = dstOffset + b * 34;
      let largest = 0;
      for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(src[from + i]!));
      const d = Math.fround(largest / 127);
      const inverse = d === 0 ? 0 : Math.fround(1 / d);
      writeF16(dst, at, d);
      for (let i = 0; i < 32; i++) {
        const x = Math.fround(src[from + i]! * inverse);
        dst[at + 2 + i] = Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
      }
    }
  },
};
