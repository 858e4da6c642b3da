/**
 * Owns: Q5_0 and Q5_1: 32 five-bit values under a half-precision scale, without and with a minimum.
 * Refuses to know: other formats, tensors, files.
 */
import type { DType } from './dtype.ts';
import { readF16, writeF16 } from './floats.ts';

const fiveBits = (value: number) => Math.min(31, Math.max(0, Math.trunc(value)));

/** Value `j` (0..31) of the 4 bytes of fifth bits at `high` and the 16 bytes of nibbles behind them. */
function five(src: Uint8Array, high: number, j: number): number {
  const low = (src[high + 4 + (j & 15)]! >> (j & 16 ? 4 : 0)) & 15;
  return low | (((src[high + (j >> 3)]! >> (j & 7)) & 1) << 4);
}

/** Writes the fifth bits at `high` and the nibbles behind them. */
function writeFive(dst: Uint8Array, high: number, q: (j: number) => number): void {
  dst.fill(0, high, high + 20);
  for (let j = 0; j < 32; j++) {
    const value = q(j);
    dst[high + (j >> 3)]! |= (value >> 4) << (j & 7);
    dst[high + 4 + (j & 15)]! |= (value & 15) << (j & 16 ? 4 : 0);
  }
}

/** f16 d; u32 h; u8 q[16]; y[j] = d * (five - 16), the order of Q4_0 and bit j of h the fifth of value j. */
export const Q5_0: DType = {
  name: 'Q5_0',
  ggmlId: 6,
  blockElements: 32,
  blockBytes: 22,
  decode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const at = srcOffset + b * 22;
      const d = readF16(src, at);
      for (let j = 0; j < 32; j++) dst[dstOffset + b * 32 + j] = d * (five(src, at + 2, j) - 16);
    }
  },
  /** The value of largest magnitude, with its sign, becomes -16. */
  encode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const from = srcOffset + b * 32;
      const at = dstOffset + b * 22;
      let extreme = 0;
      for (let i = 0; i < 32; i++) {
        const x = src[from + i]!;
        if (Math.abs(x) > Math.abs(extreme)) extreme = x;
      }
      const d = Math.fround(extreme / -16);
      const inverse = d === 0 ? 0 : Math.fround(1 / d);
      writeF16(dst, at, d);
      writeFive(dst, at + 2, (j) => fiveBits(Math.fround(Math.fround(src[from + j]! * inverse) + 16.5)));
    }
  },
};

/** f16 d, m; u32 h; u8 q[16]; y = d * five + m, in the order of Q5_0. */
export const Q5_1: DType = {
  name: 'Q5_1',
  ggmlId: 7,
  blockElements: 32,
  blockBytes: 24,
  decode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const at = srcOffset + b * 24;
      const d = readF16(src, at);
      const m = readF16(src, at + 2);
      for (let j = 0; j < 32; j++) dst[dstOffset + b * 32 + j] = d * five(src, at + 4, j) + m;
    }
  },
  encode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 32; b++) {
      const from = srcOffset + b * 32;
      const at = dstOffset + b * 24;
      let least = Number.POSITIVE_INFINITY;
      let most = Number.NEGATIVE_INFINITY;
      for (let i = 0; i < 32; i++) {
        least = Math.min(least, src[from + i]!);
        most = Math.max(most, src[from + i]!);
      }
      const d = Math.fround(Math.fround(most - least) / 31);
      const inverse = d === 0 ? 0 : Math.fround(1 / d);
      writeF16(dst, at, d);
      writeF16(dst, at + 2, least);
      writeFive(dst, at + 4, (j) =>
        fiveBits(Math.fround(Math.fround(Math.fround(src[from + j]! - least) * inverse) + 0.5)),
      );
    }
  },
};
