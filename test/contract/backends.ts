/**
 * Owns: which backends the contract is held against here, and numbers for it.
 * Refuses to know: operations.
 */
import type { Backend, Tensor, Weight } from '../../src/backend/backend.ts';
import { createNativeBackend, nativeIsas } from '../../src/backend/native/native.node.ts';
import type { DTypeName } from '../../src/dtypes/dtype.ts';
import { dtype, rowBytes } from '../../src/dtypes/table.ts';

/** One way of computing natively. */
export interface Variant {
  readonly isa: string;
  readonly threads: number;
}

/** Every instruction set of this processor, with one, two and three threads; none where the addon is not built. */
export const VARIANTS: readonly Variant[] = nativeIsas().flatMap((isa) =>
  [1, 2, 3].map((threads) => ({ isa, threads })),
);

/** The title of a test that needs the addon: where it is absent `npm test` counts it as skipped for that reason. */
export const needsNative = (title: string) => `${title} [needs native]`;

/** A native backend of a variant. */
export function open({ isa, threads }: Variant): Backend {
  return createNativeBackend({ isa, threads });
}

/** Numbers between -1 and 1 that look random: a hash of the seed and the index. */
export function noise(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => {
    let h = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
    h = Math.imul(h ^ (h >>> 13), 0x297a2d39);
    return ((h ^ (h >>> 16)) | 0) / 0x80000000;
  });
}

/** A tensor with numbers in it. */
export function filled(
  backend: Backend,
  rows: number,
  cols: number,
  data: Float32Array | Int32Array,
): Tensor {
  const tensor = backend.tensor(data instanceof Float32Array ? 'F32' : 'I32', rows, cols);
  if (data.length > 0) backend.write(tensor, data);
  return tensor;
}

/** A column of indices. */
export function column(backend: Backend, data: readonly number[]): Tensor {
  return filled(backend, Math.max(1, data.length), 1, Int32Array.from(data));
}

/** A weight [rows, cols] of noise in a number format. */
export function noisyWeight(
  backend: Backend,
  name: DTypeName,
  rows: number,
  cols: number,
  seed: number,
): Weight {
  const { encode } = dtype(name);
  if (encode === undefined) return randomBlocks(backend, name, rows, cols, seed);
  const bytes = new Uint8Array(rowBytes(name, cols) * rows);
  encode(noise(rows * cols, seed), 0, bytes, 0, rows * cols);
  return backend.constant(`noise ${seed}`, name, [cols, rows], bytes);
}

/** Rows and columns of a block that shares a factor: neither divides what it is used on. */
const SCALE_BLOCK = { rows: 5, cols: 48 };

/** The weight with a factor between 0.5 and 1.5 for every block. */
export function blockScaled(backend: Backend, weight: Weight, experts: number, seed: number): Weight {
  const down = Math.ceil(weight.rows / SCALE_BLOCK.rows);
  const across = Math.ceil(weight.cols / SCALE_BLOCK.cols);
  const factors = noise(experts * down * across, seed).map((x) => 1 + x / 2);
  const scales = backend.constant(
    `scales ${seed}`,
    'F32',
    [across, down, experts],
    new Uint8Array(factors.buffer),
  );
  return backend.scaled(weight, scales, SCALE_BLOCK);
}

/** Where a block has its f16 scales; MXFP4 has a byte that is a power of two, IQ1_M the four nibbles of a half. */
const HALVES_AT: Partial<Record<DTypeName, readonly number[]>> = {
  Q8_0: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
  IQ4_XS: [0],
  IQ2_XXS: [0],
  IQ2_XS: [0],
  IQ2_S: [0],
  IQ3_XXS: [0],
  IQ3_S: [0],
  IQ1_S: [0],
  TQ1_0: [52],
  TQ2_0: [64],
};

/** Every format of blocks. */
export const BLOCK_FORMATS: readonly DTypeName[] = [
  ...(Object.keys(HALVES_AT) as DTypeName[]),
  'MXFP4',
  'IQ1_M',
];

/** A weight [rows, cols] of blocks of any bytes under scales between 1/64 and 2. */
export function randomBlocks(
  backend: Backend,
  name: DTypeName,
  rows: number,
  cols: number,
  seed: number,
): Weight {
  const { blockBytes } = dtype(name);
  const bytes = new Uint8Array(rowBytes(name, cols) * rows);
  const values = noise(bytes.length, seed);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor((values[i]! + 1) * 128);
  // The exponent field of a half is 9 to 15: 0x24 to 0x3f in its upper byte, and a sign.
  const upper = (byte: number) => (byte & 0x80) | (0x24 + (byte % 28));
  for (let at = 0; at < bytes.length; at += blockBytes) {
    for (const half of HALVES_AT[name] ?? []) bytes[at + half + 1] = upper(bytes[at + half + 1]!);
    if (name === 'MXFP4') bytes[at] = 120 + (bytes[at]! % 8);
    if (name === 'IQ1_M') {
      const byte = upper(bytes[at]!);
      bytes[at + 53] = (bytes[at + 53]! & 15) | ((byte & 15) << 4);
      bytes[at + 55] = (bytes[at + 55]! & 15) | (byte & 0xf0);
    }
  }
  return backend.constant(`blocks ${seed}`, name, [cols, rows], bytes);
}

/** Largest difference of two lists as a part of the second's root mean square. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let squares = 0;
  let worst = 0;
  for (let i = 0; i < b.length; i++) {
    squares += b[i]! * b[i]!;
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= worst)) worst = difference;
  }
  return worst / Math.max(Math.sqrt(squares / b.length), 1e-30);
}
