/**
 * Owns: the contract of number formats: every backend makes the same numbers of the same bytes, whatever the bytes.
 * Refuses to know: how formats are encoded; what golden files say of their decoders (src/dtypes).
 */
import { describe, expect, test } from 'vitest';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import {
  BLOCK_FORMATS,
  column,
  distance,
  filled,
  needsNative,
  noise,
  open,
  randomBlocks,
  VARIANTS,
} from './backends.ts';

const isas = [...new Set(VARIANTS.map(({ isa }) => isa))];
/** So many numbers that the 2048 points of the largest lattice are all among them. */
const ROWS = 250;
const COLS = 1024;

describe.each(BLOCK_FORMATS)('blocks of any bytes in %s', (name) => {
  test.skipIf(isas.length === 0)(
    needsNative('decode to the same bits on every instruction set'),
    async () => {
      const run = async (backend: ReturnType<typeof open>) => {
        const table = randomBlocks(backend, name, ROWS, COLS, 5);
        const out = backend.tensor('F32', ROWS, COLS);
        const tokens = Array.from({ length: ROWS }, (_, i) => i);
        backend.embed({ rows: ROWS, decodeRows: 0 }, out, table, column(backend, tokens));
        return Buffer.from(Float32Array.from(await backend.read(out, ROWS)).buffer);
      };
      await using reference = createReferenceBackend();
      const expected = await run(reference);
      for (const isa of isas) {
        await using backend = open({ isa, threads: 1 });
        expect(Buffer.compare(await run(backend), expected), isa).toBe(0);
      }
    },
  );

  test.skipIf(isas.length === 0)(needsNative('are multiplied within the tolerance'), async () => {
    const [rows, weightRows, cols] = [3, 40, 1536];
    const run = async (backend: ReturnType<typeof open>) => {
      const weight = randomBlocks(backend, name, weightRows, cols, 6);
      const out = backend.tensor('F32', rows, weightRows);
      const x = filled(backend, rows, cols, noise(rows * cols, 7));
      backend.matmul({ rows, decodeRows: 1 }, x, [{ weight, out }]);
      return backend.read(out, rows);
    };
    await using reference = createReferenceBackend();
    const expected = await run(reference);
    for (const isa of isas) {
      await using backend = open({ isa, threads: 2 });
      expect(distance(await run(backend), expected), isa).toBeLessThanOrEqual(0.04);
    }
  });
});
