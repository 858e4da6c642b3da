import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType, Span } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { DTYPES } from '../../src/dtypes/table.ts';
import {
  blockScaled,
  column,
  distance,
  filled,
  needsNative,
  noise,
  noisyWeight,
  open,
  VARIANTS,
} from './backends.ts';

/** One operation on small random inputs, computed on any backend: the numbers that come out. */
interface Case {
  readonly name: string;
  /** Largest difference from the reference, as a part of its root mean square. */
  readonly tolerance: number;
  run(backend: Backend, size: Size): Promise<ArrayLike<number>>;
}

interface Size {
  readonly rows: number;
  readonly decodeRows: number;
  /** A small number that the shapes are made of. */
  readonly scale: number;
  readonly seed: number;
}

const spanOf = ({ rows, decodeRows }: Size): Span => ({ rows, decodeRows });
/** E8M0 holds scales only; no kernel multiplies by it. */
const FORMATS = DTYPES.filter(({ name, decode }) => decode !== undefined && name !== 'F8_E8M0');
const FLOAT = 2e-5;
/** Activations are rounded to int8: one part in 254 of the largest of 32, averaged over a row. */
const INT8 = { 32: 0.03, 256: 0.04 } as const;

const kinds = [
  ...FORMATS.map(({ name, blockElements }) => ({ name, blockElements, scaled: false })),
  ...FORMATS.filter(({ name }) => name === 'F8_E4M3').map(({ name, blockElements }) => ({
    name,
    blockElements,
    scaled: true,
  })),
].map((kind) => ({
  ...kind,
  title: `${kind.name}${kind.scaled ? ', block-scaled' : ''}`,
  tolerance: kind.blockElements === 1 ? FLOAT : INT8[kind.blockElements as 32 | 256],
  cols: (size: Size) => Math.max(kind.blockElements, 32) * size.scale,
  weight(backend: Backend, rows: number, cols: number, seed: number) {
    const unscaled = noisyWeight(backend, kind.name, rows, cols, seed);
    return kind.scaled ? blockScaled(backend, unscaled, 1, seed + 4) : unscaled;
  },
}));

const products = kinds.map(
  (kind): Case => ({
    name: `matmul ${kind.title}`,
    tolerance: kind.tolerance,
    async run(backend, size) {
      const cols = kind.cols(size);
      const rows = 7 * size.scale + 3;
      const weight = kind.weight(backend, rows, cols, size.seed);
      const bias = noisyWeight(backend, 'F32', 1, rows, size.seed + 1);
      const x = filled(backend, size.rows, cols, noise(size.rows * cols, size.seed + 2));
      const out = filled(backend, size.rows, rows, noise(size.rows * rows, size.seed + 3));
      const plain = backend.tensor('F32', size.rows, rows);
      backend.matmul(spanOf(size), x, [
        { weight, out, bias, add: true },
        { weight, out: plain },
      ]);
      return [...(await backend.read(out, size.rows)), ...(await backend.read(plain, size.rows))];
    },
  }),
);

/** What two products of rounded activations are off comes together. */
const gated = kinds.map(
  (kind): Case => ({
    name: `matmul ${kind.title}, gated`,
    tolerance: 2 * kind.tolerance,
    async run(backend, size) {
      const cols = kind.cols(size);
      const rows = 7 * size.scale + 3;
      const weight = kind.weight(backend, rows, cols, size.seed);
      const gate = kind.weight(backend, rows, cols, size.seed + 10);
      const x = filled(backend, size.rows, cols, noise(size.rows * cols, size.seed + 2));
      const [out, plain] = [backend.tensor('F32', size.rows, rows), backend.tensor('F32', size.rows, rows)];
      backend.matmul(spanOf(size), x, [
        { weight, out, gate },
        { weight: gate, out: plain },
      ]);
      return [...(await backend.read(out, size.rows)), ...(await backend.read(plain, size.rows))];
    },
  }),
);

const tables: Case[] = FORMATS.map(({ name, blockElements }) => ({
  name: `embed ${name}`,
  tolerance: 1e-6,
  async run(backend, size) {
    const cols = blockElements * size.scale;
    const table = noisyWeight(backend, name, 9, cols, size.seed);
    const out = backend.tensor('F32', size.rows, cols);
    const tokens = Array.from({ length: size.rows }, (_, i) => (i * 5 + size.seed) % 9);
    backend.embed(spanOf(size), out, table, column(backend, tokens));
    return backend.read(out, size.rows);
  },
}));

/** Pages in an order of their own. */
const pagesOf = (count: number, pages: number) =>
  Int32Array.from({ length: count }, (_, p) => (p * 7 + 3) % pages);

