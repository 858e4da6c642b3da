/**
 * Owns: the eight-bit floats: E4M3 (sign, four bits of exponent, three of fraction) and E8M0 (an exponent alone).
 * Refuses to know: which of them scales which; tensors, files.
 *
 * Layout after the OCP 8-bit floating point specification (OFP8) and its microscaling formats (MX).
 */
import type { DType } from './dtype.ts';
import { roundEven } from './floats.ts';

const LARGEST_E4M3 = 448;

/** The value of an E4M3 byte; 0x7f and 0xff are NaN, there is no infinity. Example: `e4m3ToF32(0x38) // 1` */
export function e4m3ToF32(byte: number): number {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> 3) & 15;
  const fraction = byte & 7;
  if ((byte & 0x7f) === 0x7f) return Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -9;
  return sign * (1 + fraction / 8) * 2 ** (exponent - 7);
}

/**
 * The E4M3 byte nearest to `value`, ties to even. What is too large, infinity included, becomes the largest, 448, with
 * its sign: a weight that is clipped is of more use than one that is lost. NaN stays NaN.
 *
 * @example f32ToE4m3(1) // 0x38
 */
export function f32ToE4m3(value: number): number {
  if (Number.isNaN(value)) return 0x7f;
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= LARGEST_E4M3) return sign | 0x7e;
  if (magnitude < 2 ** -6) return sign | roundEven(magnitude * 2 ** 9);
  let exponent = Math.floor(Math.log2(magnitude));
  // log2 may round across a power of two.
  if (2 ** exponent > magnitude) exponent--;
  else if (2 ** (exponent + 1) <= magnitude) exponent++;
  return sign | (roundEven(magnitude * 2 ** (3 - exponent)) + ((exponent + 6) << 3));
}

/** The value of an E8M0 byte: 2^(byte - 127); 255 is NaN. Example: `e8m0ToF32(128) // 2` */
export function e8m0ToF32(byte: number): number {
  return byte === 255 ? Number.NaN : 2 ** (byte - 127);
}

/**
 * The E8M0 byte of the power of two nearest to `value` by distance, the larger one from the middle on. The format has
 * neither zero nor signs nor infinity: those and NaN become NaN (255).
 *
 * @example f32ToE8m0(2) // 128
 */
export function f32ToE8m0(value: number): number {
  if (!(value > 0) || value === Number.POSITIVE_INFINITY) return 255;
  let exponent = -127;
  while (exponent < 128 && value >= 1.5 * 2 ** exponent) exponent++;
  return exponent + 127;
}

const E4M3_VALUES = Float32Array.from({ length: 256 }, (_, byte) => e4m3ToF32(byte));
const E8M0_VALUES = Float32Array.from({ length: 256 }, (_, byte) => e8m0ToF32(byte));

function byteFormat(
  name: 'F8_E4M3' | 'F8_E8M0',
  values: Float32Array,
  toByte: (value: number) => number,
): DType {
  return {
    name,
    ggmlId: -1,
    blockElements: 1,
    blockBytes: 1,
    decode(src, srcOffset, dst, dstOffset, elements) {
      for (let i = 0; i < elements; i++) dst[dstOffset + i] = values[src[srcOffset + i]!]!;
    },
    encode(src, srcOffset, dst, dstOffset, elements) {
      for (let i = 0; i < elements; i++) dst[dstOffset + i] = toByte(src[srcOffset + i]!);
    },
  };
}

/** Weights of FP8 checkpoints, one byte a value. */
export const F8_E4M3 = byteFormat('F8_E4M3', E4M3_VALUES, f32ToE4m3);

/** Scales of FP8 and FP4 checkpoints, one byte a power of two. */
export const F8_E8M0 = byteFormat('F8_E8M0', E8M0_VALUES, f32ToE8m0);
