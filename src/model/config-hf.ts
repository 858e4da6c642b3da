/**
 * Owns: Hugging Face's config.json, read into a model config.
 * Refuses to know: what is done with the config, other sources of it.
 */
import { HadalError } from '../error.ts';
import {
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

/** `model_type` of config.json and the architecture it is. */
const MODEL_TYPES: Readonly<Record<string, Architecture>> = {
  llama: 'llama',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
  deepseek: 'deepseek',
  deepseek_v2: 'deepseek2',
  deepseek_v3: 'deepseek2',
  deepseek_v32: 'deepseek32',
};

/** A parsed config.json, or an object inside it. */
type Json = Readonly<Record<string, unknown>>;

/**
 * The config of a Hugging Face folder. Throws `architecture-unknown`, `config-missing`, `config-invalid` or
 * `config-contradiction`.
 *
 * @example configFromHf(JSON.parse(text), 'DeepSeek-V3').experts?.experts // 256
 */
export function configFromHf(json: Json, folderName: string): ModelConfig {
  const fields = fieldsOf(json, folderName);
  const type = fields.text('model_type') ?? 'none';
  const architecture = Object.hasOwn(MODEL_TYPES, type) ? MODEL_TYPES[type] : undefined;
  if (!architecture) {
    throw new HadalError('architecture-unknown', {
      what: `the model_type of ${folderName}`,
      expected: `one of ${Object.keys(MODEL_TYPES).join(', ')}`,
      got: type,
      next: 'choose a model of one of these types',
    });
  }
  const hidden = fields.number('hidden_size');
  const attention = LATENT.has(architecture) ? latentOf(fields, architecture) : groupedOf(fields, hidden);
  const experts = expertsOf(fields);
  const draftLayers = fields.number('num_nextn_predict_layers', 0);
  const config: ModelConfig = {
    architecture,
    layers: fields.number('num_hidden_layers'),
    ...(draftLayers > 0 ? { draftLayers } : {}),
    ...(fields.has('tie_word_embeddings') ? { tied: fields.flag('tie_word_embeddings', false) } : {}),
    contextTokens: fields.number('max_position_embeddings'),
    hidden,
    vocabSize: fields.number('vocab_size'),
    feedForward: fields.number('intermediate_size'),
    normEps: fields.number('rms_norm_eps', 1e-6),
    attention,
    rope: ropeOf(fields, attention),
    ...(experts ? { experts } : {}),
  };
  return validated(config, folderName);
}

/**
 * Rows and columns that share a scale in a block-scaled folder, or undefined when its weights are plain; throws
 * `quantization-unknown` for other schemes.
 *
 * @example scaleBlockOf({ quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128] } }, 'V3') // { rows: 128, cols: 128 }
 */
export function scaleBlockOf(json: Json, folderName: string): { rows: number; cols: number } | undefined {
  const scheme = fieldsOf(json, folderName).object('quantization_config');
  if (!scheme) return undefined;
  const block = scheme.weight_block_size;
  if (scheme.quant_method === 'fp8' && Array.isArray(block) && block.length === 2) {
    const [rows, cols] = block as readonly unknown[];
    if (isBlockSide(rows) && isBlockSide(cols)) return { rows, cols };
  }
  throw new HadalError('quantization-unknown', {
    what: `quantization_config of ${folderName}`,
    expected: 'quant_method "fp8" with a weight_block_size of two whole numbers above 0',
    got: JSON.stringify({ quant_method: scheme.quant_method, weight_block_size: block ?? null }),
    next: 'choose the plain BF16 folder or a GGUF file',
  });
}

function isBlockSide(side: unknown): side is number {
  return Number.isInteger(side) && (side as number) > 0;
}

/** Reads fields of config.json with their types checked; null counts as absent. */
interface Fields {
  has(key: string): boolean;
  number(key: string, otherwise?: number): number;
  flag(key: string, otherwise: boolean): boolean;
  text(key: string): string | undefined;
  object(key: string): Json | undefined;
}

function fieldsOf(json: Json, folderName: string): Fields {
  const wrong = (key: string, expected: string, got: unknown) =>
    new HadalError(got === undefined ? 'config-missing' : 'config-invalid', {
      what: `field "${key}" of config.json of ${folderName}`,
      expected,
      got: got === undefined ? 'no such field' : typeof got === 'number' ? String(got) : JSON.stringify(got),
      next: 'fetch the folder again',
    });
  const at = (key: string) => json[key] ?? undefined;
  return {
    has: (key) => at(key) !== undefined,
    number(key, otherwise) {
      const value = at(key) ?? otherwise;
      if (typeof value === 'number' && Number.isFinite(value)) return value;
      throw wrong(key, 'a number', value);
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
    object(key) {
      const value = at(key);
      if (value === undefined || (typeof value === 'object' && !Array.isArray(value))) return value as Json;
      throw wrong(key, 'an object', value);
    },
  };
}

function groupedOf(fields: Fields, hidden: number): GroupedConfig {
  const heads = fields.number('num_attention_heads');
  const headDim = fields.number('head_dim', Math.floor(hidden / heads));
  const kvHeads = fields.number('num_key_value_heads', heads);
  return { kind: 'grouped', heads, kvHeads, headDim, valueDim: headDim };
}

function latentOf(fields: Fields, architecture: Architecture): LatentConfig {
  const qLora = fields.number('q_lora_rank', 0);
  return {
    kind: 'latent',
    heads: fields.number('num_attention_heads'),
    ...(qLora > 0 ? { qLora } : {}),
    kvLora: fields.number('kv_lora_rank'),
    nopeDim: fields.number('qk_nope_head_dim'),
    ropeDim: fields.number('qk_rope_head_dim'),
    valueDim: fields.number('v_head_dim'),
    ...(architecture === 'deepseek32' ? { indexer: indexerOf(fields) } : {}),
  };
}

function indexerOf(fields: Fields): IndexerConfig {
  return {
    heads: fields.number('index_n_heads'),
    dim: fields.number('index_head_dim'),
    topK: fields.number('index_topk'),
  };
}

/** Folders keep the published order of rows: halves rotate together, but for latent attention. */
function ropeOf(fields: Fields, attention: ModelConfig['attention']): RopeConfig {
  const parameters = fields.object('rope_parameters') ?? fields.object('rope_scaling') ?? {};
  const theta = parameters.rope_theta;
  return {
    dim: attention.kind === 'latent' ? attention.ropeDim : attention.headDim,
    base: typeof theta === 'number' ? theta : fields.number('rope_theta', 10000),
    layout: attention.kind === 'latent' ? 'norm' : 'neox',
    scaling: scalingOf(parameters, attention.kind, fields.number('max_position_embeddings')),
  };
}

function scalingOf(json: Json, kind: ModelConfig['attention']['kind'], contextTokens: number): RopeScaling {
  const fields = fieldsOf(json, 'rope_scaling');
  const type = fields.text('rope_type') ?? fields.text('type') ?? 'default';
  const original = () => fields.number('original_max_position_embeddings', contextTokens);
  switch (type) {
    case 'default':
      return { type: 'none' };
    case 'linear':
      return { type, factor: fields.number('factor') };
    case 'llama3':
      return {
        type,
        factor: fields.number('factor'),
        lowFreqFactor: fields.number('low_freq_factor'),
        highFreqFactor: fields.number('high_freq_factor'),
        originalTokens: original(),
      };
    case 'yarn':
      return {
        type,
        factor: fields.number('factor'),
        originalTokens: original(),
        betaFast: fields.number('beta_fast', 32),
        betaSlow: fields.number('beta_slow', 1),
        magnitude: magnitudeOf(fields),
        logMultiplier: kind === 'latent' ? 0.1 * fields.number('mscale_all_dim', 0) : 0,
      };
    default:
      throw new HadalError('config-invalid', {
        what: 'rope_type of rope_scaling',
        expected: 'default, linear, llama3 or yarn',
        got: type,
        next: 'choose a model whose positions are scaled in one of these ways',
      });
  }
}

/**
 * YaRN's factor on cos and sin: m(mscale) / m(mscale_all_dim) where both are given, else m(1), m(a) = 0.1 a ln(factor) + 1.
 * attention_factor stands for all of that; attn_factor (R1-0528-Qwen3-8B, whose 0.878 undoes m(1)) multiplies it, as
 * GGUF's key and vLLM have it. transformers warns of attn_factor and leaves it out.
 */
function magnitudeOf(fields: Fields): number {
  const m = (a: number) => 0.1 * a * Math.log(fields.number('factor')) + 1;
  const mscale = fields.number('mscale', 0);
  const allDim = fields.number('mscale_all_dim', 0);
  const usual = (mscale && allDim ? m(mscale) / m(allDim) : m(1)) * fields.number('attn_factor', 1);
  return fields.number('attention_factor', usual);
}

function expertsOf(fields: Fields): ExpertsConfig | undefined {
  const experts = fields.number('n_routed_experts', 0);
  if (experts === 0) return undefined;
  const frequency = fields.number('moe_layer_freq', 1);
  if (frequency !== 1) {
    throw new HadalError('config-invalid', {
      what: 'field "moe_layer_freq" of config.json',
      expected: '1',
      got: String(frequency),
      next: 'choose a model with experts in every layer after the dense ones',
    });
  }
  return {
    experts,
    used: fields.number('num_experts_per_tok'),
    shared: fields.number('n_shared_experts', 0),
    inter: fields.number('moe_intermediate_size'),
    leadingDense: fields.number('first_k_dense_replace', 0),
    gate: gateOf(fields),
  };
}

/** What every `topk_method` means for groups and the correction bias. */
const TOPK_METHODS: Readonly<Record<string, Pick<GateConfig, 'groupScore' | 'bias'> & { grouped: boolean }>> =
  {
    greedy: { groupScore: 'max', bias: false, grouped: false },
    group_limited_greedy: { groupScore: 'max', bias: false, grouped: true },
    noaux_tc: { groupScore: 'top2', bias: true, grouped: true },
  };

function gateOf(fields: Fields): GateConfig {
  const v3 = fields.text('model_type') === 'deepseek_v3' || fields.text('model_type') === 'deepseek_v32';
  const scoring = fields.text('scoring_func') ?? (v3 ? 'sigmoid' : 'softmax');
  const name = fields.text('topk_method') ?? (v3 ? 'noaux_tc' : 'greedy');
  const method = Object.hasOwn(TOPK_METHODS, name) ? TOPK_METHODS[name] : undefined;
  const known = method && (scoring === 'softmax' || (scoring === 'sigmoid' && method.bias));
  if (!known) {
    throw new HadalError('config-invalid', {
      what: 'the gate in config.json',
      expected: `scoring_func softmax with topk_method ${Object.keys(TOPK_METHODS).join(', ')}, or sigmoid with noaux_tc`,
      got: `${scoring}, ${name}`,
      next: 'choose a model with one of these gates',
    });
  }
  const { grouped, ...choice } = method;
  return {
    scoring,
    ...choice,
    groups: grouped ? fields.number('n_group', 1) : 1,
    groupsUsed: grouped ? fields.number('topk_group', 1) : 1,
    normalise: fields.flag('norm_topk_prob', v3),
    scale: fields.number('routed_scaling_factor', 1),
  };
}
