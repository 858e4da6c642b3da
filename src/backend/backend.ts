/**
 * Owns: the waist between models and arithmetic: every operation, its shapes and its meaning.
 * Refuses to know: what a model is, files' formats, text; how an operation is carried out.
 *
 * Operations take handles and scalars only and return nothing; a backend may run them at once (reference) or record
 * them and run the whole step when something is read (native, WebGPU). Only `read` and `load` are asynchronous.
 *
 * The arithmetic contract: the bits of a row's result depend on the row's class alone. In every batch the rows of the
 * decode class come first: rows [0, decodeRows) are generated or drafted tokens, rows [decodeRows, rows) are prompt
 * tokens (prefill class). Within a class a row gets the same bits for any mix in the batch, any chunking and any number
 * of threads.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import type { ByteSource, TensorInfo } from '../formats/tensor-info.ts';

/** A block of activations or indices in the backend's memory: [rows, cols], row-major; a view has a larger stride. */
export interface Tensor {
  readonly id: number;
  readonly dtype: 'F32' | 'I32';
  readonly rows: number;
  readonly cols: number;
}

/** Weights kept in their file's number format: [experts, rows, cols]; `cols` is the row length (GGUF's shape[0]). */
export interface Weight {
  readonly id: number;
  readonly name: string;
  readonly dtype: DTypeName;
  readonly cols: number;
  readonly rows: number;
  readonly experts: number;
  /** Present when values are multiplied by a companion of scales: how many rows and columns share one. */
  readonly scaleBlock?: ScaleBlock;
}

/** The patch of a weight's matrix that shares one scale, e.g. 128 x 128 for DeepSeek's FP8 files. */
export interface ScaleBlock {
  readonly rows: number;
  readonly cols: number;
}

/** Number formats of a cache row; their layouts are in `cache-format.ts`. */
export type CacheDType = 'F32' | 'F16' | 'Q8_0' | 'F8_E4M3';

/** Paged storage of one cache stream: row r lives in page r / pageRows. Memory is touched only when written. */
export interface CacheStore {
  readonly id: number;
  readonly dtype: CacheDType;
  readonly pages: number;
  /** Rows in a page. */
  readonly pageRows: number;
  /** Numbers in a row. */
  readonly cols: number;
}

/** How many leading rows of the tensors an operation covers, decode class first. */
export interface Span {
  readonly rows: number;
  readonly decodeRows: number;
}

/** The ragged batch of one step. All index tensors are I32 with one column, but `pages`. */
export interface Batch extends Span {
  /** [rows] token ids. */
  readonly tokens: Tensor;
  /** [rows] position of each token in its sequence. */
  readonly positions: Tensor;
  /** [rows] which row of `pages` the token's sequence has. */
  readonly sequences: Tensor;
  /** [rows] row of the cache stores that the token's own cache rows go to (page * pageRows + offset). */
  readonly slots: Tensor;
  /** [sequences, maxPages] page numbers in position order. */
  readonly pages: Tensor;
  /** [outputSpan.rows] rows whose logits are wanted, decode class first. */
  readonly outputs: Tensor;
  readonly outputSpan: Span;
}

/**
 * One product of {@link Backend.matmul}: out = x * weight^T (+ bias) or, with `add`, out += that; or, with `gate`,
 * out = silu(x * gate^T) * (x * weight^T), the first half of a feed-forward layer (SwiGLU, arXiv 2002.05202).
 */
export interface Product {
  /** [rows=N, cols=K] of the weight: N outputs. */
  readonly weight: Weight;
  /** [n, N] */
  readonly out: Tensor;
  /** [1, N], F32. */
  readonly bias?: Weight;
  readonly add?: boolean;
  /** [N, K]; without `bias` and `add`. */
  readonly gate?: Weight;
}

export interface RopeOptions {
  readonly heads: number;
  /** Columns from one head to the next. */
  readonly headDim: number;
  /** First rotated column inside a head. */
  readonly offset: number;
  /** Rotated columns, even. */
  readonly ropeDim: number;
  /** norm: pairs (2i, 2i+1); neox: pairs (i, i + ropeDim/2). */
  readonly layout: 'norm' | 'neox';
  /** Factor on cos and sin (YaRN's attention factor), usually 1. */
  readonly magnitude: number;
}

export interface AttendOptions {
  readonly heads: number;
  readonly kvHeads: number;
  /** Columns of a head of q and k. */
  readonly headDim: number;
  /** Columns of a head of v and of the output. */
  readonly valueDim: number;
  /** Factor on q.k before the softmax. */
  readonly scale: number;
}

export interface LatentAttendOptions {
  readonly heads: number;
  /** Columns of a query head without rope (128) and with it (64): q is [n, heads * (nope + rope)]. */
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly valueDim: number;
  /** Columns of the latent (512); a cache row is [latent | roped shared key]. */
  readonly latentDim: number;
  readonly scale: number;
}

