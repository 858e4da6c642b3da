/**
 * Owns: grouped-query attention with rope, as llama, qwen and DeepSeek's first MoE have it.
 * Refuses to know: feed-forward layers, the frame around it.
 *
 * Sources: Llama 2 (arXiv 2307.09288), Qwen2 (2407.10671; biases on q, k, v), Qwen3 (2505.09388; norms on the heads
 * of q and k).
 */
import type { Weight } from '../backend/backend.ts';
import type { GroupedConfig, ModelConfig } from './config.ts';
import type { Sublayer } from './decoder.ts';
import { ropeMagnitude, softmaxScale } from './rope.ts';
import { streamDtypes } from './streams.ts';
import type { TensorSpec } from './weights.ts';

/** The name of the frequencies that every attention shares; made at load time. */
export const ROPE_FREQUENCIES = 'rope.frequencies';

/** What qwen2 and qwen3 have beyond llama. */
export interface GroupedExtras {
  /** Biases on q, k and v: `required` (qwen2) or taken where the file has them. */
  readonly biases: 'required' | 'optional';
  /** RMS norms over each head of q and k before rope (qwen3). */
  readonly headNorms: boolean;
}

/**
 * Attention of one layer: x += attn_output(attend(rope(q), rope(k), v)) over attn_norm(x).
 *
 * @example groupedAttention(config, 0, { biases: 'optional', headNorms: false })
 */
export function groupedAttention(config: ModelConfig, layer: number, extras: GroupedExtras): Sublayer {
  const { heads, kvHeads, headDim, valueDim } = config.attention as GroupedConfig;
  const blk = `blk.${layer}.`;
  return {
    specs: groupedSpecs(config, blk, extras),
    streams: [stream(`${blk}k`, layer, kvHeads * headDim), stream(`${blk}v`, layer, kvHeads * valueDim)],
    build(weights, { x, f32, inner, store }) {
      const h = f32('normed', config.hidden);
      const q = inner(heads * headDim);
      const k = f32('k', kvHeads * headDim);
      const v = f32('v', kvHeads * valueDim);
      const a = f32('normed', heads * valueDim); // h, which is done with by then, where it is as wide
      const [keys, values] = [store(`${blk}k`), store(`${blk}v`)];
      const weight = (name: string) => weights.get(`${blk}${name}.weight`);
      const product = (name: string, out: typeof q) => {
        const bias = weights.find(`${blk}${name}.bias`);
        return { weight: weight(name), out, ...(bias ? { bias } : {}) };
      };
      const qkv = [product('attn_q', q), product('attn_k', k), product('attn_v', v)];
      const attnNorm = weight('attn_norm');
      const attnOutput = weight('attn_output');
      const headNorms: readonly (readonly [typeof q, Weight])[] = extras.headNorms
        ? [[q, weight('attn_q_norm')] as const, [k, weight('attn_k_norm')] as const]
        : [];
      const frequencies = weights.get(ROPE_FREQUENCIES);
      const { dim: ropeDim, layout } = config.rope;
      const rotation = { headDim, offset: 0, ropeDim, layout, magnitude: ropeMagnitude(config.rope) };
      const scale = softmaxScale(headDim, config.rope);
      return (backend, batch) => {
        backend.rmsNorm(batch, h, x, attnNorm, config.normEps); // [n, d]
        backend.matmul(batch, h, qkv); // [n, H*hd], [n, KV*hd], [n, KV*vd]
        for (const [of, norm] of headNorms) backend.rmsNorm(batch, of, of, norm, config.normEps);
        backend.rope(batch, q, batch.positions, frequencies, { heads, ...rotation });
        backend.rope(batch, k, batch.positions, frequencies, { heads: kvHeads, ...rotation });
        backend.store(batch, keys, k, batch.slots);
        backend.store(batch, values, v, batch.slots);
        backend.attend(batch, a, q, keys, values, { heads, kvHeads, headDim, valueDim, scale }); // [n, H*vd]
        backend.matmul(batch, a, [{ weight: attnOutput, out: x, add: true }]); // [n, d]
      };
    },
  };
}

function stream(name: string, layer: number, cols: number) {
  return { name, layer, cols, tokensPerRow: 1, dtypes: streamDtypes(cols) };
}

function groupedSpecs(config: ModelConfig, blk: string, { biases, headNorms }: GroupedExtras): TensorSpec[] {
  const { hidden, attention } = config;
  const { heads, kvHeads, headDim, valueDim } = attention as GroupedConfig;
  const out = { attn_q: heads * headDim, attn_k: kvHeads * headDim, attn_v: kvHeads * valueDim };
  const specs: TensorSpec[] = [{ name: `${blk}attn_norm.weight`, shape: [hidden], part: 'norms' }];
  for (const [name, rows] of Object.entries(out)) {
    specs.push({ name: `${blk}${name}.weight`, shape: [hidden, rows], part: 'attention' });
    const optional = biases === 'optional';
    specs.push({ name: `${blk}${name}.bias`, shape: [rows], part: 'attention', optional });
  }
  if (headNorms) {
    specs.push({ name: `${blk}attn_q_norm.weight`, shape: [headDim], part: 'norms' });
    specs.push({ name: `${blk}attn_k_norm.weight`, shape: [headDim], part: 'norms' });
  }
  specs.push({ name: `${blk}attn_output.weight`, shape: [heads * valueDim, hidden], part: 'attention' });
  return specs;
}
