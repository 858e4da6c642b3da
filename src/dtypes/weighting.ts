/**
 * Owns: what an error in each number of a block weighs while scales are searched.
 * Refuses to know: the search, block layouts.
 *
 * The weights are those of llama.cpp's quantization, so that errors of the two can be compared. Without an importance
 * matrix large numbers weigh more, by a rule of each format; with one, a column weighs by its importance and, less, by
 * the number's size beside that of its surroundings.
 */
import { type BlockImportance, meanSquare } from './blocks.ts';

/** How a number weighs when no importance is known. */
export type PlainWeight = 'magnitude' | 'square' | 'magnitude and mean of 32';

/**
 * The part of the mean square that every number weighs beside its own square. llama.cpp has none. It was chosen by
 * measurement: with it the search loses less than llama.cpp's in squares, and in the plain root mean square no more
 * either, but for IQ4 where a few numbers lie far out, which may lose some 0.6 % more.
 */
const SQUARE_FLOOR = 1.5;

/**
 * The numbers of a block, and their weights: importance * sqrt(surroundings + x^2), `surroundings` being a mean of
 * squares (undefined: importance alone); or the plain weight.
 */
export function weighted(
  src: Float32Array,
  index: number,
  count: number,
  importance: BlockImportance | undefined,
  surroundings: number | undefined,
  plain: PlainWeight,
): { x: Float64Array; w: Float64Array } {
  const x = Float64Array.from(src.subarray(index, index + count));
  if (importance) {
    const { weights } = importance;
    if (surroundings === undefined) return { x, w: Float64Array.from(weights) };
    return { x, w: x.map((value, i) => weights[i]! * Math.sqrt(surroundings + value * value)) };
  }
  if (plain === 'square') {
    const floor = SQUARE_FLOOR * meanSquare(src, index, count);
    return { x, w: x.map((value) => value * value + floor) };
  }
  if (plain === 'magnitude') return { x, w: x.map(Math.abs) };
  const w = new Float64Array(count);
  for (let from = 0; from < count; from += 32) {
    let sum = 0;
    for (let i = from; i < from + 32; i++) sum += x[i]! * x[i]!;
    const mean = Math.sqrt(sum / 32);
    for (let i = from; i < from + 32; i++) w[i] = mean + Math.abs(x[i]!);
  }
  return { x, w };
}
