/**
 * Owns: what the IQ1, IQ2 and IQ3 formats share: lattice points as numbers, seven-bit signs.
 * Refuses to know: block layouts.
 */
import type { DigitTable } from './iq-grids.ts';

/** The coordinates of all points, one point after the other. */
export function points({ alphabet, digits }: DigitTable): Int8Array {
  return Int8Array.from(digits, (digit) => alphabet[Number(digit)]!);
}

/** Eight signs of seven bits: bit j is set for a minus at j, and an eighth makes the number of minus signs even. */
export function evenSigns(seven: number): number {
  const four = seven ^ (seven >> 4);
  const two = four ^ (four >> 2);
  return seven | (((two ^ (two >> 1)) & 1) << 7);
}

/** Writes `count` coordinates of the point `entry`, times `scale`, minus where `signs` has a bit. */
export function writePoint(
  dst: Float32Array,
  index: number,
  table: Int8Array,
  entry: number,
  count: number,
  scale: number,
  signs: number,
): void {
  for (let j = 0; j < count; j++) {
    dst[index + j] = scale * table[entry * count + j]! * ((signs >> j) & 1 ? -1 : 1);
  }
}
