/**
 * Owns: writing a model config as GGUF's metadata keys.
 * Refuses to know: tokenizers, tensors, files. The other direction is model/config-gguf.ts.
 */
import { type TypedValue, typed } from '../formats/gguf/write.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import type { ExpertsConfig, ModelConfig } from '../model/config.ts';

const GATING = { softmax: 1, sigmoid: 2, 'sqrt-softplus': 4 } as const;

type Entry = readonly [key: string, value: MetaValue | TypedValue | undefined];

/**
 * The keys `general.architecture` and `{architecture}.*` of a model, latent attention split in k_b and v_b.
 *
 * @example configMetadata(configFromHf(json, 'DeepSeek-V3')).find(([key]) => key === 'deepseek2.block_count') // [..., 62]
 */
export function configMetadata(config: ModelConfig): [string, MetaValue | TypedValue][] {
  const { architecture, layers, draftLayers = 0 } = config;
  const entries: Entry[] = [
    ['block_count', layers + draftLayers],
    ['context_length', config.contextTokens],
    ['embedding_length', config.hidden],
    ['feed_forward_length', config.feedForward],
    ['vocab_size', config.vocabSize],
    ['attention.layer_norm_rms_epsilon', typed('f32', config.normEps)],
    ['nextn_predict_layers', draftLayers || undefined],
    ...attentionEntries(config),
    ...ropeEntries(config),
    ...(config.experts ? expertEntries(config.experts) : []),
  ];
  return [
    ['general.architecture', architecture],
    ...entries.flatMap(([key, value]): [string, MetaValue | TypedValue][] =>
      value === undefined ? [] : [[`${architecture}.${key}`, value]],
    ),
  ];
}

function attentionEntries({ attention: a }: ModelConfig): Entry[] {
  if (a.kind === 'grouped') {
    return [
      ['attention.head_count', a.heads],
      ['attention.head_count_kv', a.kvHeads],
      ['attention.key_length', a.headDim],
      ['attention.value_length', a.valueDim],
    ];
  }
  return [
    ['attention.head_count', a.heads],
    ['attention.head_count_kv', 1],
    ['attention.key_length', a.kvLora + a.ropeDim],
    ['attention.value_length', a.kvLora],
    ['attention.key_length_mla', a.nopeDim + a.ropeDim],
    ['attention.value_length_mla', a.valueDim],
    ['attention.q_lora_rank', a.qLora],
    ['attention.kv_lora_rank', a.kvLora],
    ['attention.indexer.head_count', a.indexer?.heads],
    ['attention.indexer.key_length', a.indexer?.dim],
    ['attention.indexer.top_k', a.indexer?.topK],
  ];
}

function ropeEntries({ rope: { dim, base, scaling }, attention }: ModelConfig): Entry[] {
  const plain: Entry[] = [
    ['rope.dimension_count', dim],
    ['rope.freq_base', typed('f32', base)],
  ];
  // Llama 3's scaling is a tensor of divisors.
  if (scaling.type === 'none' || scaling.type === 'llama3') return plain;
  const scaled: Entry[] = [
    ...plain,
    ['rope.scaling.type', scaling.type],
    ['rope.scaling.factor', typed('f32', scaling.factor)],
  ];
  if (scaling.type === 'linear') return scaled;
  const usual = attention.kind === 'latent' ? 1 : 1 + 0.1 * Math.log(scaling.factor);
  const factor = scaling.magnitude / usual;
  return [
    ...scaled,
    ['rope.scaling.original_context_length', scaling.originalTokens],
    ['rope.scaling.yarn_beta_fast', typed('f32', scaling.betaFast)],
    ['rope.scaling.yarn_beta_slow', typed('f32', scaling.betaSlow)],
    ['rope.scaling.attn_factor', Math.abs(factor - 1) < 1e-6 ? undefined : typed('f32', factor)],
    [
      'rope.scaling.yarn_log_multiplier',
      scaling.logMultiplier ? typed('f32', scaling.logMultiplier) : undefined,
    ],
  ];
}

function expertEntries({ experts, used, shared, inter, leadingDense, gate }: ExpertsConfig): Entry[] {
  return [
    ['expert_count', experts],
    ['expert_used_count', used],
    ['expert_shared_count', shared],
    ['expert_feed_forward_length', inter],
    ['leading_dense_block_count', leadingDense],
    ['expert_weights_scale', typed('f32', gate.scale)],
    ['expert_weights_norm', gate.normalise],
    ['expert_gating_func', GATING[gate.scoring]],
    ['expert_group_count', gate.groups > 1 ? gate.groups : undefined],
    ['expert_group_used_count', gate.groups > 1 ? gate.groupsUsed : undefined],
  ];
}
