/**
 * Owns: TQ1_0 and TQ2_0: 256 values of -1, 0, 1 under one half-precision scale, as digits of base 3 or as pairs of bits.
 * Refuses to know: other formats, tensors, files.
 */
import { blocks } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';

/** The runs of digits in a block of TQ1_0: first byte, bytes, digits of each byte. */
const RUNS = [
  [0, 32, 5],
  [32, 16, 5],
  [48, 4, 4],
] as const;
const DIGITS = 5;

/**
 * Writes the largest magnitude as the scale of a block, and returns its 256 numbers as 0, 1 or 2: nearest, halves away
 * from zero, in single precision as ggml does. No error is weighed, so an importance matrix changes nothing.
 */
function ternary(src: Float32Array, index: number, dst: Uint8Array, scaleAt: number): Uint8Array {
  const x = src.subarray(index, index + 256);
  const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  writeScale(dst, scaleAt, largest);
  const inverse = largest > 0 ? Math.fround(1 / largest) : 0;
  return Uint8Array.from(x, (value) => {
    const part = Math.fround(value * inverse);
    return part >= 0.5 ? 2 : part <= -0.5 ? 0 : 1;
  });
}

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
  encodeBlock(src, index, dst, at) {
    const codes = ternary(src, index, dst, at + 52);
    let from = 0;
    for (const [first, bytes, digits] of RUNS) {
      for (let m = 0; m < bytes; m++) {
        let number = 0;
        for (let n = 0; n < DIGITS; n++) {
          const digit = n < digits ? codes[from + n * bytes + m]! : 0;
          number = number * 3 + digit;
        }
        dst[at + first + m] = Math.ceil((number * 256) / 3 ** DIGITS);
      }
      from += bytes * digits;
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
  encodeBlock(src, index, dst, at) {
    for (const [i, code] of ternary(src, index, dst, at + 64).entries()) {
      dst[at + (i >> 7) * 32 + (i & 31)]! |= code << (((i >> 5) & 3) * 2);
    }
  },
});
