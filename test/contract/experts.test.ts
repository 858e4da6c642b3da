/**
 * Owns: the contract of the operations of DeepSeek's models: choosing and running experts, latent attention.
 * Refuses to know: models, the other operations.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType, LatentWeights, RouteOptions, Weight } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import type { DTypeName } from '../../src/dtypes/dtype.ts';
import { dtype, rowBytes } from '../../src/dtypes/table.ts';
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

/** Rows of a batch, decode class first; `pick` computes some of them only, in this order. */
interface Rows {
  readonly decode: readonly number[];
  readonly prompt: readonly number[];
}

/** What came out for each row: indices, which must be equal, and numbers, which may differ by the tolerance. */
interface Answer {
  readonly exact: readonly (readonly number[])[];
  readonly close: readonly (readonly number[])[];
}

interface Case {
  readonly name: string;
  readonly tolerance: number;
  run(backend: Backend, rows: Rows, seed: number): Promise<Answer>;
}

const HIDDEN = 256;
const EXPERTS = 8;
const spanOf = ({ decode, prompt }: Rows) => ({
  rows: decode.length + prompt.length,
  decodeRows: decode.length,
});

/** The numbers of a row are those of its number, wherever in the batch it is. */
function rowsOf(backend: Backend, { decode, prompt }: Rows, cols: number, seed: number) {
  const all = [...decode, ...prompt];
  const data = new Float32Array(all.length * cols);
  for (const [i, row] of all.entries()) data.set(noise(cols, seed * 1000 + row), i * cols);
  return filled(backend, all.length, cols, data);
}

function split(flat: ArrayLike<number>, rows: number): number[][] {
  const cols = flat.length / rows;
  return Array.from({ length: rows }, (_, i) => Array.from(flat).slice(i * cols, (i + 1) * cols));
}

const GATES: readonly Partial<RouteOptions>[] = [
  { scoring: 'softmax' },
  { scoring: 'softmax', normalise: true, scale: 2.5 },
  { scoring: 'softmax', groups: 4, groupsUsed: 2, groupScore: 'max', scale: 16 },
  { scoring: 'sigmoid', groups: 4, groupsUsed: 2, groupScore: 'top2', normalise: true, scale: 2.5 },
  { scoring: 'sqrt-softplus', normalise: true },
];

const routes: Case[] = GATES.flatMap((gate) =>
  [false, true].map((biased) => ({
    name: `route ${gate.scoring}, ${gate.groups ?? 1} groups${gate.normalise ? ', normalised' : ''}${biased ? ', biased' : ''}`,
    tolerance: 1e-5,
    async run(backend: Backend, rows: Rows, seed: number) {
      const options = {
        scoring: 'softmax',
        used: 3,
        groups: 1,
        groupsUsed: 1,
        groupScore: 'max',
        normalise: false,
        scale: 1,
        ...gate,
      } as const;
      const span = spanOf(rows);
      const logits = rowsOf(backend, rows, EXPERTS, seed);
      const ids = backend.tensor('I32', span.rows, options.used);
      const weights = backend.tensor('F32', span.rows, options.used);
      const bias = biased ? noisyWeight(backend, 'F32', 1, EXPERTS, seed) : undefined;
      const counts = backend.tensor('I32', 1, EXPERTS);
      backend.route(span, ids, weights, logits, bias, options);
      backend.countExperts(span, counts, ids);
      backend.countExperts(span, counts, ids);
      const exact = split(await backend.read(ids, span.rows), span.rows);
      const counted = Array.from(
        { length: EXPERTS },
        (_, e) => 2 * exact.flat().filter((id) => id === e).length,
      );
      expect(Array.from(await backend.read(counts, 1))).toEqual(counted);
      return { exact, close: split(await backend.read(weights, span.rows), span.rows) };
    },
  })),
);

const encoded = new Map<string, Uint8Array>();

/** A weight [EXPERTS, rows, cols] of noise, rounded to its format once for all backends. */
function stacked(backend: Backend, name: DTypeName, rows: number, cols: number, seed: number): Weight {
  const key = `${name} ${rows} ${cols} ${seed}`;
  const bytes = encoded.get(key) ?? new Uint8Array(rowBytes(name, cols) * rows * EXPERTS);
  if (!encoded.has(key)) {
    const count = rows * cols * EXPERTS;
    dtype(name).encode!(noise(count, seed), 0, bytes, 0, count);
    encoded.set(key, bytes);
  }
  return backend.constant(`experts ${seed}`, name, [cols, rows, EXPERTS], bytes);
}

