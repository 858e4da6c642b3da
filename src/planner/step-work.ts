/**
 * Owns: what Hadal does for a token besides reading weights: regions, operations, numbers that each kind passes over.
 * Refuses to know: how long any of it takes (kernel-rates.ts), bytes of weights (subject.ts).
 *
 * It counts what src/model records: grouped-attention.ts, mla.ts, indexer.ts, feed-forward.ts, moe.ts, decoder.ts.
 */
import type { ModelConfig } from '../model/config.ts';

/** Work of one token through all layers. Numbers are of activations. */
export interface StepWork {
  /** Regions of all threads in which weights or the cache are read. */
  readonly regions: number;
  /** Operations of the waist. */
  readonly calls: number;
  readonly numbers: Readonly<Record<StepNumbers, number>>;
  /** Multiply-adds of attention with one attended token: of a prompt's rows, and of a row that is generated. */
  readonly attended: { readonly prompt: number; readonly generated: number };
  /** Multiply-adds of an indexer with one cached key. */
  readonly indexed: number;
  /** Multiply-adds that make keys and values of latents, for a prompt's row. */
  readonly expanded: number;
  readonly latent: boolean;
}

/** What activations go through. */
export type StepNumbers =
  /** Rounded for products with weights. */
  | 'rounded'
  /** Answers of products, put where they belong. */
  | 'placed'
  | 'normed'
  /** Rotated, and the columns that a token's cosines and sines are found for. */
  | 'rotated'
  | 'turned'
  | 'gated'
  /** Kept in the cache. */
  | 'kept'
  /** Scores of experts. */
  | 'routed'
  /** A token's heads, each of which weighs every attended token. */
  | 'heads'
  /** Logits that the best is picked of. */
  | 'picked';

/** Regions, operations and numbers of a part of a layer. */
interface Counted {
  readonly regions: number;
  readonly calls: number;
  readonly numbers: Partial<Record<StepNumbers, number>>;
}

/**
 * What a token of this model takes.
 *
 * @example stepWork(config).regions // 30 layers of 6, and the head
 */
export function stepWork(config: ModelConfig): StepWork {
  const { hidden, vocabSize, layers, attention: a, experts } = config;
  const dense = experts === undefined ? layers : Math.min(experts.leadingDense, layers);
  const parts: readonly (readonly [Counted, number])[] = [
    [a.kind === 'latent' ? latentPart(config) : groupedPart(config), layers],
    [densePart(config), dense],
    [expertsPart(config), layers - dense],
    [{ regions: 1, calls: 5, numbers: { rounded: hidden, normed: hidden, picked: vocabSize } }, 1],
  ];
  const numbers: Record<StepNumbers, number> = {
    rounded: 0,
    placed: 0,
    normed: 0,
    rotated: 0,
    turned: 0,
    gated: 0,
    kept: 0,
    routed: 0,
    heads: layers * a.heads,
    picked: 0,
  };
  let [regions, calls] = [0, 0];
  for (const [part, times] of parts) {
    regions += part.regions * times;
    calls += part.calls * times;
    for (const [what, count] of Object.entries(part.numbers)) numbers[what as StepNumbers] += count * times;
  }
  const all = layers * a.heads;
  const latent = a.kind === 'latent';
  const prompt = all * (latent ? a.nopeDim + a.ropeDim + a.valueDim : a.headDim + a.valueDim);
  return {
    regions,
    calls,
    numbers,
    attended: { prompt, generated: latent ? all * (2 * a.kvLora + a.ropeDim) : prompt },
    indexed: latent && a.indexer ? layers * a.indexer.heads * a.indexer.dim : 0,
    expanded: latent ? all * (a.nopeDim + a.valueDim) * a.kvLora : 0,
    latent,
  };
}

function groupedPart({ hidden, attention: a, rope, architecture }: ModelConfig): Counted {
  if (a.kind !== 'grouped') throw new Error('grouped attention was expected');
  const { heads, kvHeads, headDim, valueDim } = a;
  const normedHeads = architecture === 'qwen3' ? (heads + kvHeads) * headDim : 0;
  return {
    // Products for q, k and v, attention and its merging, the product of what was attended.
    regions: 4,
    calls: 8 + (normedHeads > 0 ? 2 : 0),
    numbers: {
      normed: hidden + normedHeads,
      rounded: hidden + heads * valueDim,
      placed: heads * headDim + kvHeads * (headDim + valueDim) + hidden,
      rotated: (heads + kvHeads) * rope.dim,
      turned: 2 * rope.dim,
      kept: kvHeads * (headDim + valueDim),
    },
  };
}

function latentPart({ hidden, attention: a }: ModelConfig): Counted {
  if (a.kind !== 'latent') throw new Error('latent attention was expected');
  const { heads, qLora = 0, kvLora, nopeDim, ropeDim, valueDim, indexer } = a;
  const index = indexer ? indexer.heads * indexer.dim + indexer.dim + indexer.heads : 0;
  return {
    // As above; and latent attention carries queries in, and values out.
    regions: 6 + (qLora > 0 ? 1 : 0) + (indexer ? 3 : 0),
    calls: 8 + (qLora > 0 ? 2 : 0) + (indexer ? 7 : 0),
    numbers: {
      normed: hidden + qLora + kvLora + (indexer?.dim ?? 0),
      rounded: (indexer ? 2 : 1) * (hidden + qLora) + heads * valueDim,
      placed: qLora + heads * (nopeDim + ropeDim) + kvLora + ropeDim + hidden + index,
      rotated: (heads + 1 + (indexer ? indexer.heads + 1 : 0)) * ropeDim,
      turned: (indexer ? 4 : 2) * ropeDim,
      kept: kvLora + ropeDim + (indexer?.dim ?? 0),
    },
  };
}

function densePart({ hidden, feedForward }: ModelConfig): Counted {
  return {
    regions: 2,
    calls: 3,
    numbers: {
      normed: hidden,
      rounded: hidden + feedForward,
      placed: 2 * feedForward + hidden,
      gated: feedForward,
    },
  };
}

function expertsPart({ hidden, experts }: ModelConfig): Counted {
  if (experts === undefined) return { regions: 0, calls: 0, numbers: {} };
  const { used, inter, shared } = experts;
  const always = shared * inter;
  return {
    regions: 3 + (always > 0 ? 2 : 0),
    calls: 4 + (always > 0 ? 2 : 0),
    numbers: {
      normed: hidden,
      rounded: used * (hidden + inter) + (always > 0 ? hidden + always : 0),
      placed: experts.experts + used * (2 * inter + hidden) + (always > 0 ? 2 * always + hidden : 0),
      gated: used * inter + always,
      routed: experts.experts,
    },
  };
}
