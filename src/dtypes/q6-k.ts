/**
 * Owns: Q6_K: 256 six-bit values in 16 groups with signed byte scales under one half-precision scale (210 bytes).
 * Refuses to know: other formats, tensors, files.
 */
import type { DType } from './dtype.ts';
import { readF16, roundEven, writeF16 } from './floats.ts';

const LOW = 0;
const HIGH = 128;
const SCALES = 192;
const D = 208;
const BYTES = 210;

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
export const Q6_K: DType = {
  name: 'Q6_K',
  ggmlId: 14,
  blockElements: 256,
  blockBytes: BYTES,
  decode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 256; b++) {
      const at = srcOffset + b * BYTES;
      const to = dstOffset + b * 256;
      const d = readF16(src, at + D);
      for (let i = 0; i < 256; i++) {
        const { low, lowShift, high, highShift } = PLACES[i]!;
        const q = ((src[at + low]! >> lowShift) & 15) | (((src[at + high]! >> highShift) & 3) << 4);
        const scale = (src[at + SCALES + (i >> 4)]! << 24) >> 24;
        dst[to + i] = Math.fround(d * scale) * (q - 32);
      }
    }
  },
  encode(src, srcOffset, dst, dstOffset, elements) {
    for (let b = 0; b < elements / 256; b++)
      encodeBlock(src, srcOffset + b * 256, dst, dstOffset + b * BYTES);
  },
};

/** Group scales put each group's extreme at -32; the largest group scale becomes -128. */
function encodeBlock(src: Float32Array, from: number, dst: Uint8Array, at: number): void {
  dst.fill(0, at, at + BYTES);
  const scales = Array.from({ length: 16 }, (_, group) => {
    let extreme = 0;
    for (let i = 0; i < 16; i++) {
      const x = src[from + group * 16 + i]!;
      if (Math.abs(x) > Math.abs(extreme)) extreme = x;
    }
    return extreme / -32;
  });
  let largest = 0;
  for (const scale of scales) if (Math.abs(scale) > Math.abs(largest)) largest = scale;
  if (largest === 0) return;
  const d = writeF16(dst, at + D, largest / -128);
  if (d === 0) return;
  for (let group = 0; group < 16; group++) {
    const scale = Math.max(-128, Math.min(127, roundEven(scales[group]! / d)));
    dst[at + SCALES + group] = scale;
    const step = d * scale;
    for (let i = group * 16; i < group * 16 + 16; i++) {
      const q = step === 0 ? 32 : Math.max(0, Math.min(63, roundEven(src[from + i]! / step) + 32));
      const { low, lowShift, high, highShift } = PLACES[i]!;
      dst[at + low]! |= (q & 15) << lowShift;
      dst[at + high]! |= (q >> 4) << highShift;
    }
  }
}
