/**
 * Owns: multi-head latent attention over cached rows, absorbed and expanded, over all of them or those that were picked.
 * Refuses to know: who picks rows, who gives out pages, layers, models.
 */
import type { Batch, CacheStore, LatentAttendOptions, LatentWeights, Tensor } from '../backend.ts';
import { cachedRows, position, sequence, softmax } from './attention.ts';
import { readCacheRow } from './cache-rows.ts';
import { dot } from './linear.ts';
import { floats, type HeldCache, ints } from './storage.ts';
import { decodeRow } from './weights.ts';

/** See {@link Backend.latentAttend}. Example: `latentAttend(batch, out, q, latents, { kvB }, options)`. */
export function latentAttend(
  batch: Batch,
  out: Tensor,
  q: Tensor,
  latents: CacheStore,
  weights: LatentWeights,
  options: LatentAttendOptions,
  picks?: Tensor,
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
        const seen = picks ? picked(picks, n) : Array.from({ length: position(batch, n) + 1 }, (_, t) => t);
        const qAt = query.start + n * query.stride + h * (nopeDim + ropeDim);
        const head = query.data.subarray(qAt, qAt + nopeDim + ropeDim);
        const answer =
          seen.length === 0
            ? new Float64Array(valueDim).fill(Number.NaN)
            : expanded
              ? attendExpanded(head, expanded, cached, seen, options)
              : attendAbsorbed(head, up, value, cached, seen, options);
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
  seen: readonly number[],
  o: LatentAttendOptions,
): Float64Array {
  const width = o.latentDim + o.ropeDim;
  const scores = Float64Array.from(seen, (s) => {
    const nope = dot(head, 0, keys, s * o.nopeDim, o.nopeDim);
    const rope = dot(head, o.nopeDim, cached, s * width + o.latentDim, o.ropeDim);
    return (nope + rope) * o.scale;
  });
  softmax(scores, 0, scores.length);
  return weightedSum(scores, values, o.valueDim, o.valueDim, seen);
}

/** score = ((up^T q_nope) . c + q_rope . k_rope) * scale; out = value (sum of p * c). */
function attendAbsorbed(
  head: Float32Array,
  up: Float32Array,
  value: Float32Array,
  cached: Float32Array,
  seen: readonly number[],
  o: LatentAttendOptions,
): Float64Array {
  const width = o.latentDim + o.ropeDim;
  const nope = head.subarray(0, o.nopeDim);
  const absorbed = new Float32Array(weightedSum(nope, up, o.latentDim, o.latentDim)); // [latent]
  const scores = Float64Array.from(seen, (s) => {
    const latent = dot(absorbed, 0, cached, s * width, o.latentDim);
    const rope = dot(head, o.nopeDim, cached, s * width + o.latentDim, o.ropeDim);
    return (latent + rope) * o.scale;
  });
  softmax(scores, 0, scores.length);
  const mean = new Float32Array(weightedSum(scores, cached, o.latentDim, width, seen)); // [latent]
  const answer = new Float64Array(o.valueDim);
  for (let r = 0; r < o.valueDim; r++) answer[r] = dot(value, r * o.latentDim, mean, 0, o.latentDim);
  return answer;
}

/** sum over i of by[i] * rows[which[i] * stride ..][0..cols); row i itself without `which`. */
function weightedSum(
  by: ArrayLike<number>,
  rows: Float32Array,
  cols: number,
  stride: number,
  which?: readonly number[],
): Float64Array {
  const sum = new Float64Array(cols);
  for (let i = 0; i < by.length; i++) {
    const p = by[i]!;
    const at = (which ? which[i]! : i) * stride;
    for (let c = 0; c < cols; c++) sum[c] = sum[c]! + p * rows[at + c]!;
  }
  return sum;
}

/** The positions in row i of picks. */
function picked(picks: Tensor, i: number): number[] {
  const { data, start, stride } = ints(picks);
  return Array.from(data.subarray(start + i * stride, start + i * stride + picks.cols)).filter((t) => t >= 0);
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
