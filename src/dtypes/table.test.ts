import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { DTypeName } from './dtype.ts';
import { f16ToF32, f32ToBf16, f32ToF16 } from './floats.ts';
import { e4m3ToF32, f32ToE4m3 } from './fp8.ts';
import { DTYPES, dtype, dtypeOfGgml, rowBytes } from './table.ts';

interface Golden {
  readonly decoded: Readonly<Record<string, { readonly bytes: string; readonly values: string }>>;
  readonly encoded: Golden['decoded'];
}
interface Vectors {
  readonly types: Readonly<Record<string, { readonly block: string; readonly values: readonly number[] }>>;
}
const read = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../test/golden/dtypes/${name}`, import.meta.url), 'utf8'));
const golden = read('blocks.json') as Golden;
const vectors = read('vectors.json') as Vectors;
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'base64'));
/** Bits, of which zeros have a sign and all NaN are one. */
const bitsOf = (values: Float32Array) =>
  new Uint32Array(values.buffer, values.byteOffset, values.length).map((bits) =>
    (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : bits,
  );
const floatsOf = (text: string) => new Float32Array(bytesOf(text).buffer);

describe('blocks of any bits decode as in gguf-py', () => {
  test.each(Object.entries(golden.decoded))('%s', (name, { bytes, values }) => {
    const expected = floatsOf(values);
    const got = new Float32Array(expected.length);
    dtype(name as DTypeName).decode!(bytesOf(bytes), 0, got, 0, got.length);
    expect(bitsOf(got)).toEqual(bitsOf(expected));
  });

  test('every format with numbers in it is among them', () => {
    const tested = new Set([...Object.keys(golden.decoded), 'F32']);
    expect(DTYPES.filter(({ name, decode }) => decode && !tested.has(name))).toEqual([]);
  });
});

describe('the blocks of the reference vectors decode to their values', () => {
  test.each(Object.entries(vectors.types))('%s', (name, { block, values }) => {
    const got = new Float32Array(values.length);
    dtype(name as DTypeName).decode!(Uint8Array.from(Buffer.from(block, 'hex')), 0, got, 0, got.length);
    // The vectors have seven digits.
    for (const [i, value] of values.entries()) {
      expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(Math.abs(value) * 1e-6);
    }
  });
});

describe('rows encode to the bytes of gguf-py', () => {
  test.each(Object.entries(golden.encoded))('%s', (name, { bytes, values }) => {
    const rows = floatsOf(values);
    const got = new Uint8Array(rowBytes(name as DTypeName, rows.length));
    dtype(name as DTypeName).encode!(rows, 0, got, 0, rows.length);
    expect(got).toEqual(bytesOf(bytes));
  });
});

test.each(
  DTYPES.filter((format) => format.encode && format.decode).map((format) => [format.name, format] as const),
)(
  '%s: what was decoded encodes to the same values',
  (name, { decode, encode, blockElements, blockBytes }) => {
    const count = blockElements * 8;
    const rows = Float32Array.from({ length: count }, (_, i) => {
      const value = Math.sin(i * 1.7) * (1 + (i % 5));
      // E8M0 has no signs and no zero.
      return name === 'F8_E8M0' ? 0.1 + Math.abs(value) : value;
    });
    const bytes = new Uint8Array((count / blockElements) * blockBytes);
    const once = new Float32Array(count);
    const twice = new Float32Array(count);
    encode!(rows, 0, bytes, 0, count);
    decode!(bytes, 0, once, 0, count);
    encode!(once, 0, bytes, 0, count);
    decode!(bytes, 0, twice, 0, count);
    const scale = Math.max(...once.map(Math.abs));
    for (const [i, value] of twice.entries()) {
      expect(Math.abs(value - once[i]!)).toBeLessThanOrEqual(scale * 2e-2);
    }
  },
);

test('all halves go there and back', () => {
  for (let bits = 0; bits < 65_536; bits++) {
    const value = f16ToF32(bits);
    if (!Number.isNaN(value)) expect(f32ToF16(value)).toBe(bits);
  }
  expect([f32ToF16(65_519.99), f32ToF16(65_520), f32ToF16(2 ** -25), f32ToF16(2 ** -25 * 1.001)]).toEqual([
    0x7bff, 0x7c00, 0, 1,
  ]);
  expect(f32ToBf16(Number.NaN) & 0x7f).not.toBe(0);
});

test('all E4M3 bytes go there and back; beyond 448 it saturates', () => {
  for (let byte = 0; byte < 256; byte++) {
    const value = e4m3ToF32(byte);
    if (!Number.isNaN(value)) expect(f32ToE4m3(value)).toBe(byte);
  }
  expect([e4m3ToF32(0x7e), e4m3ToF32(0x01), f32ToE4m3(1e9), f32ToE4m3(1.0625)]).toEqual([
    448,
    2 ** -9,
    0x7e,
    0x38,
  ]);
});

test('the table: ids, sizes, refusals', () => {
  expect(dtypeOfGgml(2)?.name).toBe('Q4_0');
  expect(dtypeOfGgml(4)).toBeUndefined();
  expect(rowBytes('Q6_K', 512)).toBe(420);
  expect(() => rowBytes('Q8_0', 33)).toThrow(/expected a multiple of 32/);
  expect(() => dtype('Q9' as DTypeName)).toThrow(/expected one of F32/);
});
