/**
 * Owns: storing cache rows, causal grouped-query attention over them, and which rows a batch row may see.
 * Refuses to know: who gives out pages, layers, models.
 */
import type { AttendOptions, Batch, CacheStore, Span, Tensor } from '../backend.ts';
import { readCacheRow, writeCacheRow } from './cache-rows.ts';
import { dot } from './linear.ts';
import { floats, type HeldCache, ints } from './storage.ts';

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

/** Softmax of scores[at .. at + n) in place. Example: `softmax(scores, 0, scores.length)`. */
export function softmax(scores: Float64Array, at: number, n: number): void {
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

/** Store rows of positions 0..positions[i] of the sequence of batch row i. Example: `cachedRows(batch, keys, 0)`. */
export function cachedRows(batch: Batch, cache: CacheStore, i: number): number[] {
  const pages = ints(batch.pages);
  const at = pages.start + sequence(batch, i) * pages.stride;
  const rows: number[] = [];
  for (let t = 0; t <= position(batch, i); t++) {
    rows.push(pages.data[at + Math.floor(t / cache.pageRows)]! * cache.pageRows + (t % cache.pageRows));
  }
  return rows;
}

/** The position of batch row i. Example: `position(batch, 0)`. */
export function position(batch: Batch, i: number): number {
  const of = ints(batch.positions);
  return of.data[of.start + i * of.stride]!;
}

/** The sequence of batch row i. Example: `sequence(batch, 0)`. */
export function sequence(batch: Batch, i: number): number {
  const of = ints(batch.sequences);
  return of.data[of.start + i * of.stride]!;
}
