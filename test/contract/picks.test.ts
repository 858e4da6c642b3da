/**
 * Owns: the contract of V3.2's operations: LayerNorm, the indexer's choice of rows, attention over chosen rows.
 * Refuses to know: models, the other operations.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { column, distance, filled, needsNative, noise, noisyWeight, open, VARIANTS } from './backends.ts';

const [HEADS, DIM] = [16, 32];
const [PAGES, PAGE_ROWS] = [75, 4];
/** Positions of two sequences' caches: three segments of each. */
const CACHED = PAGES * PAGE_ROWS;
const SEQUENCES = 2;
const ATTENTION = { heads: 3, nopeDim: 32, ropeDim: 32, valueDim: 32, latentDim: 64, scale: 0.1 } as const;
const WIDTH = ATTENTION.latentDim + ATTENTION.ropeDim;
const QUERY = ATTENTION.heads * (ATTENTION.nopeDim + ATTENTION.ropeDim);

/** Page n of all, in an order of its own, so that rows are not where positions are; 7 does not divide 150. */
const pageOf = (n: number, seed: number) => (n * 7 + seed) % (PAGES * SEQUENCES);

/** A row of a batch: which numbers it has, and where it is. */
interface Row {
  readonly sequence: number;
  readonly position: number;
}

function batchOf(backend: Backend, rows: readonly Row[], decodeRows: number, seed: number) {
  const zeros = column(backend, new Array<number>(rows.length).fill(0));
  const pages = Int32Array.from({ length: PAGES * SEQUENCES }, (_, page) => pageOf(page, seed));
  return {
    rows: rows.length,
    decodeRows,
    tokens: zeros,
    positions: column(
      backend,
      rows.map(({ position }) => position),
    ),
    sequences: column(
      backend,
      rows.map(({ sequence }) => sequence),
    ),
    slots: zeros,
    pages: filled(backend, SEQUENCES, PAGES, pages),
    outputs: zeros,
    outputSpan: { rows: 0, decodeRows: 0 },
  };
}

/** A cache whose sequences hold the rows of `of` [SEQUENCES * CACHED, cols] at positions 0.. */
function cacheOf(backend: Backend, format: CacheDType, of: Float32Array, cols: number, seed: number) {
  const count = of.length / cols;
  const cache = backend.cache(format, PAGES * SEQUENCES, PAGE_ROWS, cols);
  const slots = Array.from(
    { length: count },
    (_, t) => pageOf(Math.floor(t / PAGE_ROWS), seed) * PAGE_ROWS + (t % PAGE_ROWS),
  );
  const rows = filled(backend, count, cols, of);
  backend.store({ rows: count, decodeRows: 0 }, cache, rows, column(backend, slots));
  return cache;
}

/** What a row's numbers are, wherever in a batch it is. */
const rowNoise = ({ sequence, position }: Row, cols: number, seed: number) =>
  noise(cols, seed * 4099 + sequence * CACHED + position);

function rowsOf(backend: Backend, rows: readonly Row[], cols: number, make: (row: Row) => Float32Array) {
  const all = new Float32Array(rows.length * cols);
  for (const [i, row] of rows.entries()) all.set(make(row), i * cols);
  return filled(backend, rows.length, cols, all);
}

interface Choosing {
  readonly rows: readonly Row[];
  readonly decodeRows: number;
  readonly top: number;
  readonly seed: number;
  readonly cache: CacheDType;
  /** Numbers that sums of products hold exactly, so that ties are ties in every order of adding. */
  readonly whole: boolean;
}

const numbers = ({ whole, seed }: Choosing, row: Row, cols: number, of: number) => {
  const values = rowNoise(row, cols, seed + of);
  return whole ? values.map((v) => Math.round(v * 2)) : values;
};

