/**
 * Owns: the tensors and cache rows of the V4 generation by its config.json, for sums of bytes.
 * Refuses to know: what a layer computes, number formats, machines.
 *
 * Source: DeepSeek-V4's report and reference inference code; GGUF names of architecture deepseek4.
 */

import { z } from 'zod';
import { HadalError } from '../error.ts';
import type { CacheStream } from '../model/model.ts';
import { streamDtypes } from '../model/streams.ts';

const count = z.int().min(1);
const configSchema = z.object({
  hidden_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  head_dim: count,
  q_lora_rank: count,
  o_groups: count,
  o_lora_rank: count,
  n_routed_experts: count,
  n_shared_experts: count,
  num_experts_per_tok: count,
  moe_intermediate_size: count,
  hc_mult: count,
  sliding_window: count,
  compress_ratios: z.array(z.int().min(0)),
  index_n_heads: count,
  index_head_dim: count,
  vocab_size: count,
  max_position_embeddings: count,
  kv_source_layer_ids: z.array(z.int()).optional(),
  index_source_layer_ids: z.array(z.int()).optional(),
  engram_rows: z.array(count).optional(),
  engram_row_dim: count.optional(),
});

/** The config of a V4 model, as far as sizes go. */
export type V4Config = z.output<typeof configSchema>;

/** Parts of a V4 model: those of the other generations, and tables that are looked up by n-grams. */
export type V4Part =
  | 'embedding'
  | 'output'
  | 'norms'
  | 'attention'
  | 'router'
  | 'experts'
  | 'shared experts'
  | 'engram';

/** One tensor of a V4 model. */
export interface V4Spec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly part: V4Part;
}

/** What a V4 config asks of its file. */
export interface V4Outline {
  readonly config: V4Config;
  readonly specs: readonly V4Spec[];
  readonly streams: readonly CacheStream[];
}

/**
 * The tensors and cache streams of a V4 config.
 *
 * @throws HadalError `config-broken`, naming the field
 * @example outlineV4(shape.config).specs.length
 */
export function outlineV4(json: unknown): V4Outline {
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new HadalError('config-broken', {
      what: `config.json, ${issue?.path.join('.')}`,
      expected: 'what the V4 generation has there',
      got: issue?.message ?? 'something else',
      next: 'take the config.json that comes with the model',
    });
  }
  const config = parsed.data;
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => layer);
  return {
    config,
    specs: [
      { name: 'token_embd.weight', shape: [config.hidden_size, config.vocab_size], part: 'embedding' },
      ...layers.flatMap((layer) => [...attentionSpecs(config, layer), ...expertSpecs(config, layer)]),
      ...(config.engram_rows ?? []).map((rows, i): V4Spec => {
        return { name: `engram.${i}.weight`, shape: [config.engram_row_dim ?? 1, rows], part: 'engram' };
      }),
      { name: 'output_norm.weight', shape: [config.hidden_size], part: 'norms' },
      { name: 'output.weight', shape: [config.hidden_size, config.vocab_size], part: 'output' },
    ],
    streams: layers.flatMap((layer) => layerStreams(config, layer)),
  };
}

/** Tokens that share a compressed row of a layer; 0 where it keeps none of its own. */
function ratioOf({ compress_ratios, kv_source_layer_ids }: V4Config, layer: number): number {
  const ratio = compress_ratios[layer] ?? 0;
  return kv_source_layer_ids === undefined || kv_source_layer_ids.includes(layer) ? ratio : 0;
}

/** Whether a layer chooses among its compressed rows with index keys of its own. */
function hasIndex({ compress_ratios, kv_source_layer_ids }: V4Config, layer: number): boolean {
  return kv_source_layer_ids === undefined
    ? compress_ratios[layer] === 4
    : kv_source_layer_ids.includes(layer);
}

function attentionSpecs(config: V4Config, layer: number): V4Spec[] {
  const { hidden_size: d, num_attention_heads: heads, head_dim: dim, q_lora_rank: q } = config;
  const { o_groups: groups, o_lora_rank: rank, index_n_heads, index_head_dim, hc_mult: streams } = config;
  const blk = `blk.${layer}.`;
  const spec = (name: string, ...shape: number[]): V4Spec => {
    return { name: `${blk}${name}.weight`, shape, part: shape.length < 2 ? 'norms' : 'attention' };
  };
  const ratio = ratioOf(config, layer);
  // Ratio 4 keeps two overlapping windows, so its projections are twice as wide.
  const width = ratio === 4 ? 2 : 1;
  const index = hasIndex(config, layer);
  const queries = config.index_source_layer_ids?.includes(layer) ?? index;
  const mixers = streams * streams + 2 * streams;
  return [
    spec('attn_norm', d),
    spec('attn_q_a', d, q),
    spec('attn_q_a_norm', q),
    spec('attn_q_b', q, heads * dim),
    spec('attn_kv', d, dim),
    spec('attn_kv_a_norm', dim),
    spec('attn_output_a', (heads * dim) / groups, groups * rank),
    spec('attn_output_b', groups * rank, d),
    spec('hc_attn_fn', streams * d, mixers),
    spec('hc_ffn_fn', streams * d, mixers),
    ...(ratio > 0
      ? [spec('attn_compressor_kv', d, width * dim), spec('attn_compressor_gate', d, width * dim)]
      : []),
    ...(queries
      ? [spec('indexer.attn_q_b', q, index_n_heads * index_head_dim), spec('indexer.proj', d, index_n_heads)]
      : []),
    ...(index
      ? [
          spec('indexer_compressor_kv', d, width * index_head_dim),
          spec('indexer_compressor_gate', d, width * index_head_dim),
        ]
      : []),
  ];
}

function expertSpecs(config: V4Config, layer: number): V4Spec[] {
  const {
    hidden_size: d,
    n_routed_experts: experts,
    n_shared_experts,
    moe_intermediate_size: inter,
  } = config;
  const shared = n_shared_experts * inter;
  const spec = (name: string, part: V4Part, ...shape: number[]): V4Spec => {
    return { name: `blk.${layer}.${name}.weight`, shape, part };
  };
  return [
    spec('ffn_norm', 'norms', d),
    spec('ffn_gate_inp', 'router', d, experts),
    spec('ffn_gate_exps', 'experts', d, inter, experts),
    spec('ffn_up_exps', 'experts', d, inter, experts),
    spec('ffn_down_exps', 'experts', inter, d, experts),
    spec('ffn_gate_shexp', 'shared experts', d, shared),
    spec('ffn_up_shexp', 'shared experts', d, shared),
    spec('ffn_down_shexp', 'shared experts', shared, d),
  ];
}

function layerStreams(config: V4Config, layer: number): CacheStream[] {
  const { head_dim: dim, sliding_window: windowTokens, index_head_dim: indexDim } = config;
  const ratio = ratioOf(config, layer);
  const stream = (name: string, cols: number, tokensPerRow: number): CacheStream => {
    return { name: `blk.${layer}.${name}`, layer, cols, tokensPerRow, dtypes: streamDtypes(cols) };
  };
  return [
    { ...stream('window', dim, 1), windowTokens },
    ...(ratio > 0 ? [stream('compressed', dim, ratio)] : []),
    ...(hasIndex(config, layer) ? [stream('index', indexDim, ratio)] : []),
  ];
}
