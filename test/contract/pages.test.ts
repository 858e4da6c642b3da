/** Owns: pages of a cache taken out and put back, in every backend and format. */
import { expect, test } from 'vitest';
import type { Backend, CacheDType } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { column, filled, noise, open, VARIANTS } from './backends.ts';

const BACKENDS: readonly (readonly [string, () => Backend])[] = [
  ['reference', () => createReferenceBackend()],
  ...VARIANTS.slice(0, 1).map((variant) => [`native ${variant.isa}`, () => open(variant)] as const),
];
const FORMATS: readonly CacheDType[] = ['F32', 'F16', 'Q8_0', 'F8_E4M3'];

test.each(BACKENDS.flatMap(([name, create]) => FORMATS.map((format) => [name, format, create] as const)))(
  '%s, %s: a page has the bytes that it had, and no other page changes',
  async (_name, format, create) => {
    await using backend = create();
    const store = backend.cache(format, 4, 2, 64);
    const x = filled(backend, 8, 64, noise(8 * 64, 3));
    const out = backend.tensor('F32', 8, 64);
    backend.store({ rows: 8, decodeRows: 0 }, store, x, column(backend, [0, 1, 2, 3, 4, 5, 6, 7]));
    await backend.read(out, 1);
    const pages = [0, 1, 2, 3].map((page) => backend.readPage(store, page));
    expect(pages[2]).not.toEqual(pages[1]);
    expect(pages[2]!.some((byte) => byte !== 0)).toBe(true);
    backend.writePage(store, 1, pages[2]!);
    expect([0, 1, 2, 3].map((page) => backend.readPage(store, page))).toEqual([
      pages[0],
      pages[2],
      pages[2],
      pages[3],
    ]);
    // What was taken out is a copy.
    backend.writePage(store, 2, new Uint8Array(pages[2]!.length));
    expect(pages[2]!.some((byte) => byte !== 0)).toBe(true);
    expect(() => backend.readPage(store, 4)).toThrow(/one of 4/);
    expect(() => backend.writePage(store, 0, new Uint8Array(3))).toThrow(/writePage/);
  },
);