async function choose(backend: Backend, of: Choosing): Promise<number[][]> {
  const { rows, decodeRows, top, seed, cache } = of;
  const keys = new Float32Array(SEQUENCES * CACHED * DIM);
  for (let t = 0; t < SEQUENCES * CACHED; t++) {
    keys.set(numbers(of, { sequence: 0, position: t }, DIM, 0), t * DIM);
  }
  const picks = backend.tensor('I32', rows.length, top);
  backend.pickRows(
    batchOf(backend, rows, decodeRows, seed),
    picks,
    rowsOf(backend, rows, HEADS * DIM, (row) => numbers(of, row, HEADS * DIM, 1)),
    rowsOf(backend, rows, HEADS, (row) => numbers(of, row, HEADS, 2)),
    cacheOf(backend, cache, keys, DIM, seed),
    { heads: HEADS, dim: DIM },
  );
  const flat = Array.from(await backend.read(picks, rows.length));
  return rows.map((_, i) => flat.slice(i * top, (i + 1) * top));
}

/** The scores of a row's positions by plain loops. */
function scoresOf(of: Choosing, row: Row): number[] {
  const [q, w] = [numbers(of, row, HEADS * DIM, 1), numbers(of, row, HEADS, 2)];
  return Array.from({ length: row.position + 1 }, (_, t) => {
    const key = numbers(of, { sequence: 0, position: row.sequence * CACHED + t }, DIM, 0);
    let score = 0;
    for (let h = 0; h < HEADS; h++) {
      let match = 0;
      for (let c = 0; c < DIM; c++) match += q[h * DIM + c]! * key[c]!;
      score += w[h]! * Math.max(0, match);
    }
    return score;
  });
}

/** Rows as a step has them: those of a sequence together, except where one class ends. */
const someRows = fc
  .array(fc.record({ sequence: fc.nat(SEQUENCES - 1), position: fc.nat(CACHED - 1) }), {
    minLength: 1,
    maxLength: 24,
  })
  .map((rows) => rows.sort((a, b) => a.sequence - b.sequence || a.position - b.position));
const choices = fc.record({
  rows: someRows,
  decodeRows: fc.nat(24),
  top: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: CACHED + 3 })),
  seed: fc.nat(99),
});

const BACKENDS: readonly (readonly [string, () => Backend])[] = [
  ['reference', () => createReferenceBackend()],
  ...VARIANTS.filter(({ threads }) => threads === 2).map(
    (variant) => [`native ${variant.isa}`, () => open(variant)] as const,
  ),
];

