/**
 * Owns: what is done number by number or row by row, without weights to multiply: norms of both kinds, silu, add, gather, argmax.
 * Refuses to know: what the rows are.
 */
import type { Span, Tensor, Weight } from '../backend.ts';
import { floats, ints } from './storage.ts';
import { decodeAll } from './weights.ts';

/** See {@link Backend.rmsNorm}. Example: `rmsNorm(span, out, x, weight, 1e-6)`. */
export function rmsNorm(span: Span, out: Tensor, x: Tensor, weight: Weight, eps: number): void {
  const to = floats(out); // [n, m * cols]
  const from = floats(x); // [n, m * cols]
  const w = decodeAll(weight); // [cols]
  for (let i = 0; i < span.rows; i++) {
    for (let run = 0; run < x.cols; run += w.length) {
      const a = from.start + i * from.stride + run;
      const b = to.start + i * to.stride + run;
      let squares = 0;
      for (let c = 0; c < w.length; c++) squares += from.data[a + c]! * from.data[a + c]!;
      const scale = 1 / Math.sqrt(squares / w.length + eps);
      for (let c = 0; c < w.length; c++) to.data[b + c] = from.data[a + c]! * scale * w[c]!;
    }
  }
}

/** See {@link Backend.layerNorm}. Example: `layerNorm(span, k, k, weight, bias, 1e-6)`. */
export function layerNorm(
  span: Span,
  out: Tensor,
  x: Tensor,
  weight: Weight,
  bias: Weight,
  eps: number,
): void {
  const to = floats(out); // [n, m * cols]
  const from = floats(x); // [n, m * cols]
  const [w, b] = [decodeAll(weight), decodeAll(bias)]; // [cols]
  for (let i = 0; i < span.rows; i++) {
    for (let run = 0; run < x.cols; run += w.length) {
      const at = from.start + i * from.stride + run;
      const row = Float64Array.from(from.data.subarray(at, at + w.length));
      const mean = row.reduce((sum, v) => sum + v, 0) / w.length;
      const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / w.length;
      const scale = 1 / Math.sqrt(variance + eps);
      const normed = row.map((v, c) => (v - mean) * scale * w[c]! + b[c]!);
      to.data.set(normed, to.start + i * to.stride + run);
    }
  }
}

/** x * sigmoid(x). Example: `silu(0) === 0`. */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** See {@link Backend.add}. Example: `add(span, residual, x)`. */
export function add(span: Span, out: Tensor, x: Tensor): void {
  const to = floats(out); // [n, m]
  const from = floats(x); // [n, m]
  for (let i = 0; i < span.rows; i++) {
    for (let c = 0; c < out.cols; c++) {
      const at = to.start + i * to.stride + c;
      to.data[at] = to.data[at]! + from.data[from.start + i * from.stride + c]!;
    }
  }
}

/** See {@link Backend.gather}. Example: `gather(batch.outputSpan, last, x, batch.outputs)`. */
export function gather(span: Span, out: Tensor, x: Tensor, rows: Tensor): void {
  const to = floats(out); // [span.rows, m]
  const from = floats(x); // [_, m]
  const which = ints(rows); // [span.rows]
  for (let i = 0; i < span.rows; i++) {
    const a = from.start + which.data[which.start + i * which.stride]! * from.stride;
    const b = to.start + i * to.stride;
    for (let c = 0; c < out.cols; c++) to.data[b + c] = from.data[a + c]!;
  }
}

/** See {@link Backend.argmax}. Example: `argmax(span, best, logits)`. */
export function argmax(span: Span, out: Tensor, logits: Tensor): void {
  const to = ints(out); // [n, 1]
  const from = floats(logits); // [n, vocab]
  for (let i = 0; i < span.rows; i++) {
    const at = from.start + i * from.stride;
    const row = from.data.subarray(at, at + logits.cols); // [vocab]
    let best = 0;
    row.forEach((x, c) => {
      if (x > row[best]!) best = c;
    });
    const broken = row.some(Number.isNaN) || !Number.isFinite(row[best]);
    to.data[to.start + i * to.stride] = broken ? -1 : best;
  }
}
