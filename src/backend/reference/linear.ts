/**
 * Owns: products with weights: embed, matmul.
 * Refuses to know: what the weights are for.
 */
import type { Product, Span, Tensor, Weight } from '../backend.ts';
import { silu } from './rows.ts';
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
  for (const { weight, out, bias, add, gate } of products) {
    const to = floats(out); // [n, N]
    const biases = bias && decodeAll(bias); // [N]
    const at = (i: number, r: number) => to.start + i * to.stride + r;
    eachProduct(span, x, weight, (i, r, product) => {
      const y = product + (biases ? biases[r]! : 0);
      to.data[at(i, r)] = add ? to.data[at(i, r)]! + y : y;
    });
    if (!gate) continue;
    eachProduct(span, x, gate, (i, r, product) => {
      to.data[at(i, r)] = silu(Math.fround(product)) * to.data[at(i, r)]!;
    });
  }
}

/** Calls `take` for row i of x and row r of the weight, and their product. */
function eachProduct(
  span: Span,
  x: Tensor,
  weight: Weight,
  take: (i: number, r: number, product: number) => void,
): void {
  const from = floats(x); // [n, K]
  const { values } = weight as HeldWeight;
  const row = values ?? new Float32Array(weight.cols); // [N, K] or [K]
  for (let r = 0; r < weight.rows; r++) {
    const rowAt = values ? r * weight.cols : 0;
    if (!values) decodeRow(weight, 0, r, row);
    for (let i = 0; i < span.rows; i++) {
      take(i, r, dot(from.data, from.start + i * from.stride, row, rowAt, weight.cols));
    }
  }
}
