/**
 * Owns: the promise that a row's bits depend on its class alone: not on the batch, the chunks, the pages, the threads.
 * Refuses to know: models, tolerances.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import type { DTypeName } from '../../src/dtypes/dtype.ts';
import { column, filled, needsNative, noisyWeight, open, VARIANTS } from './backends.ts';

const [HEADS, KV_HEADS, HEAD_DIM, HIDDEN, VOCAB] = [4, 2, 32, 256, 40];
const [PAGES, PAGE_ROWS] = [96, 4];
/** Long enough for two segments of attention. */
const PROMPT = 300;
const GENERATED = 5;
const SEQUENCES = 2;

/** A token of a sequence, in a step. */
interface Place {
  readonly sequence: number;
  readonly position: number;
}

/** What one step computes: generated tokens first, then prompt tokens. */
interface Step {
  readonly decode: readonly Place[];
  readonly prompt: readonly Place[];
}

interface Layout {
  readonly weights: DTypeName;
  readonly cache: CacheDType;
  /** Turns the order in which pages are given out. */
  readonly pageSeed: number;
}

const places = (sequence: number, from: number, to: number): Place[] =>
  Array.from({ length: Math.max(0, to - from) }, (_, i) => ({ sequence, position: from + i }));

/** One transformer layer over all steps: its output row for every place, by `sequence:position`. */
async function layer(
  backend: Backend,
  steps: readonly Step[],
  { weights, cache, pageSeed }: Layout,
): Promise<Map<string, Float32Array>> {
  const [q, kv] = [HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM];
  const table = noisyWeight(backend, 'F16', VOCAB, HIDDEN, 1);
  const norm = noisyWeight(backend, 'F32', 1, HIDDEN, 2);
  const [wq, wk, wv] = [
    noisyWeight(backend, weights, q, HIDDEN, 3),
    noisyWeight(backend, weights, kv, HIDDEN, 4),
    noisyWeight(backend, weights, kv, HIDDEN, 5),
  ];
  const up = noisyWeight(backend, weights, HIDDEN, HIDDEN, 6);
  const gateOfUp = noisyWeight(backend, weights, HIDDEN, HIDDEN, 7);
  const frequencies = noisyWeight(backend, 'F32', 1, HEAD_DIM / 2, 7);
  const keys = backend.cache(cache, PAGES * SEQUENCES, PAGE_ROWS, kv);
  const values = backend.cache(cache, PAGES * SEQUENCES, PAGE_ROWS, kv);
  // 5 and 192 have no common divisor, so every page is given out once.
  const pageOf = (n: number) => (n * 5 + pageSeed) % (PAGES * SEQUENCES);
  const pages = filled(
    backend,
    SEQUENCES,
    PAGES,
    Int32Array.from({ length: PAGES * SEQUENCES }, (_, n) => pageOf(n)),
  );
  const rows = new Map<string, Float32Array>();
  for (const { decode, prompt } of steps) {
    const all = [...decode, ...prompt];
    if (all.length === 0) continue;
    const span = { rows: all.length, decodeRows: decode.length };
    const of = (index: (place: Place) => number) => column(backend, all.map(index));
    const tokens = of(({ sequence, position }) => (position * 7 + sequence * 3) % VOCAB);
    const positions = of(({ position }) => position);
    const sequences = of(({ sequence }) => sequence);
    const slots = of(({ sequence, position }) => {
      const page = pageOf(sequence * PAGES + Math.floor(position / PAGE_ROWS));
      return page * PAGE_ROWS + (position % PAGE_ROWS);
    });
    const outputSpan = { rows: 0, decodeRows: 0 };
    const batch = { ...span, tokens, positions, sequences, slots, pages, outputs: slots, outputSpan };
    const [x, normed] = [
      backend.tensor('F32', all.length, HIDDEN),
      backend.tensor('F32', all.length, HIDDEN),
    ];
    const [qs, ks, vs] = [q, kv, kv].map((cols) => backend.tensor('F32', all.length, cols));
    const attended = backend.tensor('F32', all.length, q);
    backend.embed(span, x, table, tokens);
    backend.rmsNorm(span, normed, x, norm, 1e-5);
    backend.matmul(span, normed, [
      { weight: wq, out: qs! },
      { weight: wk, out: ks! },
      { weight: wv, out: vs! },
    ]);
    const rope = { headDim: HEAD_DIM, offset: 0, ropeDim: HEAD_DIM, layout: 'neox', magnitude: 1 } as const;
    backend.rope(span, qs!, positions, frequencies, { heads: HEADS, ...rope });
    backend.rope(span, ks!, positions, frequencies, { heads: KV_HEADS, ...rope });
    backend.store(span, keys, ks!, slots);
    backend.store(span, values, vs!, slots);
    const heads = {
      heads: HEADS,
      kvHeads: KV_HEADS,
      headDim: HEAD_DIM,
      valueDim: HEAD_DIM,
      scale: HEAD_DIM ** -0.5,
    };
    backend.attend(batch, attended, qs!, keys, values, heads);
    backend.add(span, attended, qs!);
    const gated = backend.tensor('F32', all.length, HIDDEN);
    backend.matmul(span, x, [
      { weight: up, out: gated, gate: gateOfUp },
      { weight: up, out: normed, add: true },
    ]);
    const answers = await Promise.all([attended, gated, normed].map((of) => backend.read(of, all.length)));
    for (const [i, { sequence, position }] of all.entries()) {
      const ofRow = answers.flatMap((numbers) => {
        const cols = numbers.length / all.length;
        return [...numbers.subarray(i * cols, (i + 1) * cols)];
      });
      rows.set(`${sequence}:${position}`, Float32Array.from(ofRow));
    }
    for (const tensor of [tokens, positions, sequences, slots, x, normed, qs!, ks!, vs!, attended, gated]) {
      backend.free(tensor);
    }
  }
  return rows;
}

