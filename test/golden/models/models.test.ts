/**
 * Owns: toy models of every architecture judged by transformers' logits (logits.json, made by scripts/reference/models.py).
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backend/backend.ts';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import { createEngine } from '../../../src/engine/engine.ts';
import type { ScoredToken } from '../../../src/engine/request.ts';
import { logSoftmax } from '../../../src/evaluate/distributions.ts';
import { loadModel } from '../../../src/model/load.ts';
import { needsNative, open, VARIANTS } from '../../contract/backends.ts';
import { runTokens, worstDifference } from '../../fixtures/run-model.ts';
import { toyGgufFile } from '../../fixtures/toy-file.ts';
import { toyFolder } from '../../fixtures/toy-folder.ts';
import { type ToyShape, toyTokenIds } from '../../fixtures/toy-weights.ts';

const read = (name: string) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const shapes: ToyShape[] = read('shapes.json');
const golden: Record<string, string> = read('logits.json').logits;

/** [tokens, vocab] */
function goldenLogits({ name }: ToyShape): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(golden[name]!, 'base64')).buffer);
}

const eras = (shape: ToyShape) =>
  shape.attention.kind === 'latent' ? (['new', 'old'] as const) : (['new'] as const);
const cases = shapes.flatMap((shape) => eras(shape).map((era) => [shape.name, era, shape] as const));

async function expectGoldenLogits(backend: Backend, shape: ToyShape, era: 'new' | 'old'): Promise<void> {
  const model = await loadModel(toyGgufFile(shape, era), backend);
  const expected = goldenLogits(shape);
  const ids = toyTokenIds(shape);
  const prefill = await runTokens(model, backend, ids, { chunk: 7 });
  expect(worstDifference(prefill.logits, expected)).toBeLessThan(1e-3);
  const decode = await runTokens(model, backend, ids, { decode: ids.length });
  expect(worstDifference(decode.logits, expected)).toBeLessThan(1e-3);
}

/** Log-probabilities that an engine tells of its prompt, computed in chunks. */
async function expectGoldenLogprobs(backend: Backend, shape: ToyShape): Promise<void> {
  const promptIds = Int32Array.from(toyTokenIds(shape));
  const model = await loadModel(toyGgufFile(shape), backend);
  const options = { contextTokens: 256, cacheDType: 'F32', maxRows: 19, maxSequences: 4 } as const;
  await using engine = createEngine(backend, model, options);
  const told: ScoredToken[] = [];
  const request = { requestId: 'scores', promptIds, maxTokens: 0, promptLogprobs: 3, endIds: [] };
  for await (const event of engine.generate({ ...request, sampling: { temperature: 0 } })) {
    if (event.type === 'prompt') told.push(...event.tokens);
  }
  expect(told.map(({ id }) => id)).toEqual([...promptIds]);
  expect(told[0]).toEqual({ id: promptIds[0] });
  const golden = goldenLogits(shape);
  for (const [row, { id, logprob, top }] of told.slice(1).entries()) {
    const logs = logSoftmax(golden.subarray(row * shape.vocab, (row + 1) * shape.vocab));
    expect(Math.abs(logprob! - logs[id]!)).toBeLessThan(1e-3);
    const best = [...logs].toSorted((a, b) => b - a).slice(0, 3);
    expect(
      worstDifference(
        top!.map((one) => one.logprob),
        best,
      ),
    ).toBeLessThan(1e-3);
    for (const one of top!) expect(Math.abs(one.logprob - logs[one.id]!)).toBeLessThan(1e-3);
  }
}

describe('log-probabilities of a prompt within 1e-3 of transformers in float32', () => {
  test.each(shapes.map((shape) => [shape.name, shape] as const))('%s', async (_name, shape) => {
    await using backend = createReferenceBackend();
    await expectGoldenLogprobs(backend, shape);
  });

  test.skipIf(VARIANTS.length === 0).each(shapes.map((shape) => [shape.name, shape] as const))(
    needsNative('%s'),
    async (_name, shape) => {
      await using backend = open(VARIANTS[1]!);
      await expectGoldenLogprobs(backend, shape);
    },
  );
});

describe('logits of every position within 1e-3 of transformers in float32', () => {
  test.each(cases)('%s, %s layout', async (_name, era, shape) => {
    await using backend = createReferenceBackend();
    await expectGoldenLogits(backend, shape, era);
  });

  test.skipIf(VARIANTS.length === 0).each(cases)(needsNative('%s, %s layout'), async (_name, era, shape) => {
    // Its best instruction set, two threads: the contract holds the others to the reference.
    await using backend = open(VARIANTS[1]!);
    await expectGoldenLogits(backend, shape, era);
  });

  test.each(shapes.map((shape) => [shape.name, shape] as const))(
    '%s, as a Hugging Face folder',
    async (_name, shape) => {
      await using backend = createReferenceBackend();
      const model = await loadModel(toyFolder(shape), backend);
      const { logits } = await runTokens(model, backend, toyTokenIds(shape), { chunk: 7 });
      expect(worstDifference(logits, goldenLogits(shape))).toBeLessThan(1e-3);
    },
  );
});
