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
  const bytes = new Uint8Array(rowBytes(name, cols) * rows);
  dtype(name).encode!(noise(rows * cols, seed), 0, bytes, 0, rows * cols);
  return backend.constant(`noise ${seed}`, name, [cols, rows], bytes);
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
