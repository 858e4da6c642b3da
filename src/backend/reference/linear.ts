/**
 * Owns: products with weights: embed, matmul.
 * Refuses to know: what the weights are for.
 */
import type { Product, Span, Tensor, Weight } from '../backend.ts';
import { floats, ints } from './storage.ts';
import { decodeAll, decodeRow, type HeldWeight } from './weights.ts';

/** Sum of a[aStart + i] * b[bStart + i] over n, in four running sums of 64 bits. Example: `dot(x, 0, w, 0, 576)`. */
export function dot(a: Float32Array, aStart: number, b: Float32Array, bStart: number, n: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const whole = n - (n % 4);
  let i = 0;
  for (; i < whole; i += 4) {
    s0 += a[aStart + i]! * b[bStart + i]!;
    s1 += a[aStart + i + 1]! * b[bStart + i + 1]!;
    s2 += a[aStart + i + 2]! * b[bStart + i + 2]!;
    s3 += a[aStart + i + 3]! * b[bStart + i + 3]!;
  }
  for (; i < n; i++) s0 += a[aStart + i]! * b[bStart + i]!;
  return s0 + s1 + (s2 + s3);
}

/** See {@link Backend.embed}. Example: `embed(span, out, table, tokens)`. */
export function embed(span: Span, out: Tensor, table: Weight, tokens: Tensor): void {
  const to = floats(out); // [n, d]
  const ids = ints(tokens); // [n]
  for (let i = 0; i < span.rows; i++) {
    const at = to.start + i * to.stride;
    decodeRow(table, 0, ids.data[ids.start + i * ids.stride]!, to.data.subarray(at, at + table.cols));
  }
}

/** See {@link Backend.matmul}. Example: `matmul(span, x, [{ weight, out }])`. */
export function matmul(span: Span, x: Tensor, products: readonly Product[]): void {
  const from = floats(x); // [n, K]
  for (const { weight, out, bias, add } of products) {
    const to = floats(out); // [n, N]
    const biases = bias && decodeAll(bias); // [N]
    const { values } = weight as HeldWeight;
    const row = values ?? new Float32Array(weight.cols); // [N, K] or [K]
    for (let r = 0; r < weight.rows; r++) {
      const rowAt = values ? r * weight.cols : 0;
      if (!values) decodeRow(weight, 0, r, row);
      for (let i = 0; i < span.rows; i++) {
        const at = to.start + i * to.stride + r;
        const y =
          dot(from.data, from.start + i * from.stride, row, rowAt, weight.cols) + (biases ? biases[r]! : 0);
        to.data[at] = add ? to.data[at]! + y : y;
      }
    }
  }
}