const attentions: Case[] = (['F32', 'F16', 'Q8_0', 'F8_E4M3'] as const).map((format: CacheDType) => ({
  name: `store, attend ${format}`,
  tolerance: 1e-4,
  async run(backend, size) {
    const [kvHeads, members, headDim, pageRows, pages] = [2, size.scale, 32, 4, 128];
    const length = size.rows + 260;
    const keys = backend.cache(format, pages, pageRows, kvHeads * headDim);
    const values = backend.cache(format, pages, pageRows, kvHeads * headDim);
    const order = pagesOf(Math.ceil(length / pageRows), pages);
    const slot = (t: number) => order[Math.floor(t / pageRows)]! * pageRows + (t % pageRows);
    const all = { rows: length, decodeRows: 0 };
    const slots = column(
      backend,
      Array.from({ length }, (_, t) => slot(t)),
    );
    for (const [cache, seed] of [
      [keys, 1],
      [values, 2],
    ] as const) {
      const x = filled(
        backend,
        length,
        kvHeads * headDim,
        noise(length * kvHeads * headDim, size.seed + seed),
      );
      backend.store(all, cache, x, slots);
    }
    const cols = kvHeads * members * headDim;
    const q = filled(backend, size.rows, cols, noise(size.rows * cols, size.seed));
    const out = backend.tensor('F32', size.rows, cols);
    const positions = column(
      backend,
      Array.from({ length: size.rows }, (_, i) => (i * 97 + size.seed) % length),
    );
    const zeros = column(backend, new Array<number>(size.rows).fill(0));
    const batch = {
      ...spanOf(size),
      tokens: zeros,
      positions,
      sequences: zeros,
      slots: zeros,
      pages: filled(backend, 1, order.length, order),
      outputs: zeros,
      outputSpan: { rows: 0, decodeRows: 0 },
    };
    const options = { heads: kvHeads * members, kvHeads, headDim, valueDim: headDim, scale: 0.3 };
    backend.attend(batch, out, q, keys, values, options);
    return backend.read(out, size.rows);
  },
}));

const others: Case[] = [
  {
    name: 'rmsNorm',
    tolerance: FLOAT,
    async run(backend, size) {
      const cols = 16 * size.scale;
      const weight = noisyWeight(backend, 'F32', 1, cols, size.seed);
      const x = filled(backend, size.rows, 3 * cols, noise(size.rows * 3 * cols, size.seed + 1));
      backend.rmsNorm(spanOf(size), x, x, weight, 1e-5);
      return backend.read(x, size.rows);
    },
  },
  ...(['norm', 'neox'] as const).map(
    (layout): Case => ({
      name: `rope ${layout}`,
      tolerance: FLOAT,
      async run(backend, size) {
        const { rows, scale, seed } = size;
        const frequencies = [10_000, 500].map((base) => {
          const data = Float32Array.from({ length: 8 }, (_, i) => base ** (-i / 8));
          return backend.constant('frequencies', 'F32', [8, 1], new Uint8Array(data.buffer));
        });
        const x = filled(backend, rows, scale * 24, noise(rows * scale * 24, seed));
        const positions = [1237, 11].map((step) =>
          column(
            backend,
            Array.from({ length: rows }, (_, i) => i * step + seed),
          ),
        );
        const options = { heads: scale, headDim: 24, offset: 8, ropeDim: 16, layout };
        // One thing after the other is another one: what was worked out for those before does not count.
        const turn = (p: 0 | 1, f: 0 | 1, magnitude: number, span = spanOf(size)) =>
          backend.rope(span, x, positions[p]!, frequencies[f]!, { ...options, magnitude });
        for (const [p, f, magnitude] of [
          [0, 0, 1.1],
          [0, 0, 1.1],
          [1, 0, 1.1],
          [1, 1, 1.1],
          [1, 1, 0.9],
        ] as const)
          turn(p, f, magnitude);
        turn(1, 1, 0.9, { rows: 1, decodeRows: Math.min(1, size.decodeRows) });
        return backend.read(x, size.rows);
      },
    }),
  ),
  {
    name: 'add, columns',
    tolerance: FLOAT,
    async run(backend, size) {
      const cols = 5 * size.scale + 1;
      const both = filled(
        backend,
        size.rows,
        2 * cols,
        noise(size.rows * 2 * cols, size.seed).map((v) => v * 9),
      );
      const [to, from] = [backend.columns(both, 0, cols), backend.columns(both, cols, cols)];
      backend.add(spanOf(size), to, from);
      return backend.read(both, size.rows);
    },
  },
  {
    name: 'gather, argmax',
    tolerance: 0,
    async run(backend, size) {
      const cols = 40 * size.scale;
      const x = filled(
        backend,
        size.rows,
        cols,
        noise(size.rows * cols, size.seed).map((v) => Math.round(v * 6)),
      );
      const rows = column(
        backend,
        Array.from({ length: size.rows }, (_, i) => (i * 3 + 1) % size.rows),
      );
      const out = backend.tensor('F32', size.rows, cols);
      const best = backend.tensor('I32', size.rows, 1);
      backend.gather(spanOf(size), out, x, rows);
      backend.argmax(spanOf(size), best, out);
      return [...(await backend.read(out, size.rows)), ...(await backend.read(best, size.rows))];
    },
  },
];

