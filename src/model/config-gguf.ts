/**
 * Owns: GGUF's metadata keys, read into a model config.
 * Refuses to know: what is done with the config, other sources of it.
 */
import { HadalError } from '../error.ts';
import type { MetaValue, ModelFile } from '../formats/tensor-info.ts';
import {
  ARCHITECTURES,
  type Architecture,
  type ExpertsConfig,
  type GateConfig,
  type GroupedConfig,
  type IndexerConfig,
  LATENT,
  type LatentConfig,
  type ModelConfig,
  type RopeConfig,
  type RopeScaling,
  validated,
} from './config.ts';

/**
 * The config of a GGUF file. Throws `architecture-unknown`, `config-missing`, `config-invalid` or
 * `config-contradiction`. Reads no tensor data.
 *
 * @example configFromGguf(await readGguf(source)).layers // 30
 */
export function configFromGguf(file: ModelFile): ModelConfig {
  const fileName = file.sources[0]?.name ?? 'the file';
  const architecture = architectureNamed(
    keysOf(file, fileName, 'general').text('architecture') ?? 'none',
    fileName,
  );
  const keys = keysOf(file, fileName, architecture);
  const hidden = keys.whole('embedding_length');
  const attention = LATENT.has(architecture) ? latentOf(keys, architecture) : groupedOf(keys, hidden);
  const experts = expertsOf(file, keys);
  const draftLayers = keys.whole('nextn_predict_layers', 0);
  const name = keysOf(file, fileName, 'general').text('name');
  const config: ModelConfig = {
    architecture,
    ...(name === undefined ? {} : { name }),
    layers: keys.whole('block_count') - draftLayers,
    ...(draftLayers > 0 ? { draftLayers } : {}),
    contextTokens: keys.whole('context_length'),
    hidden,
    vocabSize: keys.whole('vocab_size', vocabularySize(file)),
    feedForward: keys.whole('feed_forward_length'),
    normEps: keys.real('attention.layer_norm_rms_epsilon'),
    attention,
    rope: ropeOf(keys, attention, architecture),
    ...(experts ? { experts } : {}),
  };
  return validated(config, fileName);
}

/** The architecture of that name; throws `architecture-unknown` with the names that are known. Example: `architectureNamed('llama', 'x.gguf')`. */
export function architectureNamed(name: string, fileName: string): Architecture {
  const known = ARCHITECTURES.find((architecture) => architecture === name);
  if (known) return known;
  throw new HadalError('architecture-unknown', {
    what: `the architecture of ${fileName}`,
    expected: `one of ${ARCHITECTURES.join(', ')}`,
    got: name,
    next: 'choose a model of one of these architectures',
  });
}

/** Reads metadata keys under one prefix. */
interface Keys {
  has(key: string): boolean;
  whole(key: string, otherwise?: number): number;
  real(key: string, otherwise?: number): number;
  flag(key: string, otherwise: boolean): boolean;
  text(key: string): string | undefined;
}

function keysOf(file: ModelFile, fileName: string, prefix: string): Keys {
  const at = (key: string) => file.metadata.get(`${prefix}.${key}`);
  const wrong = (key: string, expected: string, got: MetaValue) =>
    new HadalError('config-invalid', {
      what: `key "${prefix}.${key}" of ${fileName}`,
      expected,
      got: typeof got === 'object' ? 'a list' : `${typeof got} ${got}`,
      next: 'fetch or convert the file again',
    });
  const number = (key: string, otherwise: number | undefined): number => {
    const value = single(at(key)) ?? otherwise;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    if (value !== undefined) throw wrong(key, 'a number', value);
    throw new HadalError('config-missing', {
      what: `key "${prefix}.${key}" of ${fileName}`,
      expected: 'a number',
      got: 'no such key',
      next: 'fetch or convert the file again',
    });
  };
  return {
    has: (key) => at(key) !== undefined,
    real: number,
    whole(key, otherwise) {
      const value = number(key, otherwise);
      if (Number.isInteger(value) && value >= 0) return value;
      throw wrong(key, 'a whole number', value);
    },
    flag(key, otherwise) {
      const value = at(key) ?? otherwise;
      if (typeof value === 'boolean') return value;
      throw wrong(key, 'true or false', value);
    },
    text(key) {
      const value = at(key);
      if (value === undefined || typeof value === 'string') return value;
      throw wrong(key, 'text', value);
    },
  };
}

/** A list of one and the same number (one for each layer) counts as that number. */
function single(value: MetaValue | undefined): MetaValue | undefined {
  if (typeof value !== 'object' || !('length' in value) || value.length === 0) return value;
  const numbers = Array.from(value as ArrayLike<unknown>);
  return typeof numbers[0] === 'number' && numbers.every((n) => n === numbers[0]) ? numbers[0] : value;
}

function vocabularySize(file: ModelFile): number {
  const tokens = file.metadata.get('tokenizer.ggml.tokens');
  if (Array.isArray(tokens)) return tokens.length;
  return file.tensors.get('token_embd.weight')?.shape[1] ?? 0;
}

function groupedOf(keys: Keys, hidden: number): GroupedConfig {
  const heads = keys.whole('attention.head_count');
  const headDim = keys.whole('attention.key_length', heads > 0 ? Math.floor(hidden / heads) : 0);
  return {
    kind: 'grouped',
    heads,
    kvHeads: keys.whole('attention.head_count_kv', heads),
    headDim,
    valueDim: keys.whole('attention.value_length', headDim),
  };
}

