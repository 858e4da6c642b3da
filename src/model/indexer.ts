/**
 * Owns: V3.2's lightning indexer: which cached rows a token attends to.
 * Refuses to know: the attention over those rows, feed-forward layers.
 *
 * Source: DeepSeek-V3.2 (section 2.1). For each head h, q_h = rope(wq_b(c_q)) from the query's latent c_q, one key
 * k = rope(LayerNorm(wk(x))) for all heads, I(t, s) = sum over h of w_h(x_t) * ReLU(q_h(t) . k(s)). The published kernels
 * turn q and k by a Hadamard matrix, which no product sees, and round them to FP8; here they stay as they are. Constant
 * factors on the scores are left out: they choose no other rows.
 */
import type { Tensor } from '../backend/backend.ts';
import type { IndexerConfig, LatentConfig, ModelConfig } from './config.ts';
import type { Step, Workshop } from './decoder.ts';
import { ROPE_FREQUENCIES } from './grouped-attention.ts';
import { ropeMagnitude } from './rope.ts';
import type { TensorSpec, Weights } from './weights.ts';

/** The epsilon of the LayerNorm over index keys; config.json does not say it. */
const KEY_NORM_EPS = 1e-6;

/**
 * The indexer's recorded steps and where they put the positions: I32 [n, top_k]. `normed` must hold attn_norm(x) and
 * `queryLatent` attn_q_a_norm(attn_q_a(x)) when they run.
 *
 * @example const { picks, record } = buildIndexer(config, indexer, 'blk.0.', weights, workshop, qA.out)
 */
export function buildIndexer(
  { hidden, rope, attention }: ModelConfig,
  { heads, dim, topK }: IndexerConfig,
  blk: string,
  weights: Weights,
  { f32, i32, store }: Workshop,
  queryLatent: Tensor,
): { readonly picks: Tensor; readonly record: Step } {
  const { ropeDim } = attention as LatentConfig;
  const h = f32('normed', hidden);
  const q = f32('index q', heads * dim);
  const k = f32('index k', dim);
  const w = f32('index weights', heads);
  const picks = i32('picks', topK);
  const keys = store(`${blk}index`);
  const weight = (name: string) => weights.get(`${blk}indexer.${name}`);
  const queries = [{ weight: weight('attn_q_b.weight'), out: q }];
  const others = [
    { weight: weight('attn_k.weight'), out: k },
    { weight: weight('proj.weight'), out: w },
  ];
  const [kNorm, kNormBias] = [weight('k_norm.weight'), weight('k_norm.bias')];
  const frequencies = weights.get(ROPE_FREQUENCIES);
  // The indexer turns the halves of its first columns, unlike the attention beside it.
  const rotation = {
    headDim: dim,
    offset: 0,
    ropeDim,
    layout: 'neox',
    magnitude: ropeMagnitude(rope),
  } as const;
  return {
    picks,
    record(backend, batch) {
      backend.matmul(batch, queryLatent, queries); // [n, heads * dim]
      backend.matmul(batch, h, others); // [n, dim], [n, heads]
      backend.layerNorm(batch, k, k, kNorm, kNormBias, KEY_NORM_EPS);
      backend.rope(batch, q, batch.positions, frequencies, { heads, ...rotation });
      backend.rope(batch, k, batch.positions, frequencies, { heads: 1, ...rotation });
      backend.store(batch, keys, k, batch.slots);
      backend.pickRows(batch, picks, q, w, keys, { heads, dim }); // [n, top_k]
    },
  };
}

/** The indexer's tensors. Example: `indexerSpecs(config, indexer, 'blk.0.')`. */
export function indexerSpecs(
  { hidden, attention }: ModelConfig,
  { heads, dim }: IndexerConfig,
  blk: string,
): TensorSpec[] {
  const { qLora = 0 } = attention as LatentConfig;
  return [
    { name: `${blk}indexer.attn_q_b.weight`, shape: [qLora, heads * dim], part: 'attention' },
    { name: `${blk}indexer.attn_k.weight`, shape: [hidden, dim], part: 'attention' },
    { name: `${blk}indexer.k_norm.weight`, shape: [dim], part: 'norms' },
    { name: `${blk}indexer.k_norm.bias`, shape: [dim], part: 'norms' },
    { name: `${blk}indexer.proj.weight`, shape: [hidden, heads], part: 'attention' },
  ];
}
