/**
 * Owns: toy models of every architecture judged by transformers' logits (logits.json, made by scripts/reference/models.py).
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backend/backend.ts';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
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
