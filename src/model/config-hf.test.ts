import { describe, expect, test } from 'vitest';
import { configFromHf, scaleBlockOf } from './config-hf.ts';

/** config.json of DeepSeek-V3 as published, without what the engine does not read. */
const V3 = {
  model_type: 'deepseek_v3',
  first_k_dense_replace: 3,
  hidden_size: 7168,
  intermediate_size: 18432,
  kv_lora_rank: 512,
  max_position_embeddings: 163840,
  moe_intermediate_size: 2048,
  moe_layer_freq: 1,
  n_group: 8,
  n_routed_experts: 256,
  n_shared_experts: 1,
  norm_topk_prob: true,
  num_attention_heads: 128,
  num_experts_per_tok: 8,
  num_hidden_layers: 61,
  num_key_value_heads: 128,
  num_nextn_predict_layers: 1,
  q_lora_rank: 1536,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  quantization_config: { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [128, 128] },
  rms_norm_eps: 1e-6,
  rope_scaling: {
    type: 'yarn',
    factor: 40,
    original_max_position_embeddings: 4096,
    beta_fast: 32,
    beta_slow: 1,
    mscale: 1,
    mscale_all_dim: 1,
  },
  rope_theta: 10000,
  routed_scaling_factor: 2.5,
  scoring_func: 'sigmoid',
  topk_group: 4,
  topk_method: 'noaux_tc',
  v_head_dim: 128,
  vocab_size: 129280,
};

test('the published config of V3', () => {
  expect(configFromHf(V3, 'V3')).toMatchObject({
    architecture: 'deepseek2',
    layers: 61,
    draftLayers: 1,
    attention: {
      kind: 'latent',
      heads: 128,
      qLora: 1536,
      kvLora: 512,
      nopeDim: 128,
      ropeDim: 64,
      valueDim: 128,
    },
    experts: { experts: 256, used: 8, shared: 1, inter: 2048, leadingDense: 3 },
  });
  expect(scaleBlockOf(V3, 'V3')).toEqual({ rows: 128, cols: 128 });
});

test("R1-0528-Qwen3-8B's rotations as published: its attn_factor undoes YaRN's growth of cos and sin", () => {
  const rope_scaling = {
    rope_type: 'yarn',
    factor: 4,
    original_max_position_embeddings: 32768,
    attn_factor: 0.8782488562869419,
  };
  const qwen3 = {
    ...V3,
    model_type: 'qwen3',
    head_dim: 128,
    n_routed_experts: 0,
    num_nextn_predict_layers: 0,
  };
  const { scaling } = configFromHf({ ...qwen3, rope_scaling }, 'R1-0528-Qwen3-8B').rope;
  expect(scaling).toMatchObject({ type: 'yarn', factor: 4, originalTokens: 32768, logMultiplier: 0 });
  expect(scaling.type === 'yarn' && scaling.magnitude).toBeCloseTo(1, 12);
  const { attn_factor: _, ...usual } = rope_scaling;
  const plain = configFromHf({ ...qwen3, rope_scaling: usual }, 'Qwen3-8B').rope.scaling;
  expect(plain.type === 'yarn' && plain.magnitude).toBeCloseTo(1 + 0.1 * Math.log(4), 12);
});

describe('what is refused, in a sentence with the name', () => {
  const cases: readonly [string, Readonly<Record<string, unknown>>, string, RegExp][] = [
    [
      'an unknown model_type',
      { model_type: 'mamba2' },
      'architecture-unknown',
      /model_type of toy: expected one of llama.*got mamba2/,
    ],
    [
      'a model_type that every object has',
      { model_type: 'constructor' },
      'architecture-unknown',
      /got constructor/,
    ],
    ['a gate that every object has', { topk_method: 'toString' }, 'config-invalid', /got sigmoid, toString/],
    [
      'more layers that predict than any model',
      { num_nextn_predict_layers: 9 },
      'config-contradiction',
      /0 to 8, got 9/,
    ],
    [
      'half a layer that predicts',
      { num_nextn_predict_layers: 0.5 },
      'config-contradiction',
      /0 to 8, got 0.5/,
    ],
    ['no model_type', { model_type: undefined }, 'architecture-unknown', /got none/],
    ['no hidden size', { hidden_size: undefined }, 'config-missing', /"hidden_size" of config.json of toy/],
    ['layers in words', { num_hidden_layers: 'many' }, 'config-invalid', /"num_hidden_layers".*got "many"/],
    [
      'sigmoids without a correction of choices',
      { topk_method: 'greedy' },
      'config-invalid',
      /or sigmoid with noaux_tc, got sigmoid, greedy/,
    ],
    [
      'a scaling factor beyond all numbers',
      { rope_scaling: { type: 'linear', factor: JSON.parse('1e999') } },
      'config-invalid',
      /"factor".*expected a number, got Infinity/,
    ],
    ['a gate that nobody knows', { topk_method: 'coin' }, 'config-invalid', /got sigmoid, coin/],
    ['experts in every second layer', { moe_layer_freq: 2 }, 'config-invalid', /"moe_layer_freq"/],
    [
      'positions scaled in a new way',
      { rope_scaling: { type: 'longrope' } },
      'config-invalid',
      /linear, llama3 or yarn, got longrope/,
    ],
    [
      'more experts used than the open groups hold',
      { num_experts_per_tok: 129 },
      'config-contradiction',
      /1 to 128, got 129/,
    ],
    [
      'groups that do not divide the experts',
      { n_group: 7 },
      'config-contradiction',
      /a divisor of the 256 experts/,
    ],
    ['no layers', { num_hidden_layers: 0 }, 'config-contradiction', /number of layers of toy/],
    ['an odd rope', { qk_rope_head_dim: 63 }, 'config-contradiction', /even/],
    [
      'an indexer without a rank of queries',
      {
        model_type: 'deepseek_v32',
        q_lora_rank: null,
        index_n_heads: 64,
        index_head_dim: 128,
        index_topk: 2048,
      },
      'config-contradiction',
      /rank of the query/,
    ],
  ];
  test.each(cases)('%s', (_name, changes, code, sentence) => {
    const open = () => configFromHf({ ...V3, ...changes }, 'toy');
    expect(open).toThrow(sentence);
    expect(open).toThrow(expect.objectContaining({ code }));
  });

  test.each([[0, 128], ['128', 128], [128, 1.5], [128]])('scales for a block of %s x %s', (...block) => {
    const quantization_config = { quant_method: 'fp8', weight_block_size: block };
    const open = () => scaleBlockOf({ ...V3, quantization_config }, 'toy');
    expect(open).toThrow(/two whole numbers above 0, got \{"quant_method":"fp8","weight_block_size":\[/);
  });

  test('another way of quantizing', () => {
    const open = () => scaleBlockOf({ ...V3, quantization_config: { quant_method: 'awq', bits: 4 } }, 'toy');
    expect(open).toThrow(/quantization_config of toy.*"awq"/);
    expect(open).toThrow(expect.objectContaining({ code: 'quantization-unknown' }));
  });
});
