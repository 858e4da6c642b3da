/**
 * Owns: the contract of V3.2's operations: LayerNorm, the indexer's choice of rows, attention over chosen rows.
 * Refuses to know: models, the other operations.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { column, distance, filled, noise, noisyWeight } from './backends.ts';

const [HEADS, DIM] = [16, 32];
const [PAGES, PAGE_ROWS] = [12, 4];
const CACHED = PAGES * PAGE_ROWS;
const ATTENTION = { heads: 2, nopeDim: 32, ropeDim: 32, valueDim: 32, latentDim: 64, scale: 0.1 } as const;
const WIDTH = ATTENTION.latentDim + ATTENTION.ropeDim;

/** Cached position t is in page (5t + seed) of the store, so that rows are not where positions are. */
const pageOf = (page: number, seed: number) => (page * 5 + seed) % PAGES;

function batchOf(backend: Backend, positions: readonly number[], decodeRows: number, seed: number) {
  const zeros = column(backend, new Array<number>(positions.length).fill(0));
  return {
    rows: positions.length,
    decodeRows,
    tokens: zeros,
    positions: column(backend, positions),
    sequences: zeros,
    slots: zeros,
    pages: filled(
      backend,
      1,
      PAGES,
      Int32Array.from({ length: PAGES }, (_, page) => pageOf(page, seed)),
    ),
    outputs: zeros,
    outputSpan: { rows: 0, decodeRows: 0 },
  };
}

/** A cache whose positions 0.. hold `rows` [_, cols]. */
function cacheOf(backend: Backend, format: CacheDType, rows: Float32Array, cols: number, seed: number) {
  const count = rows.length / cols;
  const cache = backend.cache(format, PAGES, PAGE_ROWS, cols);
  const slots = Array.from(
    { length: count },
    (_, t) => pageOf(Math.floor(t / PAGE_ROWS), seed) * PAGE_ROWS + (t % PAGE_ROWS),
  );
  backend.store(
    { rows: count, decodeRows: 0 },
    cache,
    filled(backend, count, cols, rows),
    column(backend, slots),
  );
  return cache;
}

const cases = fc.record({
  positions: fc.array(fc.nat(CACHED - 1), { minLength: 1, maxLength: 6 }),
  decode: fc.nat(6),
  top: fc.integer({ min: 1, max: CACHED + 3 }),
  seed: fc.nat(99),
});

describe('reference', () => {
  const open = () => createReferenceBackend();

  test('layerNorm is (x - mean) / deviation * weight + bias, run by run', async () => {
    await using backend = open();
    const [rows, cols, runs] = [3, 24, 2];
    const x = noise(rows * cols * runs, 1).map((v) => v * 3 + 2);
    const [w, b] = [noise(cols, 2), noise(cols, 3)];
    const weight = backend.constant('w', 'F32', [cols], new Uint8Array(w.buffer));
    const bias = backend.constant('b', 'F32', [cols], new Uint8Array(b.buffer));
    const tensor = filled(backend, rows, cols * runs, x);
    backend.layerNorm({ rows, decodeRows: 1 }, tensor, tensor, weight, bias, 1e-6);
    const expected = Array.from({ length: rows * runs }, (_, run) => {
      const part = Array.from(x.subarray(run * cols, (run + 1) * cols));
      const mean = part.reduce((sum, v) => sum + v, 0) / cols;
      const deviation = Math.sqrt(part.reduce((sum, v) => sum + (v - mean) ** 2, 0) / cols + 1e-6);
      return part.map((v, c) => ((v - mean) / deviation) * w[c]! + b[c]!);
    }).flat();
    expect(distance(await backend.read(tensor, rows), expected)).toBeLessThan(1e-6);
  });

  test('pickRows takes the best positions in order, all where there are fewer', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ positions, decode, top, seed }) => {
        await using backend = open();
        const n = positions.length;
        const keys = noise(CACHED * DIM, seed);
        const [q, w] = [noise(n * HEADS * DIM, seed + 1), noise(n * HEADS, seed + 2)];
        const picks = backend.tensor('I32', n, top);
        backend.pickRows(
          batchOf(backend, positions, Math.min(decode, n), seed),
          picks,
          filled(backend, n, HEADS * DIM, q),
          filled(backend, n, HEADS, w),
          cacheOf(backend, 'F32', keys, DIM, seed),
          { heads: HEADS, dim: DIM },
        );
        const got = await backend.read(picks, n);
        positions.forEach((position, i) => {
          const scores = Array.from({ length: position + 1 }, (_, t) => {
            let score = 0;
            for (let h = 0; h < HEADS; h++) {
              let match = 0;
              for (let c = 0; c < DIM; c++) match += q[(i * HEADS + h) * DIM + c]! * keys[t * DIM + c]!;
              score += w[i * HEADS + h]! * Math.max(0, match);
            }
            return Math.fround(score);
          });
          const order = scores.map((_, t) => t).sort((a, b) => scores[b]! - scores[a]! || a - b);
          const best = order.slice(0, top).sort((a, b) => a - b);
          const padded = [...best, ...new Array<number>(top - best.length).fill(-1)];
          expect([...got.subarray(i * top, (i + 1) * top)]).toEqual(padded);
        });
      }),
      { numRuns: 25, seed: 7 },
    );
  });

  test.each(['decode', 'prefill'] as const)(
    'latentAttend over picks is latentAttend over a cache of those rows alone, %s class',
    async (rowClass) => {
      const [position, kept, seed] = [40, [2, 3, 17, 30, 39, 40], 5];
      const rows = noise(CACHED * WIDTH, seed);
      const query = noise(ATTENTION.heads * (ATTENTION.nopeDim + ATTENTION.ropeDim), seed + 1);
      const decodeRows = rowClass === 'decode' ? 1 : 0;
      const attend = async (cached: Float32Array, at: number, picks?: readonly number[]) => {
        await using backend = open();
        const out = backend.tensor('F32', 1, ATTENTION.heads * ATTENTION.valueDim);
        const kvB = noisyWeight(backend, 'F32', ATTENTION.heads * 64, ATTENTION.latentDim, seed + 2);
        backend.latentAttend(
          batchOf(backend, [at], decodeRows, seed),
          out,
          filled(backend, 1, query.length, query),
          cacheOf(backend, 'F16', cached, WIDTH, seed),
          { kvB },
          ATTENTION,
          picks &&
            filled(
              backend,
              1,
              8,
              Int32Array.from({ length: 8 }, (_, i) => picks[i] ?? -1),
            ),
        );
        return backend.read(out, 1);
      };
      const few = new Float32Array(kept.length * WIDTH);
      kept.forEach((t, i) => {
        few.set(rows.subarray(t * WIDTH, (t + 1) * WIDTH), i * WIDTH);
      });
      const picked = await attend(rows, position, kept);
      expect(picked).toEqual(await attend(few, kept.length - 1));
      expect(distance(picked, await attend(rows, position))).toBeGreaterThan(0.01);
    },
  );
});