export interface PickOptions {
  readonly heads: number;
  /** Columns of an index head and of a cached index key. */
  readonly dim: number;
}

/** The two halves of kv_b, per head: merged as published, or split as newer GGUF files have it. */
export type LatentWeights =
  /** rows = heads * (nope + value), cols = latent: k rows first inside each head. */
  | { readonly kvB: Weight }
  /** kB: experts = heads, rows = latent, cols = nope (transposed); vB: experts = heads, rows = value, cols = latent. */
  | { readonly kB: Weight; readonly vB: Weight };

export interface RouteOptions {
  readonly scoring: 'softmax' | 'sigmoid' | 'sqrt-softplus';
  /** Experts chosen for a token: columns of ids and weights. */
  readonly used: number;
  /** 1 when ungrouped. */
  readonly groups: number;
  readonly groupsUsed: number;
  /** What a group is judged by: its best score (V2), or the sum of its two best (V3). */
  readonly groupScore: 'max' | 'top2';
  /** Divide the chosen scores by their sum. */
  readonly normalise: boolean;
  /** Factor on the weights, after normalising. */
  readonly scale: number;
}

export interface ExpertWeights {
  /** [E, inter, d] */
  readonly gate: Weight;
  /** [E, inter, d] */
  readonly up: Weight;
  /** [E, d, inter] */
  readonly down: Weight;
}

/** What a backend is and what it runs on, for `bench` and error messages. */
export interface BackendInfo {
  readonly name: 'reference' | 'native';
  /** `scalar`, `avx2`, `avx512`, `neon`, `neon-dotprod`; `javascript` for the reference. */
  readonly isa: string;
  readonly threads: number;
}

/** Reports bytes made ready so far while weights are loaded. */
export type LoadProgress = (doneBytes: number, totalBytes: number) => void;

/**
 * The waist. n = span.rows. Tensors may have more rows than the span; only the first n are touched.
 * Shapes that do not fit throw a HadalError with code `shape` when the operation is called.
 */
export interface Backend extends AsyncDisposable {
  readonly info: BackendInfo;

  // Memory -----------------------------------------------------------------------------------------------------------
  /** A zeroed tensor. Throws `out-of-memory` when it cannot be had. */
  tensor(dtype: Tensor['dtype'], rows: number, cols: number): Tensor;
  /** A view of columns [start, start + cols) of every row. */
  columns(of: Tensor, start: number, cols: number): Tensor;
  /** Lazily touched storage for `pages` pages; throws `out-of-memory`. */
  cache(dtype: CacheDType, pages: number, pageRows: number, cols: number): CacheStore;
  /** A copy of a page's bytes; not while a `read` is awaited. Between two reads nothing that is recorded has run yet. */
  readPage(store: CacheStore, page: number): Uint8Array;
  /** Puts back what {@link readPage} gave, on the same kind of backend. */
  writePage(store: CacheStore, page: number, bytes: Uint8Array): void;
  /**
   * Weights of tensors, mapped (native) or read (reference). They stay in their number format. Of those named in `apart` only
   * rows are wanted ({@link embed}): a backend may read them when they are, rather than hold the whole.
   */
  load(
    source: ByteSource,
    tensors: readonly TensorInfo[],
    onProgress?: LoadProgress,
    apart?: ReadonlySet<string>,
  ): Promise<Map<string, Weight>>;
  /** A weight from bytes in memory (rope frequencies, toy models); copied. */
  constant(name: string, dtype: DTypeName, shape: readonly number[], bytes: Uint8Array): Weight;
  /** A weight seen as [experts, rows, cols] of another split, same bytes in the same order. */
  reshape(weight: Weight, experts: number, rows: number, cols: number): Weight;
  /** One weight [parts.length, rows, cols] out of alike ones of one expert each (and one scaleBlock), in order; no bytes are copied, the parts stay usable. */
  stack(name: string, parts: readonly Weight[]): Weight;
  /**
   * The weight with scales: its value [e, r, c] is weight[e, r, c] * scales[e, floor(r / block.rows), floor(c / block.cols)];
   * scales F32 [experts, ceil(rows / block.rows), ceil(cols / block.cols)]. No bytes are copied; stack after scaling.
   */
  scaled(weight: Weight, scales: Weight, block: ScaleBlock): Weight;
  free(handle: Tensor | CacheStore | Weight): void;
  /** Copies `data` over the first data.length numbers of `to`. */
  write(to: Tensor, data: Float32Array | Int32Array): void;
  /** Runs what was recorded and returns the first `rows` rows. Rejects with `aborted` after {@link abort}. */
  read(from: Tensor, rows: number): Promise<Float32Array | Int32Array>;
  /** Bytes held now, by kind; of weights of which only rows are read as they are wanted, none. */
  memory(): { readonly weightBytes: number; readonly cacheBytes: number; readonly tensorBytes: number };

