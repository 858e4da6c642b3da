/**
 * Owns: toy predictors (MTP modules) judged by predictor.json, made by scripts/reference/predictor.py; their GGUF files
 * and Hugging Face folders.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backend/backend.ts';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import { CONFIG_JSON } from '../../../src/formats/hf-folder.ts';
import type { ModelFile } from '../../../src/formats/tensor-info.ts';
import { describeModel, loadModel } from '../../../src/model/load.ts';
import { hfNames } from '../../../src/model/tensors-hf.ts';
import { needsNative, open, VARIANTS } from '../../contract/backends.ts';
import { worstDifference } from '../../fixtures/run-model.ts';
import { runPredictor } from '../../fixtures/run-predictor.ts';
import { fileInMemory, toyGgufFile } from '../../fixtures/toy-file.ts';
import { type ToyShape, type ToyTensor, toyTensors, toyTokenIds } from '../../fixtures/toy-weights.ts';

const read = (name: string) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const golden: Record<string, Record<'first' | 'second', string>> = read('predictor.json').logits;
const floats = (base64: string) => new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer);
const shapes = (read('shapes.json') as ToyShape[])
  .filter(({ name }) => golden[name])
  .map((shape) => ({ ...shape, draftLayers: 1 }));
const v3 = shapes.find(({ name }) => name === 'v3-like')!;

const cases = shapes.flatMap((shape) =>
  (['prefill', 'decode'] as const).map((of) => [shape.name, of, shape] as const),
);

describe('guesses within 1e-3 of float32 torch', () => {
  const expectGolden = async (backend: Backend, shape: ToyShape, rowClass: 'prefill' | 'decode') => {
    const got = await guesses(toyGgufFile(shape), backend, shape, rowClass);
    const { first, second } = golden[shape.name]!;
    expect(worstDifference(got.first, floats(first))).toBeLessThan(1e-3);
    expect(worstDifference(got.second, floats(second))).toBeLessThan(1e-3);
  };

  test.each(cases)('%s, %s class', async (_name, rowClass, shape) => {
    await using backend = createReferenceBackend();
    await expectGolden(backend, shape, rowClass);
  });

  test.skipIf(VARIANTS.length === 0).each(cases)(
    needsNative('%s, %s class, on the addon'),
    async (_name, rowClass, shape) => {
      await using backend = open(VARIANTS[1]!);
      await expectGolden(backend, shape, rowClass);
    },
  );

  test('v3-like as a folder, copies of embedding and head left unread', async () => {
    await using backend = createReferenceBackend();
    const got = await guesses(hfFolder(v3), backend, v3, 'decode');
    expect(worstDifference(got.second, floats(golden['v3-like']!.second))).toBeLessThan(1e-3);
  });
});

test('a file that speaks of a predictor and has none is a model without one', () => {
  const whole = toyGgufFile(v3);
  const tensors = new Map([...whole.tensors].filter(([name]) => !name.startsWith('blk.3.')));
  const [without, of] = [describeModel({ ...whole, tensors }), describeModel(whole)];
  expect(without.streams).toHaveLength(3);
  expect(of.streams.map(({ name }) => name)).toEqual([0, 1, 2, 3].map((l) => `blk.${l}.latent`));
  expect(of.weightBytesByPart.predictor).toBeGreaterThan(0);
  expect(of.multiplyAddsPerToken).toBe(without.multiplyAddsPerToken);
});

test('a predictor that lacks a tensor is refused by name', () => {
  const whole = toyGgufFile(v3);
  const tensors = new Map([...whole.tensors].filter(([name]) => name !== 'blk.3.nextn.hnorm.weight'));
  expect(() => describeModel({ ...whole, tensors })).toThrow(
    'tensor "blk.3.nextn.hnorm.weight" of v3-like.gguf',
  );
});

/** What predictor.py computes. */
async function guesses(file: ModelFile, backend: Backend, shape: ToyShape, rowClass: 'prefill' | 'decode') {
  return runPredictor(await loadModel(file, backend), backend, toyTokenIds(shape), rowClass);
}

/** The toy as DeepSeek publishes V3, with the copies that its predictor has of embedding and head (here of zeros). */
function hfFolder(shape: ToyShape): ModelFile {
  const { attention: a, experts: e, scaling } = shape;
  if (a.kind !== 'latent' || !e) throw new Error('a toy of V3');
  const config = {
    model_type: 'deepseek_v3',
    hidden_size: shape.hidden,
    num_hidden_layers: shape.layers,
    num_nextn_predict_layers: 1,
    max_position_embeddings: shape.contextTokens,
    vocab_size: shape.vocab,
    intermediate_size: shape.feedForward,
    rms_norm_eps: shape.normEps,
    num_attention_heads: a.heads,
    q_lora_rank: a.qLora,
    kv_lora_rank: a.kvLora,
    qk_nope_head_dim: a.nopeDim,
    qk_rope_head_dim: a.ropeDim,
    v_head_dim: a.valueDim,
    rope_theta: shape.ropeBase,
    rope_scaling: {
      type: 'yarn',
      factor: scaling!.factor,
      original_max_position_embeddings: scaling!.originalTokens,
      beta_fast: 32,
      beta_slow: 1,
      mscale: scaling!.mscale,
      mscale_all_dim: scaling!.mscale,
    },
    n_routed_experts: e.experts,
    num_experts_per_tok: e.used,
    n_shared_experts: e.shared,
    moe_intermediate_size: e.inter,
    first_k_dense_replace: e.leadingDense,
    routed_scaling_factor: e.scale,
    norm_topk_prob: e.normalise,
    n_group: e.groups,
    topk_group: e.groupsUsed,
    scoring_func: 'sigmoid',
    topk_method: 'noaux_tc',
    tie_word_embeddings: false,
  };
  const copy = (name: string): ToyTensor => {
    const size = [shape.hidden, shape.vocab];
    return {
      name: `blk.${shape.layers}.nextn.${name}.weight`,
      shape: size,
      values: new Float32Array(size[0]! * size[1]!),
    };
  };
  const tensors = [...toyTensors(shape), copy('embed_tokens'), copy('shared_head_head')].flatMap((tensor) => {
    const names = hfNames(tensor.name, tensor.shape[2] ?? 1);
    const size = tensor.values.length / names.length;
    return names.map((name, i) => ({
      name,
      shape: tensor.shape.slice(0, 2),
      values: tensor.values.slice(i * size, (i + 1) * size),
    }));
  });
  return fileInMemory(
    'safetensors',
    new Map([[CONFIG_JSON, JSON.stringify(config)]]),
    tensors,
    'toy/model.safetensors',
  );
}
