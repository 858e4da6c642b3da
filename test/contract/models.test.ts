/**
 * Owns: the arithmetic contract on whole models with experts and latent attention: bits by class, classes close.
 * Refuses to know: single operations, what the logits should be.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { createEngine, type Engine } from '../../src/engine/engine.ts';
import type { GenerateRequest, Usage } from '../../src/engine/request.ts';
import { loadModel } from '../../src/model/load.ts';
import type { Model } from '../../src/model/model.ts';
import { runTokens, worstDifference } from '../fixtures/run-model.ts';
import { toyGgufFile } from '../fixtures/toy-file.ts';
import { type ToyShape, toyTokenIds } from '../fixtures/toy-weights.ts';
import { open, VARIANTS } from './backends.ts';

const shapes = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
) as readonly ToyShape[];
const WITH_EXPERTS = ['deepseek-16b-like', 'v2-lite-like', 'v2-like', 'v3-like', 'v32-like'];
const judged = shapes.filter(({ name }) => WITH_EXPERTS.includes(name));
const CACHES: readonly CacheDType[] = ['F32', 'F16', 'Q8_0', 'F8_E4M3'];

/** Every way of computing; each test makes its own backend. */
const BACKENDS: readonly (readonly [string, () => Backend])[] = [
  ['reference', () => createReferenceBackend()],
  // Its best instruction set: each of them is held to the same bits by the operations' own contract.
  ...VARIANTS.filter(({ threads }) => threads === 2)
    .slice(0, 1)
    .map((variant) => [`native ${variant.isa}`, () => open(variant)] as const),
];

const cases = judged.flatMap((shape) =>
  BACKENDS.map(([backend, create]) => ({ name: shape.name, backend, shape, create })),
);

describe.each(cases)('$name, $backend', ({ shape, backend: name, create }) => {
  const ids = toyTokenIds({ ...shape, tokens: 40 });

  test.each(name === 'reference' ? CACHES : CACHES.slice(1))(
    '%s cache: bits do not depend on chunks, pages or how many rows a step decodes',
    async (cache) => {
      await using backend = create();
      const model = await loadModel(toyGgufFile(shape), backend);
      const decode = 12;
      const plain = await runTokens(model, backend, ids, { cache, decode });
      for (const other of [
        { chunk: 5, decodeChunk: 1, pageRows: 8 },
        { chunk: 11, decodeChunk: 3, pageRows: 2 },
        { chunk: 28, decodeChunk: 12, pageRows: 16 },
      ]) {
        const { logits } = await runTokens(model, backend, ids, { cache, decode, ...other });
        expect(logits, JSON.stringify(other)).toEqual(plain.logits);
      }
    },
  );

  test('absorbed and expanded, one token a step and chunks: within 1e-4 of each other', async () => {
    await using backend = create();
    const model = await loadModel(toyGgufFile(shape), backend);
    const prefill = await runTokens(model, backend, ids, { chunk: 9 });
    const decode = await runTokens(model, backend, ids, { decode: ids.length });
    expect(worstDifference(decode.logits, prefill.logits)).toBeLessThan(1e-4);
  });

  test('an answer has the same bits alone, in a crowd, in other chunks and from the cache', async () => {
    await using backend = create();
    const model = await loadModel(toyGgufFile(shape), backend);
    const promptIds = ids.slice(0, 35);
    await using engine = start(backend, model);
    const alone = await answer(engine, promptIds);
    expect(alone.cachedTokens).toBe(0);
    const cached = await answer(engine, promptIds);
    expect(cached.cachedTokens).toBe(32);
    await using small = start(backend, model, 3);
    const chunked = await answer(small, promptIds);
    await using crowded = start(backend, model);
    const [crowd] = await Promise.all([
      answer(crowded, promptIds),
      answer(crowded, ids.slice(3, 20)),
      answer(crowded, ids.slice(7, 40)),
    ]);
    for (const other of [cached, chunked, crowd!]) expect(other.tokens).toEqual(alone.tokens);
  });

  test('drafts, right and wrong ones, change no bit of an answer', async () => {
    await using backend = create();
    // Latent attention comes with a predictor, as V3 does; the text drafts as well.
    const draftLayers = shape.attention.kind === 'latent' ? 1 : 0;
    const model = await loadModel(toyGgufFile({ ...shape, draftLayers }), backend);
    // Three tokens only: what came after three of them comes again, or does not, about as often as not.
    const logitBias = [5, 6, 7].map((id) => [id, 60] as const);
    const asking = { maxTokens: 40, sampling: { temperature: 0.9, seed: 4, logitBias } };
    const said = [];
    for (const drafting of ['off', { depth: 5 }] as const) {
      await using engine = createEngine(backend, model, { contextTokens: 96, drafting });
      said.push(await answer(engine, ids.slice(0, 20), asking));
    }
    expect(said[1]!.tokens).toEqual(said[0]!.tokens);
    const { drafted = 0, accepted = 0 } = said[1]!.drafts ?? {};
    expect(accepted).toBeGreaterThan(0);
    expect(accepted).toBeLessThan(drafted);
  });

  if (shape.attention.kind === 'latent')
    test('a predictor drafts where the text cannot, and changes no bit', async () => {
      await using backend = create();
      const said = [];
      for (const draftLayers of [0, 1]) {
        const model = await loadModel(toyGgufFile({ ...shape, draftLayers }), backend);
        await using engine = createEngine(backend, model, { contextTokens: 96, drafting: { depth: 5 } });
        // Drawn from all tokens at a high temperature: hardly anything comes twice.
        said.push(
          await answer(engine, ids.slice(0, 20), { maxTokens: 12, sampling: { temperature: 3, seed: 4 } }),
        );
      }
      expect(said[0]!.drafts?.drafted ?? 0).toBe(0);
      expect(said[1]!.drafts?.drafted).toBeGreaterThan(12);
      expect(said[1]!.tokens).toEqual(said[0]!.tokens);
    });
});

function start(backend: Backend, model: Model, maxRows = 16): Engine {
  return createEngine(backend, model, { contextTokens: 64, cacheTokens: 256, maxRows, maxSequences: 3 });
}

let asked = 0;

/** Tokens with log-probabilities, which are equal only where bits are. */
async function answer(engine: Engine, promptIds: Int32Array, more: Partial<GenerateRequest> = {}) {
  const tokens: unknown[] = [];
  let usage: Usage | undefined;
  for await (const event of engine.generate({
    requestId: `request ${++asked}`,
    promptIds,
    maxTokens: 8,
    sampling: { temperature: 0.9, seed: 4 },
    endIds: [],
    topLogprobs: 3,
    ...more,
  })) {
    if (event.type === 'token') tokens.push(event);
    if (event.type === 'end') usage = event.usage;
  }
  return { tokens, cachedTokens: usage?.cachedTokens, drafts: usage?.drafts };
}
