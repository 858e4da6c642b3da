/**
 * Owns: multi-head latent attention: V2, V2-Lite, V3, R1; with the lightning indexer V3.2.
 * Refuses to know: feed-forward layers, which of its two forms a backend takes for a row.
 *
 * Source: DeepSeek-V2 (arXiv 2405.04434, section 2.1) and DeepSeek-V3's inference/model.py. The cache holds one row
 * a token: the normed latent c and the roped key k_r that all heads share.
 */
import type { LatentWeights } from '../backend/backend.ts';
import type { LatentConfig, ModelConfig } from './config.ts';
import type { Sublayer } from './decoder.ts';
import { ROPE_FREQUENCIES } from './grouped-attention.ts';
import { buildIndexer, indexerSpecs } from './indexer.ts';
import type { CacheStream } from './model.ts';
import { ropeMagnitude, softmaxScale } from './rope.ts';
import { streamDtypes } from './streams.ts';
import type { TensorSpec, Weights } from './weights.ts';

/** Whether kv_b is one matrix (as published, older GGUF files) or split into its transposed key half and its value half. */
export type LatentLayout = 'merged' | 'split';

/**
 * Attention of one layer: x += attn_output(latent attention over attn_norm(x)).
 *
 * @example latentAttention(config, 0, 'split')
 */
export function latentAttention(config: ModelConfig, layer: number, layout: LatentLayout): Sublayer {
  const { hidden, normEps, rope } = config;
  const { heads, qLora, kvLora, nopeDim, ropeDim, valueDim, indexer } = config.attention as LatentConfig;
  const blk = `blk.${layer}.`;
  const headDim = nopeDim + ropeDim;
  const cols = kvLora + ropeDim;
  return {
    specs: [...latentSpecs(config, blk, layout), ...(indexer ? indexerSpecs(config, indexer, blk) : [])],
    streams: [
      stream(`${blk}latent`, layer, cols),
      ...(indexer ? [stream(`${blk}index`, layer, indexer.dim)] : []),
    ],
    build(weights, workshop) {
      const { backend: memory, x, f32, inner, store } = workshop;
      const h = f32('normed', hidden);
      const q = inner(heads * headDim);
      const kv = f32('latent', cols); // [c | k_r]
      const c = memory.columns(kv, 0, kvLora);
      const kR = memory.columns(kv, kvLora, ropeDim);
      const a = f32('normed', heads * valueDim); // h, which is done with by then, where it is as wide
      const latents = store(`${blk}latent`);
      const weight = (name: string) => weights.get(`${blk}${name}.weight`);
      const attnNorm = weight('attn_norm');
      const kvA = { weight: weight('attn_kv_a_mqa'), out: kv };
      const kvANorm = weight('attn_kv_a_norm');
      const attnOutput = { weight: weight('attn_output'), out: x, add: true };
      const qA = qLora && { weight: weight('attn_q_a'), out: f32('q latent', qLora) };
      const qANorm = qLora && weight('attn_q_a_norm');
      const qB = { weight: weight(qLora ? 'attn_q_b' : 'attn_q'), out: q };
      const kvB = latentWeights(weights, blk, layout);
      const frequencies = weights.get(ROPE_FREQUENCIES);
      const rotation = { ropeDim, layout: rope.layout, magnitude: ropeMagnitude(rope) };
      const scale = softmaxScale(headDim, rope);
      const shape = { heads, nopeDim, ropeDim, valueDim, latentDim: kvLora, scale };
      const index = indexer && qA ? buildIndexer(config, indexer, blk, weights, workshop, qA.out) : undefined;
      return (backend, batch) => {
        const { positions, slots } = batch;
        backend.rmsNorm(batch, h, x, attnNorm, normEps); // [n, d]
        if (qA && qANorm) {
          backend.matmul(batch, h, [qA, kvA]); // [n, q_lora], [n, kv_lora + rope]
          backend.rmsNorm(batch, qA.out, qA.out, qANorm, normEps);
          backend.matmul(batch, qA.out, [qB]); // [n, H * (nope + rope)]
        } else {
          backend.matmul(batch, h, [qB, kvA]);
        }
        backend.rmsNorm(batch, c, c, kvANorm, normEps); // [n, kv_lora]
        backend.rope(batch, q, positions, frequencies, { heads, headDim, offset: nopeDim, ...rotation });
        backend.rope(batch, kR, positions, frequencies, {
          heads: 1,
          headDim: ropeDim,
          offset: 0,
          ...rotation,
        });
        backend.store(batch, latents, kv, slots);
        index?.record(backend, batch); // [n, top_k]
        backend.latentAttend(batch, a, q, latents, kvB, shape, index?.picks); // [n, H * value]
        backend.matmul(batch, a, [attnOutput]); // [n, d]
      };
    },
  };
}

function stream(name: string, layer: number, cols: number): CacheStream {
  return { name, layer, cols, tokensPerRow: 1, dtypes: streamDtypes(cols) };
}

function latentWeights(weights: Weights, blk: string, layout: LatentLayout): LatentWeights {
  if (layout === 'merged') return { kvB: weights.get(`${blk}attn_kv_b.weight`) };
  return { kB: weights.get(`${blk}attn_k_b.weight`), vB: weights.get(`${blk}attn_v_b.weight`) };
}

function latentSpecs(config: ModelConfig, blk: string, layout: LatentLayout): TensorSpec[] {
  const { hidden } = config;
  const { heads, qLora, kvLora, nopeDim, ropeDim, valueDim } = config.attention as LatentConfig;
  const qRows = heads * (nopeDim + ropeDim);
  const attention = (name: string, ...shape: number[]): TensorSpec => {
    return { name: `${blk}${name}.weight`, shape, part: 'attention' };
  };
  const norm = (name: string, cols: number): TensorSpec => {
    return { name: `${blk}${name}.weight`, shape: [cols], part: 'norms' };
  };
  return [
    norm('attn_norm', hidden),
    ...(qLora
      ? [
          attention('attn_q_a', hidden, qLora),
          norm('attn_q_a_norm', qLora),
          attention('attn_q_b', qLora, qRows),
        ]
      : [attention('attn_q', hidden, qRows)]),
    attention('attn_kv_a_mqa', hidden, kvLora + ropeDim),
    norm('attn_kv_a_norm', kvLora),
    ...(layout === 'merged'
      ? [attention('attn_kv_b', kvLora, heads * (nopeDim + valueDim))]
      : [attention('attn_k_b', nopeDim, kvLora, heads), attention('attn_v_b', kvLora, valueDim, heads)]),
    attention('attn_output', heads * valueDim, hidden),
  ];
}
