/**
 * Owns: the proof that encoding loses no more than llama.cpp's, which test/golden/dtypes/errors.json has measured.
 * Refuses to know: bit layouts.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { noisyImportance, noisyRows } from '../../test/fixtures/noisy-rows.ts';
import type { DTypeName } from './dtype.ts';
import { dtype, rowBytes } from './table.ts';

interface Errors {
  /** Root mean square of the error, as a part of that of the numbers; with an importance, under its weights. */
  readonly rmse: number;
  /** The same under the weights that llama.cpp has for its search. */
  readonly objective: number;
}
interface Golden {
  readonly rows: number;
  readonly cols: number;
  readonly seeds: Readonly<Record<string, number>>;
  readonly errors: Readonly<
    Record<string, Readonly<Record<string, { readonly plain?: Errors; readonly importance: Errors }>>>
  >;
  readonly checks: Readonly<Record<string, readonly [number, number]>>;
}
const golden = JSON.parse(
  readFileSync(new URL('../../test/golden/dtypes/errors.json', import.meta.url), 'utf8'),
) as Golden;
const { rows, cols } = golden;
/** Sums in another order than numpy's. */
const ROUNDING = 1 + 1e-9;
/** Types of points on a lattice. What they lose in llama.cpp's objective, which weighs squares alone, is a choice. */
const LATTICE = /^IQ[123]_/;

/** Mean of the squares of the run of `size` numbers around number `i`. */
function meanSquares(x: Float32Array, size: number): (i: number) => number {
  const means = Array.from({ length: x.length / size }, (_, run) => {
    const part = x.subarray(run * size, (run + 1) * size);
    return part.reduce((sum, value) => sum + value * value, 0) / size;
  });
  return (i) => means[Math.floor(i / size)]!;
}

/** What llama.cpp weighs the square of an error with: `objective` of scripts/reference/dtype-errors.py. */
function objectiveWeights(name: string, x: Float32Array, importance?: Float32Array): (i: number) => number {
  if (/^(Q8_0|MXFP4|TQ)/.test(name)) return () => 1;
  const legacy = /^Q[45]_[01]$/.test(name);
  if (importance !== undefined) {
    if (name === 'Q6_K') return (i) => importance[i % cols]!;
    const mean = meanSquares(x, legacy ? cols : name === 'IQ4_NL' ? 32 : 256);
    const factor = legacy || ['Q2_K', 'IQ2_XXS', 'IQ2_XS'].includes(name) ? 1 : 2;
    return (i) => importance[i % cols]! * Math.sqrt(factor * mean(i) + x[i]! * x[i]!);
  }
  if (/^(Q[36]_K|IQ4_NL|IQ4_XS|IQ3_XXS|IQ3_S|IQ1_M)$/.test(name)) return (i) => x[i]! * x[i]!;
  if (name === 'IQ2_S') {
    const mean = meanSquares(x, 256);
    return (i) => mean(i) / 2 + x[i]! * x[i]!;
  }
  const mean = meanSquares(x, 32);
  if (name === 'Q4_K' || name === 'Q5_K') return (i) => Math.sqrt(mean(i)) + Math.abs(x[i]!);
  return name === 'Q2_K' ? (i) => Math.abs(x[i]!) : () => 1;
}

function relative(x: Float32Array, y: Float32Array, weight: (i: number) => number): number {
  let [error, whole] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    error += weight(i) * (x[i]! - y[i]!) ** 2;
    whole += weight(i) * x[i]! ** 2;
  }
  return Math.sqrt(error / whole);
}

function measure(name: DTypeName, x: Float32Array, importance?: Float32Array): Errors {
  const { encode, decode } = dtype(name);
  const bytes = new Uint8Array(rowBytes(name, cols) * rows);
  encode!(x, 0, bytes, 0, x.length, importance);
  const y = new Float32Array(x.length);
  decode!(bytes, 0, y, 0, y.length);
  return {
    rmse: relative(x, y, importance ? (i) => importance[i % cols]! : () => 1),
    objective: relative(x, y, objectiveWeights(name, x, importance)),
  };
}

describe.each(Object.entries(golden.errors))('%s numbers', (kind, formats) => {
  const x = noisyRows(kind, golden.seeds[kind]!, rows, cols);
  const importance = noisyImportance(golden.seeds[kind]!, cols);

  test('are those that the script made', () => {
    expect([x[5 * cols + 7], importance[9]]).toEqual(golden.checks[kind]);
  });

  test.each(Object.entries(formats))('%s loses no more than with llama.cpp', (name, expected) => {
    const weighted = measure(name as DTypeName, x, importance);
    const plain = expected.plain && measure(name as DTypeName, x);
    for (const of of ['rmse', 'objective'] as const) {
      const allowed = of === 'objective' && LATTICE.test(name) ? 1.02 : ROUNDING;
      expect(weighted[of], of).toBeLessThanOrEqual(expected.importance[of] * allowed);
      if (plain) expect(plain[of], of).toBeLessThanOrEqual(expected.plain[of] * allowed);
    }
  });
});

describe.each(Object.keys(golden.errors.normal!))('%s', (name) => {
  const { blockElements, blockBytes, encode, decode } = dtype(name as DTypeName);
  const roundTrip = (x: Float32Array, importance?: Float32Array) => {
    const bytes = new Uint8Array((x.length / blockElements) * blockBytes).fill(255);
    encode!(x, 0, bytes, 0, x.length, importance);
    const y = new Float32Array(x.length);
    decode!(bytes, 0, y, 0, y.length);
    return { bytes, y };
  };

  test('zeros stay zeros, with and without an importance', () => {
    for (const importance of [undefined, new Float32Array(256).fill(1)]) {
      expect(roundTrip(new Float32Array(512), importance).y.every((value) => value === 0)).toBe(true);
    }
  });

  test.each([1e-30, 1e-6, 1, 1e4, 1e37])('numbers of magnitude %d stay finite and near', (magnitude) => {
    const x = Float32Array.from({ length: 512 }, (_, i) => magnitude * (2 + Math.sin(i)));
    // One half for 32 numbers reaches less far down than a half and an integer.
    const [smallest, largest] = [blockElements === 32 ? 1e-4 : 1e-6, 1e4];
    for (const importance of [undefined, new Float32Array(256).fill(1)]) {
      const { y } = roundTrip(x, importance);
      expect(y.every(Number.isFinite)).toBe(true);
      const held = magnitude >= smallest && magnitude <= largest;
      // What lies below half of the largest number is zero in three values, here a third of the numbers.
      const few = [/^TQ/, /^IQ1/, /^IQ2/].findIndex((kind) => kind.test(name));
      expect(relative(x, y, () => 1)).toBeLessThanOrEqual(held ? ([0.55, 0.4, 0.3][few] ?? 0.2) : 1);
    }
  });

  test('columns of no importance are kept as well as it goes, and no importance at all is none', () => {
    const x = noisyRows('normal', 4, 8, 256);
    const half = Float32Array.from({ length: 256 }, (_, i) => (i < 128 || i % 2 === 0 ? 0 : 1));
    const { y } = roundTrip(x, half);
    expect(relative(x, y, (i) => 1 - half[i % 256]!)).toBeLessThanOrEqual(name.startsWith('TQ') ? 0.8 : 0.7);
    expect(roundTrip(x, new Float32Array(256)).bytes).toEqual(roundTrip(x).bytes);
  });
});