describe.each(BACKENDS)('%s', (_name, create) => {
  test('layerNorm is (x - mean) / deviation * weight + bias, run by run', async () => {
    await using backend = create();
    const [rows, cols, runs] = [3, 24, 2];
    const x = noise(rows * cols * runs, 1).map((v) => v * 3 + 2);
    const [w, b] = [noise(cols, 2), noise(cols, 3)];
    const weight = backend.constant('w', 'F32', [cols], new Uint8Array(w.buffer));
    const bias = backend.constant('b', 'F32', [cols], new Uint8Array(b.buffer));
    const tensor = filled(backend, rows, cols * runs, x);
    const apart = backend.tensor('F32', rows, cols * runs);
    backend.layerNorm({ rows, decodeRows: 1 }, apart, tensor, weight, bias, 1e-6);
    backend.layerNorm({ rows, decodeRows: 1 }, tensor, tensor, weight, bias, 1e-6);
    const expected = Array.from({ length: rows * runs }, (_, run) => {
      const part = Array.from(x.subarray(run * cols, (run + 1) * cols));
      const mean = part.reduce((sum, v) => sum + v, 0) / cols;
      const deviation = Math.sqrt(part.reduce((sum, v) => sum + (v - mean) ** 2, 0) / cols + 1e-6);
      return part.map((v, c) => ((v - mean) / deviation) * w[c]! + b[c]!);
    }).flat();
    const got = await backend.read(tensor, rows);
    expect(distance(got, expected)).toBeLessThan(1e-6);
    expect(await backend.read(apart, rows)).toEqual(got);
  });

  test('pickRows takes the best positions in order, lower ones on ties, all where there are fewer', async () => {
    let ties = 0;
    await fc.assert(
      fc.asyncProperty(choices, async (choice) => {
        await using backend = create();
        const { rows, top } = choice;
        const of = {
          ...choice,
          decodeRows: Math.min(choice.decodeRows, rows.length),
          cache: 'F32',
          whole: true,
        } as const;
        const got = await choose(backend, of);
        rows.forEach((row, i) => {
          const scores = scoresOf(of, row);
          const order = scores.map((_, t) => t).sort((a, b) => scores[b]! - scores[a]! || a - b);
          const best = order.slice(0, top).sort((a, b) => a - b);
          if (top < order.length && scores[order[top - 1]!] === scores[order[top]!]) ties++;
          expect(got[i]).toEqual([...best, ...new Array<number>(top - best.length).fill(-1)]);
        });
      }),
      { numRuns: 25, seed: 7 },
    );
    expect(ties).toBeGreaterThan(5);
  });

  test.each(['F32', 'F16', 'Q8_0', 'F8_E4M3'] as const)(
    'pickRows over keys in %s: what is picked scores at least what is left, within the rounding of sums',
    async (cache) => {
      await using reference = createReferenceBackend();
      await using backend = create();
      const rows = Array.from({ length: 12 }, (_, i) => ({
        sequence: i < 5 ? 0 : 1,
        position: 130 + i * 13,
      }));
      const of = { rows, decodeRows: 2, top: 40, seed: 3, cache, whole: false } as const;
      const [got, expected] = [await choose(backend, of), await choose(reference, of)];
      // Keys are rounded alike, so that only neighbours in rank may change places.
      const swapped = got.flatMap((picks, i) => picks.filter((t) => !expected[i]!.includes(t)));
      expect(swapped.length).toBeLessThanOrEqual(1);
      if (cache !== 'F32') return;
      rows.forEach((row, i) => {
        const scores = scoresOf(of, row);
        const least = Math.min(...got[i]!.map((t) => scores[t]!));
        const left = Math.max(...scores.filter((_, t) => !got[i]!.includes(t)));
        expect(least).toBeGreaterThan(left - 1e-4);
      });
    },
  );

  test('a row whose scores are no numbers picks nothing, and a row that picks nothing gets no numbers', async () => {
    await using backend = create();
    const rows = [0, 1].map((sequence) => ({ sequence, position: 200 }));
    const keys = noise(SEQUENCES * CACHED * DIM, 4);
    keys[(CACHED + 150) * DIM + 3] = Number.NaN;
    const picks = backend.tensor('I32', 2, 8);
    backend.pickRows(
      batchOf(backend, rows, 1, 4),
      picks,
      rowsOf(backend, rows, HEADS * DIM, (row) => rowNoise(row, HEADS * DIM, 5)),
      rowsOf(backend, rows, HEADS, (row) => rowNoise(row, HEADS, 6)),
      cacheOf(backend, 'F16', keys, DIM, 4),
      { heads: HEADS, dim: DIM },
    );
    const [whole, broken] = [0, 1].map((i) => i * 8);
    const got = Array.from(await backend.read(picks, 2));
    expect(Math.min(...got.slice(whole, whole! + 8))).toBeGreaterThanOrEqual(0);
    expect(got.slice(broken)).toEqual(new Array(8).fill(-1));
    for (const decodeRows of [0, 1, 2]) {
      const [some, none] = await attendOver(backend, rows, decodeRows, [[3, 9], []], 'F16', 4);
      expect(some!.every(Number.isFinite)).toBe(true);
      expect(none!.every(Number.isNaN)).toBe(true);
    }
  });

  test.each(['decode', 'prefill'] as const)(
    'latentAttend over picks is latentAttend over a cache of those rows alone, %s class',
    async (rowClass) => {
      const [position, kept, seed] = [240, [2, 3, 17, 130, 239, 240], 5];
      const rows = noise(CACHED * WIDTH, seed);
      const query = noise(QUERY, seed + 1);
      const decodeRows = rowClass === 'decode' ? 1 : 0;
      const attend = async (cached: Float32Array, at: number, picks?: readonly number[]) => {
        await using backend = create();
        const out = backend.tensor('F32', 1, ATTENTION.heads * ATTENTION.valueDim);
        const kvB = noisyWeight(backend, 'F32', ATTENTION.heads * 64, ATTENTION.latentDim, seed + 2);
        backend.latentAttend(
          batchOf(backend, [{ sequence: 0, position: at }], decodeRows, seed),
          out,
          filled(backend, 1, query.length, query),
          cacheOf(backend, 'F16', cached, WIDTH, seed),
          { kvB },
          ATTENTION,
          picks && pickTensor(backend, [picks], 8),
        );
        return await backend.read(out, 1);
      };
      const few = new Float32Array(kept.length * WIDTH);
      kept.forEach((t, i) => {
        few.set(rows.subarray(t * WIDTH, (t + 1) * WIDTH), i * WIDTH);
      });
      const picked = await attend(rows, position, kept);
      const alone = await attend(few, kept.length - 1);
      if (rowClass === 'decode') expect(picked).toEqual(alone);
      expect(distance(picked, alone)).toBeLessThan(1e-5);
      expect(distance(picked, await attend(rows, position))).toBeGreaterThan(0.01);
    },
  );
});

