/**
 * Owns: what the tensors of a file are for, in words, and how a file lays out what exists in more than one form.
 * Refuses to know: whether a model can run, how it is computed, how the words are shown.
 */
import type { ModelFile } from '../formats/tensor-info.ts';
import { ggufName } from './tensors-hf.ts';

/** By GGUF's name without its layer and without `.weight` or `.bias`. */
const WORDS: Readonly<Record<string, string>> = {
  token_embd: 'embedding of tokens',
  output_norm: 'norm before the head',
  output: 'head: one row for every token',
  rope_freqs: "divisors of the rotation's frequencies",
  attn_norm: 'norm before attention',
  attn_q: 'queries',
  attn_k: 'keys',
  attn_v: 'values',
  attn_q_norm: "norm of each head's query",
  attn_k_norm: "norm of each head's key",
  attn_output: 'output of attention',
  attn_q_a: 'queries, down to their rank',
  attn_q_a_norm: 'norm of the low-rank query',
  attn_q_b: 'queries, up from their rank',
  attn_kv_a_mqa: 'latent and shared rotated key: what the cache holds',
  attn_kv_a_norm: 'norm of the latent',
  attn_kv_b: 'latent to keys and values, merged',
  attn_k_b: 'queries to the latent: the half for keys, transposed',
  attn_v_b: 'latent to values: the half for values',
  'indexer.attn_q_b': 'index queries',
  'indexer.attn_k': 'index keys',
  'indexer.k_norm': 'norm of the index key',
  'indexer.proj': 'weights of the index heads',
  ffn_norm: 'norm before the feed-forward part',
  ffn_gate: 'feed-forward, gate',
  ffn_up: 'feed-forward, up',
  ffn_down: 'feed-forward, down',
  ffn_gate_inp: 'router: scores of the experts',
  exp_probs_b: 'correction of the choice of experts',
  ffn_gate_exps: 'experts, gate',
  ffn_up_exps: 'experts, up',
  ffn_down_exps: 'experts, down',
  ffn_gate_shexp: 'shared experts, gate',
  ffn_up_shexp: 'shared experts, up',
  ffn_down_shexp: 'shared experts, down',
  'nextn.eh_proj': 'predictor: joins the hidden state and the next token',
  'nextn.enorm': "predictor: norm of the next token's embedding",
  'nextn.hnorm': 'predictor: norm of the hidden state',
  'nextn.embed_tokens': 'predictor: its own embedding of tokens',
  'nextn.shared_head_norm': 'predictor: norm before the head',
  'nextn.shared_head_head': 'predictor: its own head',
};

/**
 * What a tensor is for, or undefined where its name is not known. GGUF's names and those of Hugging Face folders.
 *
 * @example tensorWords('blk.61.nextn.eh_proj.weight') // 'predictor: joins the hidden state and the next token'
 */
export function tensorWords(name: string): string | undefined {
  const scales = /_scale_inv$/.test(name);
  const known = ggufName(name.replace(/_scale_inv$/, '')) ?? name;
  const words = WORDS[known.replace(/^blk\.\d+\./, '').replace(/\.(weight|bias)$/, '')];
  if (words === undefined) return undefined;
  if (scales) return `scales of: ${words}`;
  return /^blk\.\d+\.attn_.*\.bias$/.test(known) ? `${words}, bias` : words;
}

/** What a file has in one of several forms. */
export interface LayoutWords {
  /** How keys and values come from the latent; absent without latent attention. */
  readonly latent?: string;
  /** The layers that predict the token after the next (`nextn`); absent without them. */
  readonly predictor?: {
    readonly layers: readonly number[];
    readonly tensors: number;
    readonly bytes: number;
  };
}

/**
 * How a file lays out latent attention and the predictor.
 *
 * @example layoutWords(file).latent // 'keys and values split (attn_k_b, attn_v_b)'
 */
export function layoutWords({ tensors }: ModelFile): LayoutWords {
  const all = [...tensors.values()].map((tensor) => ({
    ...tensor,
    known: ggufName(tensor.name) ?? tensor.name,
  }));
  const has = (part: string) => all.some(({ known }) => known.endsWith(`.${part}.weight`));
  const forms = [
    ...(has('attn_kv_b') ? ['merged (attn_kv_b)'] : []),
    ...(has('attn_k_b') && has('attn_v_b') ? ['split (attn_k_b, attn_v_b)'] : []),
  ];
  const predicting = all.filter(({ known }) => known.includes('.nextn.')).map(({ name }) => layerOf(name));
  const layers = [...new Set(predicting)].sort((a, b) => a - b);
  const inLayers = all.filter(({ name }) => layers.includes(layerOf(name)));
  const bytes = inLayers.reduce((sum, tensor) => sum + tensor.bytes, 0);
  return {
    ...(forms.length === 0 ? {} : { latent: `keys and values ${forms.join(' and ')}` }),
    ...(layers.length === 0 ? {} : { predictor: { layers, tensors: inLayers.length, bytes } }),
  };
}

function layerOf(name: string): number {
  return Number(/^(?:blk|model\.layers)\.(\d+)\./.exec(name)?.[1] ?? -1);
}