const sizes = fc
  .record({
    rows: fc.integer({ min: 1, max: 9 }),
    scale: fc.integer({ min: 1, max: 5 }),
    seed: fc.nat(999),
    decode: fc.nat(9),
  })
  .map(({ decode, ...size }): Size => ({ ...size, decodeRows: Math.min(decode, size.rows) }));

const isas = [...new Set(VARIANTS.map(({ isa }) => isa))];

describe.each([...products, ...gated, ...tables, ...attentions, ...others])('$name', ({ run, tolerance }) => {
  test.skipIf(isas.length === 0)(
    needsNative('native is the reference within the tolerance, on every instruction set'),
    async () => {
      await fc.assert(
        fc.asyncProperty(sizes, async (size) => {
          await using reference = createReferenceBackend();
          const expected = await run(reference, size);
          for (const isa of isas) {
            await using backend = open({ isa, threads: 2 });
            const got = await run(backend, size);
            expect(got.length).toBe(expected.length);
            expect(distance(got, expected), isa).toBeLessThanOrEqual(tolerance);
          }
        }),
        { numRuns: 12, seed: 3 },
      );
    },
  );

  test.skipIf(isas.length === 0)(needsNative('the same bits for one, two and three threads'), async () => {
    const size = { rows: 9, decodeRows: 4, scale: 5, seed: 17 };
    for (const isa of isas) {
      const bits: ArrayLike<number>[] = [];
      for (const threads of [1, 2, 3]) {
        await using backend = open({ isa, threads });
        bits.push(Array.from(await run(backend, size)));
      }
      expect(bits[1]).toEqual(bits[0]);
      expect(bits[2]).toEqual(bits[0]);
    }
  });
});

test.each([
  ['Q4_K', 'F16'],
  ['F32', 'Q5_0'],
  ['Q8_0', 'Q6_K'],
  ['IQ4_XS', 'BF16'],
] as const)('%s gated by %s is what comes of the two products, in every backend', async (name, gateName) => {
  for (const backend of [createReferenceBackend(), ...VARIANTS.map(open)]) {
    await using each = backend;
    const [cols, outs] = [512, 37];
    const [weight, gate] = [
      noisyWeight(each, name, outs, cols, 1),
      noisyWeight(each, gateName, outs, cols, 2),
    ];
    for (const rows of [3, 9, 40]) {
      const x = filled(each, rows, cols, noise(rows * cols, rows));
      const [gated, g, u] = [1, 2, 3].map(() => each.tensor('F32', rows, outs));
      each.matmul({ rows, decodeRows: 1 }, x, [
        { weight, gate, out: gated! },
        { weight: gate, out: g! },
        { weight, out: u! },
      ]);
      const [got, gates, ups] = await Promise.all([gated!, g!, u!].map((of) => each.read(of, rows)));
      const expected = gates!.map((value, i) => (value / (1 + Math.exp(-value))) * ups![i]!);
      expect(distance(got!, expected)).toBeLessThanOrEqual(FLOAT);
    }
  }
});

test('argmax of a row with NaN or without a finite largest is -1, in every backend', async () => {
  const rows = [
    [1, Number.NaN, 3],
    [Number.NaN, 1, 3],
    [2, Number.POSITIVE_INFINITY, 3],
    [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, -7, Number.NEGATIVE_INFINITY],
  ];
  for (const backend of [createReferenceBackend(), ...VARIANTS.map(open)]) {
    await using each = backend;
    const logits = filled(each, rows.length, 3, Float32Array.from(rows.flat()));
    const best = each.tensor('I32', rows.length, 1);
    each.argmax({ rows: rows.length, decodeRows: 2 }, best, logits);
    expect([...(await each.read(best, rows.length))]).toEqual([-1, -1, -1, -1, 1]);
  }
});

test('argmax of long rows sees every column, the lowest of equals first, in every backend', async () => {
  const cols = 70;
  const places = [0, 5, 31, 32, 40, 64, 69];
  const usual = noise(cols, 3);
  const rowsWith = (value: number) => places.map((at) => usual.with(at, value));
  const twice = places.map((at) => usual.with(at, 9).with(cols - 1, 9));
  const cases = [
    { rows: rowsWith(9), best: places },
    { rows: twice, best: places },
    { rows: rowsWith(Number.NaN), best: places.map(() => -1) },
    { rows: rowsWith(Number.POSITIVE_INFINITY), best: places.map(() => -1) },
  ];
  for (const backend of [createReferenceBackend(), ...VARIANTS.map(open)]) {
    await using each = backend;
    for (const { rows, best } of cases) {
      const logits = filled(each, rows.length, cols, Float32Array.from(rows.flatMap((row) => [...row])));
      const out = each.tensor('I32', rows.length, 1);
      each.argmax({ rows: rows.length, decodeRows: 2 }, out, logits);
      expect([...(await each.read(out, rows.length))]).toEqual(best);
    }
  }
});