function pickTensor(backend: Backend, picks: readonly (readonly number[])[], top: number) {
  const all = new Int32Array(picks.length * top).fill(-1);
  for (const [i, row] of picks.entries()) all.set(row, i * top);
  return filled(backend, picks.length, top, all);
}

/** What rows see of their picks; a row without a list sees everything that a row in its place sees. */
async function attendOver(
  backend: Backend,
  rows: readonly Row[],
  decodeRows: number,
  picks: readonly (readonly number[])[] | undefined,
  cache: CacheDType,
  seed: number,
  split = false,
): Promise<number[][]> {
  const { heads, nopeDim, latentDim, valueDim } = ATTENTION;
  const cols = heads * valueDim;
  const out = backend.tensor('F32', rows.length, cols);
  const half = (experts: number, r: number, c: number, n: number) =>
    backend.reshape(noisyWeight(backend, 'F32', experts * r, c, seed + n), experts, r, c);
  backend.latentAttend(
    batchOf(backend, rows, decodeRows, seed),
    out,
    rowsOf(backend, rows, QUERY, (row) => rowNoise(row, QUERY, seed + 1)),
    cacheOf(backend, cache, noise(SEQUENCES * CACHED * WIDTH, seed), WIDTH, seed),
    split
      ? { kB: half(heads, latentDim, nopeDim, 2), vB: half(heads, valueDim, latentDim, 3) }
      : { kvB: half(1, heads * (nopeDim + valueDim), latentDim, 2) },
    ATTENTION,
    picks && pickTensor(backend, picks, Math.max(1, ...picks.map((row) => row.length)) + 1),
  );
  const flat = Array.from(await backend.read(out, rows.length));
  return rows.map((_, i) => flat.slice(i * cols, (i + 1) * cols));
}

/** Every third row picks all that it sees, the others some of it. */
const picksOf = (rows: readonly Row[], seed: number) =>
  rows.map(({ position }, i) => {
    const all = Array.from({ length: position + 1 }, (_, t) => t);
    const luck = noise(all.length, seed + position);
    return i % 3 === 0 ? all : all.filter((t) => t === position || luck[t]! > 0.2);
  });