/** Newer files give the sizes of a head under `*_mla` and those of the cached row under the plain names. */
function latentOf(keys: Keys, architecture: Architecture): LatentConfig {
  const ropeDim = keys.whole('rope.dimension_count');
  const keyKey = keys.has('attention.key_length_mla') ? 'attention.key_length_mla' : 'attention.key_length';
  const valueKey = keys.has('attention.value_length_mla')
    ? 'attention.value_length_mla'
    : 'attention.value_length';
  const qLora = keys.whole('attention.q_lora_rank', 0);
  return {
    kind: 'latent',
    heads: keys.whole('attention.head_count'),
    ...(qLora > 0 ? { qLora } : {}),
    kvLora: keys.whole('attention.kv_lora_rank'),
    nopeDim: keys.whole(keyKey) - ropeDim,
    ropeDim,
    valueDim: keys.whole(valueKey),
    ...(architecture === 'deepseek32' ? { indexer: indexerOf(keys) } : {}),
  };
}

function indexerOf(keys: Keys): IndexerConfig {
  return {
    heads: keys.whole('attention.indexer.head_count'),
    dim: keys.whole('attention.indexer.key_length'),
    topK: keys.whole('attention.indexer.top_k'),
  };
}

/** GGUF's converters reorder q and k of these so that neighbours rotate together; MLA files have that order anyway. */
const ROPE_LAYOUT: Readonly<Record<Architecture, RopeConfig['layout']>> = {
  llama: 'norm',
  deepseek: 'norm',
  deepseek2: 'norm',
  deepseek32: 'norm',
  qwen2: 'neox',
  qwen3: 'neox',
};

function ropeOf(keys: Keys, attention: ModelConfig['attention'], architecture: Architecture): RopeConfig {
  const dim = attention.kind === 'latent' ? attention.ropeDim : attention.headDim;
  return {
    dim: keys.whole('rope.dimension_count', dim),
    base: keys.real('rope.freq_base', 10000),
    layout: ROPE_LAYOUT[architecture],
    scaling: scalingOf(keys, attention.kind),
  };
}

function scalingOf(keys: Keys, kind: ModelConfig['attention']['kind']): RopeScaling {
  const type =
    keys.text('rope.scaling.type') ??
    (keys.has('rope.scaling.factor') || keys.has('rope.scale_linear') ? 'linear' : 'none');
  const factor = keys.real('rope.scaling.factor', keys.real('rope.scale_linear', 1));
  if (type === 'none' || factor === 1 || factor === 0) return { type: 'none' };
  if (type === 'linear') return { type, factor };
  if (type === 'yarn') {
    const attentionFactor = keys.real('rope.scaling.attn_factor', 1);
    return {
      type,
      factor,
      originalTokens: keys.whole('rope.scaling.original_context_length', keys.whole('context_length')),
      betaFast: keys.real('rope.scaling.yarn_beta_fast', 32),
      betaSlow: keys.real('rope.scaling.yarn_beta_slow', 1),
      // MLA puts the whole correction into the softmax scale, the others into cos and sin.
      magnitude: attentionFactor * (kind === 'latent' ? 1 : 1 + 0.1 * Math.log(factor)),
      logMultiplier: kind === 'latent' ? keys.real('rope.scaling.yarn_log_multiplier', 0) : 0,
    };
  }
  throw new HadalError('config-invalid', {
    what: 'key "rope.scaling.type"',
    expected: 'none, linear or yarn',
    got: type,
    next: 'choose a model whose positions are scaled in one of these ways',
  });
}

const SCORING: Readonly<Record<number, GateConfig['scoring']>> = {
  1: 'softmax',
  2: 'sigmoid',
  4: 'sqrt-softplus',
};

/** Groups of files older than the keys `expert_group_*`, by number of experts: V2 and V3 as published. */
const PUBLISHED_GROUPS: Readonly<Record<number, readonly [groups: number, used: number]>> = {
  160: [8, 3],
  256: [8, 4],
};

function expertsOf(file: ModelFile, keys: Keys): ExpertsConfig | undefined {
  const experts = keys.whole('expert_count', 0);
  if (experts === 0) return undefined;
  const told = keys.whole('expert_gating_func', 0);
  const corrected = [...file.tensors.keys()].some((name) => name.endsWith('.exp_probs_b.bias'));
  // Files from before there was the key are of gates of softmax, whose choice nothing corrects: V2 and older.
  if (told === 0 && corrected) {
    throw new HadalError('config-missing', {
      what: `key "expert_gating_func" of ${file.sources[0]?.name ?? 'the file'}`,
      expected: 'a number, for its gates correct their choice of experts (exp_probs_b.bias)',
      got: 'no such key',
      next: 'fetch or convert the file again',
    });
  }
  const scoring = SCORING[told || 1];
  if (!scoring) {
    throw new HadalError('config-invalid', {
      what: 'key "expert_gating_func"',
      expected: '1 (softmax), 2 (sigmoid) or 4 (sqrt-softplus)',
      got: String(told),
      next: 'choose a model with one of these gates',
    });
  }
  const [groups, groupsUsed] = PUBLISHED_GROUPS[experts] ?? [1, 1];
  return {
    experts,
    used: keys.whole('expert_used_count'),
    shared: keys.whole('expert_shared_count', 0),
    inter: keys.whole('expert_feed_forward_length'),
    leadingDense: keys.whole('leading_dense_block_count', 0),
    gate: {
      scoring,
      groups: keys.whole('expert_group_count', groups) || 1,
      groupsUsed: keys.whole('expert_group_used_count', groupsUsed) || 1,
      groupScore: scoring === 'softmax' ? 'max' : 'top2',
      normalise: keys.flag('expert_weights_norm', false),
      scale: keys.real('expert_weights_scale', 1) || 1,
      // No key tells; every published gate of sigmoids has one, and without it other experts would be chosen.
      bias: scoring === 'sigmoid' || corrected,
    },
  };
}
