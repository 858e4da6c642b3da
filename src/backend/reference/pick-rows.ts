/**
 * Owns: the lightning indexer's choice of cached rows.
 * Refuses to know: who attends to them, models.
 *
 * Source: DeepSeek-V3.2 (section 2.1). Scores are rounded to f32 before they are compared.
 */
import type { Batch, CacheStore, PickOptions, Tensor } from '../backend.ts';
import { cachedRows } from './attention.ts';
import { readCacheRow } from './cache-rows.ts';
import { dot } from './linear.ts';
import { floats, type HeldCache, ints } from './storage.ts';

/** See {@link Backend.pickRows}. Example: `pickRows(batch, picks, q, weights, keys, { heads: 64, dim: 128 })`. */
export function pickRows(
  batch: Batch,
  picks: Tensor,
  q: Tensor,
  weights: Tensor,
  keys: CacheStore,
  { heads, dim }: PickOptions,
): void {
  const to = ints(picks); // [n, k]
  const query = floats(q); // [n, heads * dim]
  const w = floats(weights); // [n, heads]
  const key = new Float32Array(dim);
  for (let i = 0; i < batch.rows; i++) {
    const scores = Float32Array.from(cachedRows(batch, keys, i), (row) => {
      readCacheRow(keys as HeldCache, row, key);
      let score = 0;
      for (let h = 0; h < heads; h++) {
        const match = dot(query.data, query.start + i * query.stride + h * dim, key, 0, dim);
        score += w.data[w.start + i * w.stride + h]! * Math.max(0, match);
      }
      return score;
    }); // [t]
    const broken = scores.length > picks.cols && scores.some(Number.isNaN);
    const best = (broken ? [] : Array.from(scores.keys()))
      .sort((a, b) => scores[b]! - scores[a]! || a - b)
      .slice(0, picks.cols)
      .sort((a, b) => a - b);
    const at = to.start + i * to.stride;
    to.data.fill(-1, at, at + picks.cols);
    to.data.set(best, at);
  }
}