  // Control ----------------------------------------------------------------------------------------------------------
  /** A place in the program where an abort is noticed; models put one after each layer. */
  checkpoint(): void;
  /**
   * What `record` records and returns. Under a name that `of` had before, the same may be recorded again without calling
   * `record`: it has to depend on the two alone, and writes, reads and frees nothing.
   */
  again<T>(of: object, name: string, record: () => T): T;
  /**
   * Whether the calling thread is to stay free while a `read` computes; otherwise a backend may compute in it for as long
   * as a short step takes, after what waits for its turn then.
   */
  keepFree(wanted: boolean): void;
  /** Makes the running (or next) `read` stop, at the next checkpoint at the latest, and reject with code `aborted`. */
  abort(): void;

  // Operations -------------------------------------------------------------------------------------------------------
  /** out[i] = table[tokens[i]]: out [n, d], table [vocab, d], tokens I32 [n]. */
  embed(span: Span, out: Tensor, table: Weight, tokens: Tensor): void;
  /** Each run of weight.cols columns of x: out = x / sqrt(mean(x^2) + eps) * weight; x, out [n, m * weight.cols]; out may be x. */
  rmsNorm(span: Span, out: Tensor, x: Tensor, weight: Weight, eps: number): void;
  /** Each run of weight.cols columns of x: out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; x, out [n, m * weight.cols]; out may be x. */
  layerNorm(span: Span, out: Tensor, x: Tensor, weight: Weight, bias: Weight, eps: number): void;
  /** All products of one x [n, K] in one parallel region; each weight is [N, K]. */
  matmul(span: Span, x: Tensor, products: readonly Product[]): void;
  /** Rotates x [n, heads * headDim] in place by f32(position) * frequencies [1, ropeDim / 2]. */
  rope(span: Span, x: Tensor, positions: Tensor, frequencies: Weight, options: RopeOptions): void;
  /** Writes x [n, cols] into the cache rows slots[i], rounded to the cache's format. */
  store(span: Span, cache: CacheStore, x: Tensor, slots: Tensor): void;
  /** Causal grouped-query attention over cached rows 0..positions[i]: q [n, heads * headDim], out [n, heads * valueDim], keys [_, kvHeads * headDim], values [_, kvHeads * valueDim]. */
  attend(
    batch: Batch,
    out: Tensor,
    q: Tensor,
    keys: CacheStore,
    values: CacheStore,
    options: AttendOptions,
  ): void;
  /**
   * Latent attention over rows [latent | rope key]: absorbed for the decode class, expanded for the prefill class. out [n, heads * valueDim].
   * With `picks` (see {@link pickRows}) a row attends only to the positions in its row of it; where they leave some out, a
   * backend may take the absorbed form for a row of either class. A row that picks nothing gets no numbers.
   */
  latentAttend(
    batch: Batch,
    out: Tensor,
    q: Tensor,
    latents: CacheStore,
    weights: LatentWeights,
    options: LatentAttendOptions,
    picks?: Tensor,
  ): void;
  /**
   * V3.2's lightning indexer: picks[i] = the picks.cols positions t of 0..positions[i] with the largest
   * sum over heads of weights[i, h] * max(0, q[i, h] . keys[t]), ascending, ties to the lower t; all of them and then
   * -1 where there are fewer; -1 alone where they are more and a sum is no number. picks I32 [n, k], q [n, heads * dim], weights [n, heads], keys [_, dim].
   */
  pickRows(
    batch: Batch,
    picks: Tensor,
    q: Tensor,
    weights: Tensor,
    keys: CacheStore,
    options: PickOptions,
  ): void;
  /** out += x, both [n, m]. */
  add(span: Span, out: Tensor, x: Tensor): void;
  /** out[i] = x[rows[i]]: out [span.rows, m], rows I32 [span.rows]. */
  gather(span: Span, out: Tensor, x: Tensor, rows: Tensor): void;
  /** Chooses experts: logits [n, E], bias [1, E] (selection only), ids I32 [n, used], weights [n, used]; best first, ties to the lower id. */
  route(
    span: Span,
    ids: Tensor,
    weights: Tensor,
    logits: Tensor,
    bias: Weight | undefined,
    options: RouteOptions,
  ): void;
  /** out += sum over used of weights * down(silu(gate x) * up x): x, out [n, d]; ids I32, weights [n, used]. */
  experts(span: Span, out: Tensor, x: Tensor, ids: Tensor, weights: Tensor, experts: ExpertWeights): void;
  /** counts[0][id] += 1 for every chosen expert: counts I32 [1, E]. */
  countExperts(span: Span, counts: Tensor, ids: Tensor): void;
  /** out[i] = index of the largest of logits[i], lowest index on ties, -1 where one is NaN or the largest is infinite: out I32 [n, 1]. */
  argmax(span: Span, out: Tensor, logits: Tensor): void;
}