/** Every sequence by itself: its prompt in one step, then one generated token a step. */
const ALONE: readonly Step[] = Array.from({ length: SEQUENCES }, (_, sequence) => [
  { decode: [], prompt: places(sequence, 0, PROMPT) },
  ...places(sequence, PROMPT, PROMPT + GENERATED).map((place) => ({ decode: [place], prompt: [] })),
]).flat();

/**
 * Steps as a busy server has them: `cuts` says how many tokens of each sequence the next step takes; the generated
 * tokens of one sequence share steps with each other and with the prompt of the other.
 */
function mixed(cuts: readonly (readonly [number, number])[]): Step[] {
  const done = [0, 0];
  const steps: Step[] = [];
  for (let n = 0; done.some((at) => at < PROMPT + GENERATED); n++) {
    const decode: Place[] = [];
    const prompt: Place[] = [];
    for (const sequence of [0, 1]) {
      const from = done[sequence]!;
      const end = from < PROMPT ? PROMPT : PROMPT + GENERATED;
      // A sequence that is alone at its end still has to get there.
      const to = Math.min(end, from + Math.max(1, cuts[n % cuts.length]![sequence]!));
      (from < PROMPT ? prompt : decode).push(...places(sequence, from, to));
      done[sequence] = to;
    }
    steps.push({ decode, prompt });
  }
  return steps;
}

const someCuts = fc.array(fc.tuple(fc.integer({ min: 1, max: 170 }), fc.integer({ min: 1, max: 170 })), {
  minLength: 1,
  maxLength: 4,
});

function expectSameBits(got: Map<string, Float32Array>, expected: Map<string, Float32Array>): void {
  expect(got.size).toBe(SEQUENCES * (PROMPT + GENERATED));
  for (const [place, row] of expected) {
    const same = Buffer.compare(Buffer.from(got.get(place)!.buffer), Buffer.from(row.buffer)) === 0;
    if (!same) expect(got.get(place), `the row ${place}`).toEqual(row);
    expect(same, `bits of the row ${place}`).toBe(true);
  }
}

const LAYOUTS: readonly Layout[] = [
  { weights: 'Q4_1', cache: 'F16', pageSeed: 0 },
  { weights: 'Q8_0', cache: 'Q8_0', pageSeed: 1 },
  { weights: 'Q6_K', cache: 'F8_E4M3', pageSeed: 2 },
  { weights: 'BF16', cache: 'F32', pageSeed: 3 },
];
const isas = [...new Set(VARIANTS.map(({ isa }) => isa))];

describe.each(LAYOUTS)('$weights weights, $cache cache', (layout) => {
  test.skipIf(isas.length === 0).each(isas.length === 0 ? ['native'] : isas)(
    needsNative('%s: a row has the same bits in any batch, chunk, page and number of threads'),
    async (isa) => {
      await using single = open({ isa, threads: 1 });
      const expected = await layer(single, ALONE, layout);
      const property = fc.asyncProperty(
        someCuts,
        fc.integer({ min: 1, max: 3 }),
        fc.nat(100),
        async (cuts, threads, pageSeed) => {
          await using backend = open({ isa, threads });
          expectSameBits(await layer(backend, mixed(cuts), { ...layout, pageSeed }), expected);
        },
      );
      await fc.assert(property, { numRuns: 6, seed: 11 });
    },
  );

  test('reference: a row has the same bits in any batch, chunk and page', async () => {
    await using alone = createReferenceBackend();
    const expected = await layer(alone, ALONE, layout);
    await using backend = createReferenceBackend();
    const cuts = [
      [150, 41],
      [3, 170],
    ] as const;
    expectSameBits(await layer(backend, mixed(cuts), { ...layout, pageSeed: 50 }), expected);
  });
});
