/**
 * Owns: floating-point formats without blocks: their bits and rounding.
 * Refuses to know: blocks, tensors, files.
 */
import type { DType, DTypeName } from './dtype.ts';

const LARGEST_F16 = 65_504;

const scratch = new DataView(new ArrayBuffer(4));

/** The 32 bits of a float. */
function bitsOf(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
}

/** The float of 32 bits. */
function fromBits(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}

/** The value of IEEE half bits. Example: `f16ToF32(0x3c00) // 1` */
export function f16ToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The half nearest to `value`, ties to even; too large becomes infinity. Example: `f32ToF16(1) // 0x3c00` */
export function f32ToF16(value: number): number {
  const bits = bitsOf(value);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x38800000) return sign | roundEven(Math.abs(fromBits(bits)) * 2 ** 24);
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

/** The bfloat16 nearest to `value`, ties to even; NaN stays NaN. Example: `f32ToBf16(1) // 0x3f80` */
export function f32ToBf16(value: number): number {
  const bits = bitsOf(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Nearest integer, ties to even, of a number of at most 2^52. */
export function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The finite half nearest to `value`. Example: `nearestScale(1e9) // 65504` */
export function nearestScale(value: number): number {
  return f16ToF32(f32ToF16(Math.max(-LARGEST_F16, Math.min(LARGEST_F16, value))));
}

/** The values of all halves: powers of two are slow to make and every block has one or two. */
const F16_VALUES = Float32Array.from({ length: 65_536 }, (_, bits) => f16ToF32(bits));

/** Reads the half at byte `offset`. */
export function readF16(src: Uint8Array, offset: number): number {
  return F16_VALUES[src[offset]! | (src[offset + 1]! << 8)]!;
}

/** Writes the finite half nearest to `value` at byte `offset` and returns it: an infinite scale would lose its block. */
export function writeScale(dst: Uint8Array, offset: number, value: number): number {
  const nearest = nearestScale(value);
  write16(dst, offset, f32ToF16(nearest));
  return nearest;
}

/** A format of `bytes` bytes a value, given how one is read and written. */
function plain(
  name: DTypeName,
  ggmlId: number,
  bytes: number,
  read: (src: Uint8Array, offset: number) => number,
  write: (dst: Uint8Array, offset: number, value: number) => void,
): DType {
  return {
    name,
    ggmlId,
    blockElements: 1,
    blockBytes: bytes,
    decode(src, srcOffset, dst, dstOffset, elements) {
      for (let i = 0; i < elements; i++) dst[dstOffset + i] = read(src, srcOffset + i * bytes);
    },
    encode(src, srcOffset, dst, dstOffset, elements) {
      for (let i = 0; i < elements; i++) write(dst, dstOffset + i * bytes, src[srcOffset + i]!);
    },
  };
}

const read16 = (src: Uint8Array, offset: number) => src[offset]! | (src[offset + 1]! << 8);
const write16 = (dst: Uint8Array, offset: number, bits: number) => {
  dst[offset] = bits & 255;
  dst[offset + 1] = bits >> 8;
};

/** IEEE single. Copies bits, so NaN payloads survive. */
export const F32: DType = {
  name: 'F32',
  ggmlId: 0,
  blockElements: 1,
  blockBytes: 4,
  decode(src, srcOffset, dst, dstOffset, elements) {
    const bytes = new Uint8Array(dst.buffer, dst.byteOffset + dstOffset * 4, elements * 4);
    bytes.set(src.subarray(srcOffset, srcOffset + elements * 4));
  },
  encode(src, srcOffset, dst, dstOffset, elements) {
    dst.set(new Uint8Array(src.buffer, src.byteOffset + srcOffset * 4, elements * 4), dstOffset);
  },
};

/** IEEE half. */
export const F16 = plain('F16', 1, 2, readF16, (dst, offset, value) => write16(dst, offset, f32ToF16(value)));

/** The upper half of a single. */
export const BF16 = plain(
  'BF16',
  30,
  2,
  (src, offset) => fromBits(read16(src, offset) * 65536),
  (dst, offset, value) => write16(dst, offset, f32ToBf16(value)),
);