const isas = [...new Set(VARIANTS.map(({ isa }) => isa))];
const attending = fc.record({
  rows: someRows,
  decode: fc.nat(24),
  seed: fc.nat(99),
  cache: fc.constantFrom<CacheDType>('F32', 'F16', 'Q8_0', 'F8_E4M3'),
  split: fc.boolean(),
});

describe.skipIf(isas.length === 0)('latentAttend over picks', () => {
  test(needsNative('native is the reference within the tolerance, on every instruction set'), async () => {
    await fc.assert(
      fc.asyncProperty(attending, async ({ rows, decode, seed, cache, split }) => {
        await using reference = createReferenceBackend();
        const decodeRows = Math.min(decode, rows.length);
        const picks = picksOf(rows, seed);
        const expected = await attendOver(reference, rows, decodeRows, picks, cache, seed, split);
        for (const isa of isas) {
          await using backend = open({ isa, threads: 2 });
          const got = await attendOver(backend, rows, decodeRows, picks, cache, seed, split);
          expect(distance(got.flat(), expected.flat()), isa).toBeLessThan(1e-4);
        }
      }),
      { numRuns: 10, seed: 5 },
    );
  }, 60_000);

  test(needsNative('a row has the same bits alone, in any batch and for any number of threads'), async () => {
    await fc.assert(
      fc.asyncProperty(attending, async ({ rows, decode, seed, cache, split }) => {
        const decodeRows = Math.min(decode, rows.length);
        const picks = picksOf(rows, seed);
        for (const isa of isas) {
          await using backend = open({ isa, threads: 3 });
          const together = await attendOver(backend, rows, decodeRows, picks, cache, seed, split);
          for (const i of [0, decodeRows, rows.length - 1].filter((i) => i < rows.length)) {
            await using single = open({ isa, threads: 1 });
            const alone = await attendOver(
              single,
              [rows[i]!],
              i < decodeRows ? 1 : 0,
              [picks[i]!],
              cache,
              seed,
              split,
            );
            expect(together[i], `row ${i}`).toEqual(alone[0]);
          }
        }
      }),
      { numRuns: 6, seed: 6 },
    );
  }, 60_000);

  test(needsNative('picking everything has the bits of picking nothing, in both classes'), async () => {
    const rows = [0, 0, 1, 1].map((sequence, i) => ({ sequence, position: 140 + i * 40 }));
    const all = rows.map(({ position }) => Array.from({ length: position + 1 }, (_, t) => t));
    for (const isa of isas) {
      await using backend = open({ isa, threads: 2 });
      const picked = await attendOver(backend, rows, 2, all, 'F16', 9);
      expect(picked).toEqual(await attendOver(backend, rows, 2, undefined, 'F16', 9));
    }
  });

  test.each([
    ['past the row', [3, 41]],
    ['twice', [3, 3]],
  ] as const)(needsNative('picks that cannot be are refused: %s'), async (_what, picks) => {
    await using backend = open(VARIANTS[0]!);
    const rows = [{ sequence: 1, position: 40 }];
    await expect(attendOver(backend, rows, 0, [picks], 'F32', 1)).rejects.toMatchObject({
      message: expect.stringContaining('latentAttend: pick'),
    });
  });
});

describe.skipIf(isas.length === 0)('pickRows', () => {
  test(needsNative('a row picks the same alone, in any batch and for any number of threads'), async () => {
    await fc.assert(
      fc.asyncProperty(choices, async (choice) => {
        const of = { ...choice, decodeRows: 0, cache: 'F16', whole: false } as const;
        for (const isa of isas) {
          await using backend = open({ isa, threads: 3 });
          const together = await choose(backend, of);
          await using single = open({ isa, threads: 1 });
          for (const i of [0, of.rows.length - 1]) {
            const alone = await choose(single, { ...of, rows: [of.rows[i]!], decodeRows: 1 });
            expect(together[i]).toEqual(alone[0]);
          }
        }
      }),
      { numRuns: 10, seed: 8 },
    );
  });
});
