/**
 * Owns: embeddings of toys and Hugging Face folders judged by embeddings.json, made by scripts/reference/embeddings.py
 * with transformers; the same bits in any company.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType } from '../../../src/backend/backend.ts';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import { createEngine, type Engine } from '../../../src/engine/engine.ts';
import type { EmbedRequest, Pooling } from '../../../src/engine/request.ts';
import { loadModel } from '../../../src/model/load.ts';
import { openModel } from '../../../src/runtime/open.node.ts';
import { open, VARIANTS } from '../../contract/backends.ts';
import { worstDifference } from '../../fixtures/run-model.ts';
import { toyGgufFile } from '../../fixtures/toy-file.ts';
import { type ToyShape, toyTokenIds } from '../../fixtures/toy-weights.ts';

const read = (name: string) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const golden: Record<string, Record<Pooling, string>> = read('embeddings.json').vectors;
const shapes: ToyShape[] = (read('shapes.json') as ToyShape[]).filter(({ name }) => golden[`toy ${name}`]);
const floats = (base64: string) => new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer);
const POOLINGS = ['mean', 'last'] as const;
const ids: readonly number[] = read('../hf/logits.json').ids;

let lastId = 0;
async function vector(engine: Engine, more: Omit<EmbedRequest, 'requestId'>): Promise<Float32Array> {
  for await (const event of engine.embed({ requestId: `${++lastId}`, ...more })) return event.vector;
  throw new Error('no vector');
}

const cosine = (a: Float32Array, b: Float32Array) => {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, number, i) => sum + number * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

const BACKENDS = [
  ['reference', () => createReferenceBackend()],
  ...(VARIANTS.length === 0 ? [] : [['native', () => open(VARIANTS[0]!)] as const]),
] as const;

/** Of a toy by its name, as the engine gives them. */
async function pooled(backend: Backend, shape: ToyShape, cacheDType: CacheDType) {
  const model = await loadModel(toyGgufFile(shape), backend);
  await using engine = createEngine(backend, model, { cacheDType, maxRows: 9, drafting: 'off' });
  const ids = toyTokenIds(shape);
  return {
    mean: await vector(engine, { ids, pooling: 'mean' }),
    last: await vector(engine, { ids, pooling: 'last' }),
  };
}

test.each(shapes.map((shape) => [shape.name, shape] as const))(
  'toy %s: within 1e-3 of transformers in float32, in the reference backend',
  async (name, shape) => {
    await using backend = createReferenceBackend();
    const vectors = await pooled(backend, shape, 'F32');
    for (const pooling of POOLINGS) {
      const length = Math.hypot(...vectors[pooling]);
      const normalised = Float32Array.from(vectors[pooling], (number) => number / length);
      expect(worstDifference(normalised, floats(golden[`toy ${name}`]![pooling]))).toBeLessThan(1e-3);
    }
  },
);

// The addon has no lightning indexer yet; its kernels and its cache round.
const ofNative = VARIANTS.length === 0 ? [] : shapes.filter(({ indexer }) => !indexer);
test.each(ofNative.map((shape) => [shape.name, shape] as const))(
  'toy %s: cosine above 0.999 with transformers in the addon, F16 cache',
  async (name, shape) => {
    await using backend = open(VARIANTS[0]!);
    const vectors = await pooled(backend, shape, 'F16');
    for (const pooling of POOLINGS) {
      expect(cosine(vectors[pooling], floats(golden[`toy ${name}`]![pooling]))).toBeGreaterThan(0.999);
    }
  },
);

test.each(['f32', 'f16', 'bf16'])('folder %s, from end to end', async (name) => {
  await using model = await openModel(fileURLToPath(new URL(`../hf/${name}`, import.meta.url)), {
    contextTokens: 64,
  });
  expect(model.embedder.pooling).toBe('mean');
  for (const pooling of POOLINGS) {
    const { vector: got, tokens } = await model.embedder.embed(ids, { pooling });
    expect(tokens).toBe(ids.length);
    expect(Math.hypot(...got)).toBeCloseTo(1, 6);
    // Its cache is F16.
    expect(cosine(got, floats(golden[`folder ${name}`]![pooling]))).toBeGreaterThan(0.9999);
  }
});

describe('what belongs to the arithmetic contract', () => {
  const shape = shapes.find(({ name }) => name === 'v2-lite-like')!;

  test.each(BACKENDS)(
    '%s: the same bits alone, in a crowd, in other chunks and beside answers',
    async (_, create) => {
      await using backend = create();
      const model = await loadModel(toyGgufFile(shape), backend);
      const text = toyTokenIds(shape);
      const other = (length: number, by: number) =>
        Int32Array.from({ length }, (__, i) => ((i + 1) * 37 * by) % shape.vocab);
      for (const pooling of POOLINGS) {
        await using whole = createEngine(backend, model, { drafting: 'off' });
        const alone = await vector(whole, { ids: text, pooling });
        await using engine = createEngine(backend, model, { maxRows: 7, maxSequences: 3 });
        const answering = (async () => {
          const request = { maxTokens: 12, sampling: { temperature: 0 }, endIds: [] };
          for await (const _event of engine.generate({
            requestId: 'g',
            promptIds: other(20, 3),
            ...request,
          }));
        })();
        const crowd = await Promise.all([
          vector(engine, { ids: other(30, 1), pooling }),
          vector(engine, { ids: text, pooling }),
          vector(engine, { ids: other(5, 2), pooling: 'last' }),
          vector(engine, { ids: text, pooling, tenant: 'another' }),
        ]);
        await answering;
        expect(crowd[1]).toEqual(alone);
        expect(crowd[3]).toEqual(alone);
        // Texts to embed leave nothing behind: only the answer's prompt is kept.
        expect(engine.stats().pages).toMatchObject({ used: 0, kept: 1 });
      }
    },
  );

  test('an abort ends it, a text of the whole context is taken and one more is refused', async () => {
    await using backend = createReferenceBackend();
    const model = await loadModel(toyGgufFile(shape), backend);
    await using engine = createEngine(backend, model, { contextTokens: 32, maxRows: 4 });
    const text = (length: number) => Int32Array.from({ length }, (_, i) => i + 1);
    expect((await vector(engine, { ids: text(32), pooling: 'mean' })).length).toBe(shape.hidden);
    await expect(vector(engine, { ids: text(33), pooling: 'mean' })).rejects.toThrow(
      /the text: expected at most 32 tokens.*got 33/,
    );
    await expect(vector(engine, { ids: text(0), pooling: 'mean' })).rejects.toThrow(/at least one token/);
    const stopped = (async () => {
      for await (const _ of engine.embed({ requestId: 'stop', ids: text(32), pooling: 'mean' }))
        return 'vector';
      return 'nothing';
    })();
    await new Promise((resolve) => setImmediate(resolve));
    engine.abort('stop');
    expect(await stopped).toBe('nothing');
    expect(engine.stats()).toMatchObject({ runningRequests: 0, pages: { used: 0 } });
  });
});
