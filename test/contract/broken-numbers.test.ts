/**
 * Owns: weights that are no numbers: whatever the backend, the number format and the cache, an answer is refused in a
 * sentence and none is made up, and the engine goes on.
 * Refuses to know: what is refused while loading.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Backend, CacheDType } from '../../src/backend/backend.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { createEngine } from '../../src/engine/engine.ts';
import { bytesSource } from '../../src/formats/byte-source.ts';
import { readGguf } from '../../src/formats/gguf/read.ts';
import { loadModel } from '../../src/model/load.ts';
import { toyGguf } from '../fixtures/toy-model.ts';
import { type ToyShape, toyTokenIds } from '../fixtures/toy-weights.ts';
import { open, VARIANTS } from './backends.ts';

const shapes: readonly ToyShape[] = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
);
const BACKENDS: readonly (readonly [string, () => Backend])[] = [
  ['reference', () => createReferenceBackend()],
  ...VARIANTS.filter(({ threads }) => threads === 2).map(
    (variant) => [`native ${variant.isa}`, () => open(variant)] as const,
  ),
];
/** More tokens than V3.2's toy picks. */
const promptIds = toyTokenIds({ tokens: 24, seed: 3, vocab: 96 });

const V3_PLACES = [
  ['the first token of the prompt', 'token_embd.weight', promptIds[0]!],
  ['a row of the head', 'output.weight', 50],
  ['queries', 'blk.1.attn_q_b.weight', 9],
  ['the latent projection', 'blk.0.attn_kv_a_mqa.weight', 3],
  ['the shared key', 'blk.1.attn_kv_a_mqa.weight', 70],
  ['the key half of kv_b', 'blk.1.attn_k_b.weight', 40],
  ['the value half of kv_b', 'blk.1.attn_v_b.weight', 40],
  ['the output of attention', 'blk.2.attn_output.weight', 5],
  ['a shared expert', 'blk.1.ffn_down_shexp.weight', 9],
  ['the dense layer', 'blk.0.ffn_up.weight', 30],
] as const;
const V32_PLACES = [
  ['the queries of the indexer', 'blk.0.indexer.attn_q_b.weight', 70],
  ['its keys', 'blk.1.indexer.attn_k.weight', 20],
  ['its weights', 'blk.0.indexer.proj.weight', 1],
] as const;

/** The toy with a number of row `row` that is none: in Q8_0 the scale of a block. */
async function spoilt(name: string, weights: 'F32' | 'Q8_0', tensor: string, row: number) {
  const bytes = toyGguf(shapes.find((shape) => shape.name === name)!, { weights });
  const file = await readGguf(bytesSource(bytes, 'toy.gguf'));
  const { offset, shape, dtype } = file.tensors.get(tensor)!;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (dtype === 'F32') view.setFloat32(offset + row * shape[0]! * 4, Number.NaN, true);
  else view.setUint16(offset + ((row * shape[0]!) / 32) * 34, 0x7e00, true);
  return file;
}

async function expectRefusal(
  backend: Backend,
  file: Awaited<ReturnType<typeof spoilt>>,
  cacheDType: CacheDType,
): Promise<void> {
  const model = await loadModel(file, backend);
  await using engine = createEngine(backend, model, { contextTokens: 64, cacheDType });
  for (const [temperature, maxTokens] of [
    [0, 6],
    [1, 6],
  ] as const) {
    const answer = async () => {
      const sampling = { temperature, seed: 1 };
      const request = { requestId: `at ${temperature}`, promptIds, maxTokens, sampling, endIds: [] };
      for await (const event of engine.generate(request)) if (event.type === 'end') return;
    };
    await expect(answer()).rejects.toMatchObject({
      code: 'logits-broken',
      message: expect.stringContaining('the weights are damaged'),
    });
  }
  expect(engine.stats()).toMatchObject({ runningRequests: 0, pages: { used: 0 } });
}

describe.each(BACKENDS)('%s', (_name, create) => {
  describe.each(['F32', 'Q8_0'] as const)('%s weights', (weights) => {
    test.each(V3_PLACES)('V3, in %s', async (_place, tensor, row) => {
      for (const cache of ['F16', 'Q8_0', 'F8_E4M3'] as const) {
        await using backend = create();
        await expectRefusal(backend, await spoilt('v3-like', weights, tensor, row), cache);
      }
    });

    test.each(V32_PLACES)('V3.2, in %s', async (_place, tensor, row) => {
      for (const cache of ['F16', 'Q8_0', 'F8_E4M3'] as const) {
        await using backend = create();
        await expectRefusal(backend, await spoilt('v32-like', weights, tensor, row), cache);
      }
    });
  });
});
