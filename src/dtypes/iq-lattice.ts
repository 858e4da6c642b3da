/**
 * Owns: what the IQ2 and IQ3 formats share: writing points with signs, seven-bit signs, scales of a nibble.
 * Refuses to know: block layouts.
 */
import type { Grid } from './grid-search.ts';

/** Eight signs of seven bits: bit j is set for a minus at j, and an eighth makes the number of minus signs even. */
export function evenSigns(seven: number): number {
  const four = seven ^ (seven >> 4);
  const two = four ^ (four >> 2);
  return seven | (((two ^ (two >> 1)) & 1) << 7);
}

/** Writes the coordinates of the point `entry`, times `scale`, minus where `signs` has a bit. */
export function writePoint(
  dst: Float32Array,
  index: number,
  { dimensions, points }: Grid,
  entry: number,
  scale: number,
  signs: number,
): void {
  for (let j = 0; j < dimensions; j++) {
    dst[index + j] = scale * points[entry * dimensions + j]! * ((signs >> j) & 1 ? -1 : 1);
  }
}

/** Writes four times seven bits of signs and four bits of scale at byte `at`. */
export function writeEvenSigns(dst: Uint8Array, at: number, signs: Uint8Array, scale: number): void {
  const [a, b, c, e] = signs.map((eight) => eight & 127);
  dst[at] = a! | (b! << 7);
  dst[at + 1] = (b! >> 1) | (c! << 6);
  dst[at + 2] = (c! >> 2) | (e! << 5);
  dst[at + 3] = (e! >> 3) | (scale << 4);
}

/** Writes the nibbles of scale of two groups in each byte from `at` on. */
export function writeScales(dst: Uint8Array, at: number, scales: Uint8Array): void {
  for (const [group, scale] of scales.entries()) dst[at + (group >> 1)]! |= scale << ((group & 1) * 4);
}
