import { expect, test } from 'vitest';
import { fileInMemory, toyGgufFile } from '../../test/fixtures/toy-file.ts';
import { type ToyShape, toyTensors } from '../../test/fixtures/toy-weights.ts';
import { layoutWords, tensorWords } from './tensor-words.ts';
import { hfNames } from './tensors-hf.ts';

const shape = {
  name: 'words',
  architecture: 'deepseek2',
  seed: 1,
  layers: 2,
  hidden: 64,
  vocab: 96,
  contextTokens: 64,
  normEps: 1e-6,
  feedForward: 32,
  ropeBase: 10000,
  tied: false,
  tokens: 0,
  attention: { kind: 'latent', heads: 2, qLora: 32, kvLora: 32, nopeDim: 16, ropeDim: 8, valueDim: 16 },
  experts: {
    experts: 4,
    used: 2,
    shared: 1,
    inter: 32,
    leadingDense: 1,
    scoring: 'sigmoid',
    groups: 1,
    groupsUsed: 1,
    normalise: true,
    scale: 1,
  },
} as const satisfies ToyShape;

/** As the converters write the predictor of V3: a whole layer, and six tensors of its own. */
const PREDICTOR = ['eh_proj', 'enorm', 'hnorm', 'embed_tokens', 'shared_head_norm', 'shared_head_head'];

test('both layouts of latent attention are told apart', () => {
  expect(layoutWords(toyGgufFile(shape, 'old'))).toEqual({ latent: 'keys and values merged (attn_kv_b)' });
  expect(layoutWords(toyGgufFile(shape, 'new'))).toEqual({
    latent: 'keys and values split (attn_k_b, attn_v_b)',
  });
});

test('the predictor is found, in GGUF files and in folders', () => {
  const nextn = PREDICTOR.map((part) => {
    return { name: `blk.2.nextn.${part}.weight`, shape: [8], values: new Float32Array(8) };
  });
  const norm = { name: 'blk.2.attn_norm.weight', shape: [64], values: new Float32Array(64) };
  const tensors = [...toyTensors(shape), ...nextn, norm];
  const predictor = { layers: [2], tensors: 7, bytes: 6 * 32 + 256 };
  expect(layoutWords(fileInMemory('gguf', new Map(), tensors, 'x')).predictor).toEqual(predictor);
  const folder = tensors.flatMap((tensor) => hfNames(tensor.name, 4).map((name) => ({ ...tensor, name })));
  expect(layoutWords(fileInMemory('safetensors', new Map(), folder, 'x')).predictor).toEqual(predictor);
});

test('every tensor of a model has words, the same in both formats', () => {
  const names = [
    ...toyTensors(shape).map(({ name }) => name),
    ...PREDICTOR.map((part) => `blk.2.nextn.${part}.weight`),
  ];
  for (const name of names) {
    expect(tensorWords(name), name).toMatch(/^[a-z]/);
    for (const hf of hfNames(name, 4)) expect(tensorWords(hf), hf).toBe(tensorWords(name));
  }
  expect(tensorWords('model.layers.0.mlp.up_proj.weight_scale_inv')).toBe('scales of: feed-forward, up');
  expect(tensorWords('blk.0.attn_q.bias')).toBe('queries, bias');
  expect(tensorWords('blk.0.something.weight')).toBeUndefined();
});
