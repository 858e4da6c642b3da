/**
 * Owns: what the engine may ask of a model: its limits, its cache streams, one forward pass.
 * Refuses to know: sequences, sampling, text, files.
 */
import type { Backend, Batch, CacheDType, CacheStore, Tensor } from '../backend/backend.ts';
import type { Predict } from './predictor.ts';

/** A kind of row that a model keeps for its tokens. The engine pages it; a page holds `pageTokens / tokensPerRow` rows. */
export interface CacheStream {
  /** e.g. `blk.3.k`. */
  readonly name: string;
  readonly layer: number;
  /** Numbers in a row. */
  readonly cols: number;
  /** Tokens that share a row: 1 but for compressed streams. */
  readonly tokensPerRow: number;
  /** Only this many newest tokens are ever read again. */
  readonly windowTokens?: number;
  /** The narrowest formats allowed: a stream that must stay exact lists only F32. */
  readonly dtypes: readonly CacheDType[];
}

/** One loaded model on one backend. */
export interface Model {
  /** `general.architecture` of the file. */
  readonly architecture: string;
  readonly vocabSize: number;
  /** Longest context that the model was made for. */
  readonly contextTokens: number;
  readonly layers: number;
  readonly streams: readonly CacheStream[];
  /** The streams of the block that predicts further tokens; none where the model has no such block. */
  readonly predictorStreams: readonly CacheStream[];
  /** Of all weights, those that are kept apart too. */
  readonly weightBytes: number;
  /** Multiply-adds per token that read weights, for GOP/s. */
  readonly multiplyAddsPerToken: number;
  /**
   * Makes scratch tensors for batches of at most `maxRows` rows and `maxOutputs` wanted logits. The result is
   * bound to the stores, in the order of `streams` and, to predict, `predictorStreams`.
   */
  prepare(
    stores: readonly CacheStore[],
    maxRows: number,
    maxOutputs: number,
    options?: PrepareOptions,
  ): Forward;
}

/** Options of {@link Model.prepare}. */
export interface PrepareOptions {
  /** Count how often every expert is chosen; off by default. */
  readonly countExperts?: boolean;
  /** Make the predictor ready, where the model has one; off by default. */
  readonly predict?: boolean;
}

/** Where choices of experts are counted. */
export interface ExpertCounts {
  /** Layers with experts, in order. */
  readonly layers: readonly number[];
  /** Experts of each layer. */
  readonly experts: number;
  /** I32 [1, layers.length * experts], added up over all steps; read it after a step. */
  readonly counts: Tensor;
}

/** A model with its scratch space. */
export interface Forward {
  /** Records or runs one step; the returned F32 tensor [batch.outputSpan.rows, vocabSize] holds the logits. */
  (backend: Backend, batch: Batch): Tensor;
  /** When {@link PrepareOptions.countExperts} is on and the model has experts. */
  readonly expertCounts?: ExpertCounts;
  /** When {@link PrepareOptions.predict} is on and the model has a predictor; it goes on from the last step. */
  readonly predict?: Predict;
  /** As the call itself, for other rows of the last step: those of `batch.outputs`. Before the predictor runs. */
  head(backend: Backend, batch: Pick<Batch, 'outputs' | 'outputSpan'>): Tensor;
  /** The hidden states of all rows of the last step, after the last norm: F32 [maxRows, hidden]. Right after that step. */
  states(backend: Backend, batch: Batch): Tensor;
}
