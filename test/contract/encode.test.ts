/**
 * Owns: the contract of encoding: the addon makes the bytes that src/dtypes makes, on every instruction set.
 * Refuses to know: how much is lost (src/dtypes/encode.test.ts), threads, files.
 */
import { describe, expect, test } from 'vitest';
import { encodeNatively } from '../../src/backend/native/encode.node.ts';
import { nativeIsas } from '../../src/backend/native/native.node.ts';
import type { DTypeName } from '../../src/dtypes/dtype.ts';
import { DTYPES, dtype, rowBytes } from '../../src/dtypes/table.ts';
import { noisyImportance, noisyRows } from '../fixtures/noisy-rows.ts';
import { needsNative } from './backends.ts';

const isas = nativeIsas();
const FLOATS: readonly DTypeName[] = ['F32', 'F16', 'BF16'];
const encodable = DTYPES.filter(
  ({ name, encode, blockElements, ggmlId }) =>
    encode !== undefined && ggmlId >= 0 && (blockElements > 1 || FLOATS.includes(name)),
).map(({ name }) => name);
/** Blocks of 256: 21 in all, so that the last of eight are not all there. */
const [ROWS, COLS] = [7, 768];

/** Rows of ordinary numbers, and some of none, one, all alike, tiny, huge and far out. */
function rows(seed: number): Float32Array {
  const x = noisyRows(['normal', 'outliers', 'shifted'][seed % 3]!, seed, ROWS, COLS);
  x.fill(0, COLS, COLS + 300);
  x.fill(-0.125, COLS + 300, COLS + 600);
  x[COLS + 20] = -3;
  for (let i = 2 * COLS; i < 3 * COLS; i++) x[i]! *= i % 2 === 0 ? 1e-9 : 1e-38;
  for (let i = 3 * COLS; i < 4 * COLS; i++) x[i]! *= 1e6;
  for (let i = 4 * COLS; i < 5 * COLS; i += 97) x[i] = 3e38;
  return x;
}

const importances: readonly (readonly [string, Float32Array | undefined])[] = [
  ['without importance', undefined],
  ['with importance', noisyImportance(5, COLS)],
  ['with columns of no importance', Float32Array.from({ length: COLS }, (_, i) => (i % 3 === 0 ? 0 : i % 7))],
  ['with no importance at all', new Float32Array(COLS)],
];

describe.each(encodable)('%s', (to) => {
  test.skipIf(isas.length === 0).each(importances)(needsNative('has the same bytes %s'), (_, importance) => {
    for (const seed of [0, 1, 2]) {
      const x = rows(seed);
      const expected = new Uint8Array(rowBytes(to, COLS) * ROWS);
      dtype(to).encode!(x, 0, expected, 0, x.length, importance);
      const bytes = new Uint8Array(x.buffer);
      for (const isa of isas) {
        const asked = { name: 'x', bytes, from: 'F32', to, cols: COLS } as const;
        const got = encodeNatively(importance ? { ...asked, importance } : asked, isa);
        expect(got, `${isa} knows ${to}`).toBeDefined();
        const first = got!.findIndex((byte, i) => byte !== expected[i]);
        expect([first, got![first]], `${isa}, rows ${seed}`).toEqual([-1, undefined]);
        expect(got!.length).toBe(expected.length);
      }
    }
  });
});

describe.each(['BF16', 'F16', 'Q8_0'] as const)('from %s', (from) => {
  test.skipIf(isas.length === 0)(needsNative('numbers are decoded first'), () => {
    const x = noisyRows('normal', 9, ROWS, COLS);
    const bytes = new Uint8Array(rowBytes(from, COLS) * ROWS);
    dtype(from).encode!(x, 0, bytes, 0, x.length);
    const rounded = new Float32Array(x.length);
    dtype(from).decode!(bytes, 0, rounded, 0, x.length);
    const expected = new Uint8Array(rowBytes('Q4_K', COLS) * ROWS);
    dtype('Q4_K').encode!(rounded, 0, expected, 0, x.length);
    for (const isa of isas) {
      const got = encodeNatively({ name: 'x', bytes, from, to: 'Q4_K', cols: COLS }, isa)!;
      expect(Buffer.compare(got, expected), isa).toBe(0);
    }
  });
});

test.skipIf(isas.length === 0)(needsNative('a number that is none is refused by the tensor’s name'), () => {
  const x = new Float32Array(512).fill(1);
  x[300] = Number.NaN;
  const asked = {
    name: 'blk.0.x',
    bytes: new Uint8Array(x.buffer),
    from: 'F32',
    to: 'Q6_K',
    cols: 256,
  } as const;
  expect(() => encodeNatively(asked)).toThrow(/blk\.0\.x.*finite.*NaN/);
});