/**
 * Blocks meet activations in int8, rounded twice here: x and silu(gate) * up, whose largest numbers are many times its
 * usual ones. Each rounding is under 1 % of the root mean square; the bounds are for the worst of a thousand numbers.
 */
const mixtures: Case[] = (
  [
    ['F32', 1e-4],
    ['BF16', 1e-4],
    ['F8_E4M3', 1e-4],
    ['Q8_0', 0.07],
    ['Q4_1', 0.07],
    ['Q6_K', 0.1],
  ] as const
).map(([name, tolerance]) => ({
  name: `experts ${name}`,
  tolerance,
  async run(backend, rows, seed) {
    const span = spanOf(rows);
    const inter = 256;
    // Codes of 8 bits are published with factors.
    const weight = (rows: number, cols: number, seed: number) => {
      const plain = stacked(backend, name, rows, cols, seed);
      return name === 'F8_E4M3' ? blockScaled(backend, plain, EXPERTS, seed) : plain;
    };
    const of = {
      gate: weight(inter, HIDDEN, seed),
      up: weight(inter, HIDDEN, seed + 1),
      down: weight(HIDDEN, inter, seed + 2),
    };
    const all = [...rows.decode, ...rows.prompt];
    const chosen = all.flatMap((row) => [row % EXPERTS, (row * 3 + 1) % EXPERTS]);
    const ids = filled(backend, span.rows, 2, Int32Array.from(chosen));
    const weights = rowsOf(backend, rows, 2, seed + 3);
    const [x, out] = [rowsOf(backend, rows, HIDDEN, seed + 4), rowsOf(backend, rows, HIDDEN, seed + 5)];
    backend.experts(span, out, x, ids, weights, of);
    return { exact: [], close: split(await backend.read(out, span.rows), span.rows) };
  },
}));

const [HEADS, NOPE, ROPE, VALUE, LATENT] = [3, 32, 32, 32, 64];
const [PAGES, PAGE_ROWS, CACHED] = [90, 4, 340];

/** kv_b as published, or its two halves of the same numbers. */
function latentWeights(backend: Backend, merged: boolean, seed: number): LatentWeights {
  const width = NOPE + VALUE;
  const all = noise(HEADS * width * LATENT, seed); // [heads, nope + value, latent]
  const weight = (name: string, shape: number[], numbers: Float32Array) =>
    backend.constant(name, 'F32', shape, new Uint8Array(numbers.buffer));
  if (merged) return { kvB: weight('kv_b', [LATENT, HEADS * width], all) };
  const at = (h: number, r: number, c: number) => all[(h * width + r) * LATENT + c]!;
  const kB = Float32Array.from({ length: HEADS * LATENT * NOPE }, (_, n) =>
    at(Math.floor(n / (LATENT * NOPE)), n % NOPE, Math.floor(n / NOPE) % LATENT),
  );
  const vB = Float32Array.from({ length: HEADS * VALUE * LATENT }, (_, n) =>
    at(Math.floor(n / (VALUE * LATENT)), NOPE + (Math.floor(n / LATENT) % VALUE), n % LATENT),
  );
  return {
    kB: weight('k_b', [NOPE, LATENT, HEADS], kB),
    vB: weight('v_b', [LATENT, VALUE, HEADS], vB),
  };
}

