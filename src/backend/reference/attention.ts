/**
 * Owns: cache rows and causal attention over them, grouped-query and latent.
 * Refuses to know: who gives out pages, layers, models.
 */
import type {
  AttendOptions,
  Batch,
  CacheStore,
  LatentAttendOptions,
  LatentWeights,
  Span,
  Tensor,
} from '../backend.ts';
import { readCacheRow, writeCacheRow } from './cache-rows.ts';
import { dot } from './linear.ts';
import { floats, type HeldCache, ints } from './storage.ts';
import { decodeRow } from './weights.ts';

/** See {@link Backend.store}. Example: `store(span, keys, k, batch.slots)`. */
export function store(span: Span, cache: CacheStore, x: Tensor, slots: Tensor): void {
  const from = floats(x); // [n, cols]
  const where = ints(slots); // [n]
  for (let i = 0; i < span.rows; i++) {
    const at = from.start + i * from.stride;
    const slot = where.data[where.start + i * where.stride]!;
    writeCacheRow(cache as HeldCache, slot, from.data.subarray(at, at + x.cols));
  }
}

/** See {@link Backend.attend}. Example: `attend(batch, out, q, keys, values, { heads: 9, kvHeads: 3, headDim: 64, valueDim: 64, scale: 0.125 })`. */
export function attend(
  batch: Batch,
  out: Tensor,
  q: Tensor,
  keys: CacheStore,
  values: CacheStore,
  { heads, kvHeads, headDim, valueDim, scale }: AttendOptions,
): void {
  const query = floats(q); // [n, heads * headDim]
  const to = floats(out); // [n, heads * valueDim]
  const key = new Float32Array(keys.cols); // [kvHeads * headDim]
  const value = new Float32Array(values.cols); // [kvHeads * valueDim]
  const sum = new Float64Array(heads * valueDim);
  const group = heads / kvHeads;
  for (let i = 0; i < batch.rows; i++) {
    const rows = cachedRows(batch, keys, i); // [t]
    const scores = new Float64Array(heads * rows.length); // [heads, t]
    const qAt = query.start + i * query.stride;
    rows.forEach((row, t) => {
      readCacheRow(keys as HeldCache, row, key);
      for (let h = 0; h < heads; h++) {
        const k = Math.floor(h / group) * headDim;
        scores[h * rows.length + t] = dot(query.data, qAt + h * headDim, key, k, headDim) * scale;
      }
    });
    for (let h = 0; h < heads; h++) softmax(scores, h * rows.length, rows.length);
    sum.fill(0);
    rows.forEach((row, t) => {
      readCacheRow(values as HeldCache, row, value);
      for (let h = 0; h < heads; h++) {
        const p = scores[h * rows.length + t]!;
        const v = Math.floor(h / group) * valueDim;
        for (let c = 0; c < valueDim; c++) {
          const s = h * valueDim + c;
          sum[s] = sum[s]! + p * value[v + c]!;
        }
      }
    });
    to.data.set(sum, to.start + i * to.stride);
  }
}

/** See {@link Backend.latentAttend}. Example: `latentAttend(batch, out, q, latents, { kvB }, options)`. */
export function latentAttend(
  batch: Batch,
  out: Tensor,
  q: Tensor,
  latents: CacheStore,
  weights: LatentWeights,
  options: LatentAttendOptions,
): void {
  const { heads, nopeDim, ropeDim, valueDim } = options;
  const query = floats(q); // [n, heads * (nope + rope)]
  const to = floats(out); // [n, heads * value]
  for (let i = 0; i < batch.rows; ) {
    // Neighbouring prompt rows of one sequence share their expanded keys.
    const next = i < batch.decodeRows ? i + 1 : endOfSequence(batch, i);
    const rows = cachedRows(batch, latents, longest(batch, i, next)); // [t]
    const cached = new Float32Array(rows.length * latents.cols); // [t, latent + rope]
    rows.forEach((row, t) => {
      readCacheRow(latents as HeldCache, row, cached.subarray(t * latents.cols, (t + 1) * latents.cols));
    });
    for (let h = 0; h < heads; h++) {
      const { up, value } = halves(weights, h, options); // [nope, latent], [value, latent]
      const expanded = i < batch.decodeRows ? undefined : expand(cached, rows.length, up, value, options);
      for (let n = i; n < next; n++) {
        const t = position(batch, n) + 1;
        const qAt = query.start + n * query.stride + h * (nopeDim + ropeDim);
        const head = query.data.subarray(qAt, qAt + nopeDim + ropeDim);
        const answer = expanded
          ? attendExpanded(head, expanded, cached, t, options)
          : attendAbsorbed(head, up, value, cached, t, options);
        to.data.set(answer, to.start + n * to.stride + h * valueDim);
      }
    }
    i = next;
  }
}

