/**
 * Owns: Q4_0 and Q4_1: 32 nibbles under a half-precision scale, without and with a minimum.
 * Refuses to know: other formats, tensors, files.
 */
import type { DType } from './dtype.ts';
import { readF16, writeF16 } from './floats.ts';

const nibble = (value: number) => Math.min(15, Math.max(0, Math.trunc(value)));

/** f16 d; u8 q[16]; y[j] = d * ((q[j] & 15) - 8), y[j + 16] = d * ((q[j] >> 4) - 8). */
export const Q4_0: DType = {
  name: 'Q4_0',
  ggmlId: 2,
  blockElements: 32,
  blockBytes: 18,
  decode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const at = srcOffset + b * 18;
      const to = dstOffset + b * 32;
      const d = readF16(src, at);
      for (let j = 0; j < 16; j++) {
        const q = src[at + 2 + j]!;
        dst[to + j] = d * ((q & 15) - 8);
        dst[to + j + 16] = d * ((q >> 4) - 8);
      }
    }
  },
  /** The value of largest magnitude, with its sign, becomes -8. */
  encode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const from = srcOffset + b * 32;
      const at = dstOffset + b * 18;
      let extreme = 0;
      for (let i = 0; i < 32; i++) {
        const x = src[from + i]!;
        if (Math.abs(x) > Math.abs(extreme)) extreme = x;
      }
      const d = Math.fround(extreme / -8);
      const inverse = d === 0 ? 0 : Math.fround(1 / d);
      writeF16(dst, at, d);
      const q = (i: number) => nibble(Math.fround(Math.fround(src[from + i]! * inverse) + 8.5));
      for (let j = 0; j < 16; j++) dst[at + 2 + j] = q(j) | (q(j + 16) << 4);
    }
  },
};

/** f16 d, m; u8 q[16]; y = d * nibble + m, in the order of Q4_0. */
export const Q4_1: DType = {
  name: 'Q4_1',
  ggmlId: 3,
  blockElements: 32,
  blockBytes: 20,
  decode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const at = srcOffset + b * 20;
      const to = dstOffset + b * 32;
      const d = readF16(src, at);
      const m = readF16(src, at + 2);
      for (let j = 0; j < 16; j++) {
        const q = src[at + 4 + j]!;
        dst[to + j] = d * (q & 15) + m;
        dst[to + j + 16] = d * (q >> 4) + m;
      }
    }
  },
  encode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const from = srcOffset + b * 32;
      const at = dstOffset + b * 20;
      let least = Number.POSITIVE_INFINITY;
      let most = Number.NEGATIVE_INFINITY;
      for (let i = 0; i < 32; i++) {
        least = Math.min(least, src[from + i]!);
        most = Math.max(most, src[from + i]!);
      }
      const d = Math.fround(Math.fround(most - least) / 15);
      const inverse = d === 0 ? 0 : Math.fround(1 / d);
      writeF16(dst, at, d);
      writeF16(dst, at + 2, least);
      const q = (i: number) =>
        nibble(Math.fround(Math.fround(Math.fround(src[from + i]! - least) * inverse) + 0.5));
      for (let j = 0; j < 16; j++) dst[at + 4 + j] = q(j) | (q(j + 16) << 4);
    }
  },
};