const latents: Case[] = (['F32', 'F16', 'Q8_0', 'F8_E4M3'] as const).flatMap((format: CacheDType) =>
  [true, false].map((merged) => ({
    name: `latentAttend ${format}, ${merged ? 'kv_b' : 'k_b and v_b'}`,
    tolerance: 1e-3,
    async run(backend: Backend, rows: Rows, seed: number) {
      const span = spanOf(rows);
      const all = [...rows.decode, ...rows.prompt];
      const cache = backend.cache(format, PAGES, PAGE_ROWS, LATENT + ROPE);
      const order = Int32Array.from({ length: PAGES }, (_, p) => (p * 7 + seed) % PAGES);
      const slot = (t: number) => order[Math.floor(t / PAGE_ROWS)]! * PAGE_ROWS + (t % PAGE_ROWS);
      const cached = filled(backend, CACHED, LATENT + ROPE, noise(CACHED * (LATENT + ROPE), seed));
      const slots = column(
        backend,
        Array.from({ length: CACHED }, (_, t) => slot(t)),
      );
      backend.store({ rows: CACHED, decodeRows: 0 }, cache, cached, slots);
      const q = rowsOf(backend, rows, HEADS * (NOPE + ROPE), seed + 1);
      const out = backend.tensor('F32', span.rows, HEADS * VALUE);
      const zeros = column(backend, new Array<number>(span.rows).fill(0));
      const batch = {
        ...span,
        tokens: zeros,
        positions: column(
          backend,
          all.map((row) => (row * 113) % CACHED),
        ),
        sequences: zeros,
        slots: zeros,
        pages: filled(backend, 1, PAGES, order),
        outputs: zeros,
        outputSpan: { rows: 0, decodeRows: 0 },
      };
      backend.latentAttend(batch, out, q, cache, latentWeights(backend, merged, seed + 2), {
        heads: HEADS,
        nopeDim: NOPE,
        ropeDim: ROPE,
        valueDim: VALUE,
        latentDim: LATENT,
        scale: 0.05,
      });
      return { exact: [], close: split(await backend.read(out, span.rows), span.rows) };
    },
  })),
);

const isas = [...new Set(VARIANTS.map(({ isa }) => isa))];
const ALL: Rows = { decode: [0, 3, 6], prompt: [1, 2, 4, 5, 7] };
const rowSets = fc
  .record({
    rows: fc.uniqueArray(fc.nat(40), { minLength: 1, maxLength: 9 }),
    decode: fc.nat(9),
    seed: fc.nat(50),
  })
  .map(({ rows, decode, seed }) => ({
    rows: { decode: rows.slice(0, decode), prompt: rows.slice(decode) },
    seed,
  }));

/** Every row of a batch computed by itself has the bits that it has in the batch. */
async function expectOwnBits(create: () => Backend, run: Case['run']): Promise<void> {
  await using backend = create();
  const together = await run(backend, ALL, 5);
  for (const [i, row] of [...ALL.decode, ...ALL.prompt].entries()) {
    const rows = ALL.decode.includes(row) ? { decode: [row], prompt: [] } : { decode: [], prompt: [row] };
    const alone = await run(backend, rows, 5);
    expect(alone.close[0], `row ${row}`).toEqual(together.close[i]);
    expect(alone.exact[0], `row ${row}`).toEqual(together.exact[i]);
  }
}

describe.each([...routes, ...mixtures, ...latents])('$name', ({ run, tolerance }) => {
  test('reference: a row has the same bits alone', () => expectOwnBits(createReferenceBackend, run));

  test.skipIf(isas.length === 0)(needsNative('native is the reference within the tolerance'), async () => {
    const property = fc.asyncProperty(rowSets, async ({ rows, seed }) => {
      await using reference = createReferenceBackend();
      const expected = await run(reference, rows, seed);
      for (const isa of isas) {
        await using backend = open({ isa, threads: 2 });
        const got = await run(backend, rows, seed);
        expect(got.exact, isa).toEqual(expected.exact);
        expect(distance(got.close.flat(), expected.close.flat()), isa).toBeLessThanOrEqual(tolerance);
      }
    });
    await fc.assert(property, { numRuns: 6, seed: 4 });
  });

  test.skipIf(isas.length === 0)(needsNative('native: a row has the same bits alone'), async () => {
    for (const variant of VARIANTS) await expectOwnBits(() => open(variant), run);
  });

  test.skipIf(isas.length === 0)(
    needsNative('native: the same bits for one, two and three threads'),
    async () => {
      for (const isa of isas) {
        const answers: Answer[] = [];
        for (const threads of [1, 2, 3]) {
          await using backend = open({ isa, threads });
          answers.push(await run(backend, ALL, 9));
        }
        expect(answers[1]).toEqual(answers[0]);
        expect(answers[2]).toEqual(answers[0]);
      }
    },
  );
});

test.each(latents)('$name: absorbed is expanded', async ({ run }) => {
  await using backend = createReferenceBackend();
  const rows = [0, 1, 2, 3, 4, 5];
  const absorbed = await run(backend, { decode: rows, prompt: [] }, 3);
  const expanded = await run(backend, { decode: [], prompt: rows }, 3);
  expect(distance(absorbed.close.flat(), expanded.close.flat())).toBeLessThanOrEqual(1e-4);
});