/** Keys and values of one head for t rows: [t, nope] and [t, value]. */
interface Expanded {
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** k = up c, v = value c for every cached latent c. */
function expand(
  cached: Float32Array,
  t: number,
  up: Float32Array,
  value: Float32Array,
  o: LatentAttendOptions,
): Expanded {
  const keys = new Float32Array(t * o.nopeDim);
  const values = new Float32Array(t * o.valueDim);
  for (let s = 0; s < t; s++) {
    const c = s * (o.latentDim + o.ropeDim);
    for (let r = 0; r < o.nopeDim; r++) {
      keys[s * o.nopeDim + r] = dot(cached, c, up, r * o.latentDim, o.latentDim);
    }
    for (let r = 0; r < o.valueDim; r++) {
      values[s * o.valueDim + r] = dot(cached, c, value, r * o.latentDim, o.latentDim);
    }
  }
  return { keys, values };
}

/** score = (q_nope . k + q_rope . k_rope) * scale; out = sum of p * v. */
function attendExpanded(
  head: Float32Array,
  { keys, values }: Expanded,
  cached: Float32Array,
  t: number,
  o: LatentAttendOptions,
): Float64Array {
  const width = o.latentDim + o.ropeDim;
  const scores = new Float64Array(t);
  for (let s = 0; s < t; s++) {
    const nope = dot(head, 0, keys, s * o.nopeDim, o.nopeDim);
    const rope = dot(head, o.nopeDim, cached, s * width + o.latentDim, o.ropeDim);
    scores[s] = (nope + rope) * o.scale;
  }
  softmax(scores, 0, t);
  return weightedSum(scores, values, o.valueDim, o.valueDim, t);
}

/** score = ((up^T q_nope) . c + q_rope . k_rope) * scale; out = value (sum of p * c). */
function attendAbsorbed(
  head: Float32Array,
  up: Float32Array,
  value: Float32Array,
  cached: Float32Array,
  t: number,
  o: LatentAttendOptions,
): Float64Array {
  const width = o.latentDim + o.ropeDim;
  const absorbed = new Float32Array(weightedSum(head, up, o.latentDim, o.latentDim, o.nopeDim)); // [latent]
  const scores = new Float64Array(t);
  for (let s = 0; s < t; s++) {
    const latent = dot(absorbed, 0, cached, s * width, o.latentDim);
    const rope = dot(head, o.nopeDim, cached, s * width + o.latentDim, o.ropeDim);
    scores[s] = (latent + rope) * o.scale;
  }
  softmax(scores, 0, t);
  const mean = new Float32Array(weightedSum(scores, cached, o.latentDim, width, t)); // [latent]
  const answer = new Float64Array(o.valueDim);
  for (let r = 0; r < o.valueDim; r++) answer[r] = dot(value, r * o.latentDim, mean, 0, o.latentDim);
  return answer;
}

/** sum over n of by[i] * rows[i * stride ..][0..cols). */
function weightedSum(
  by: ArrayLike<number>,
  rows: Float32Array,
  cols: number,
  stride: number,
  n: number,
): Float64Array {
  const sum = new Float64Array(cols);
  for (let i = 0; i < n; i++) {
    const p = by[i]!;
    for (let c = 0; c < cols; c++) sum[c] = sum[c]! + p * rows[i * stride + c]!;
  }
  return sum;
}

/** The key and value halves of head h of kv_b, both with rows of the latent's length. */
function halves(weights: LatentWeights, h: number, o: LatentAttendOptions) {
  const up = new Float32Array(o.nopeDim * o.latentDim);
  const value = new Float32Array(o.valueDim * o.latentDim);
  const row = (of: Float32Array, r: number) => of.subarray(r * o.latentDim, (r + 1) * o.latentDim);
  if ('kvB' in weights) {
    const first = h * (o.nopeDim + o.valueDim);
    for (let r = 0; r < o.nopeDim; r++) decodeRow(weights.kvB, 0, first + r, row(up, r));
    for (let r = 0; r < o.valueDim; r++) decodeRow(weights.kvB, 0, first + o.nopeDim + r, row(value, r));
    return { up, value };
  }
  const transposed = new Float32Array(o.nopeDim);
  for (let c = 0; c < o.latentDim; c++) {
    decodeRow(weights.kB, h, c, transposed);
    for (let r = 0; r < o.nopeDim; r++) up[r * o.latentDim + c] = transposed[r]!;
  }
  for (let r = 0; r < o.valueDim; r++) decodeRow(weights.vB, h, r, row(value, r));
  return { up, value };
}

/** Softmax of scores[at .. at + n) in place. */
function softmax(scores: Float64Array, at: number, n: number): void {
  let max = -Infinity;
  for (let t = 0; t < n; t++) max = Math.max(max, scores[at + t]!);
  let sum = 0;
  for (let t = 0; t < n; t++) {
    const e = Math.exp(scores[at + t]! - max);
    scores[at + t] = e;
    sum += e;
  }
  for (let t = 0; t < n; t++) scores[at + t] = scores[at + t]! / sum;
}

/** Store rows of positions 0..positions[i] of the sequence of batch row i. */
function cachedRows(batch: Batch, cache: CacheStore, i: number): number[] {
  const pages = ints(batch.pages);
  const at = pages.start + sequence(batch, i) * pages.stride;
  const rows: number[] = [];
  for (let t = 0; t <= position(batch, i); t++) {
    rows.push(pages.data[at + Math.floor(t / cache.pageRows)]! * cache.pageRows + (t % cache.pageRows));
  }
  return rows;
}

function position(batch: Batch, i: number): number {
  const of = ints(batch.positions);
  return of.data[of.start + i * of.stride]!;
}

function sequence(batch: Batch, i: number): number {
  const of = ints(batch.sequences);
  return of.data[of.start + i * of.stride]!;
}

function endOfSequence(batch: Batch, i: number): number {
  let end = i + 1;
  while (end < batch.rows && sequence(batch, end) === sequence(batch, i)) end++;
  return end;
}

/** The batch row of [from, to) that is furthest in its sequence. */
function longest(batch: Batch, from: number, to: number): number {
  let best = from;
  for (let i = from; i < to; i++) if (position(batch, i) > position(batch, best)) best = i;
  return best;
}
