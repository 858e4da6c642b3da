/**
 * Owns: rotary position embedding of heads.
 * Refuses to know: where frequencies come from.
 */
import type { RopeOptions, Span, Tensor, Weight } from '../backend.ts';
import { floats, ints } from './storage.ts';
import { decodeAll } from './weights.ts';

/**
 * See {@link Backend.rope}. The angle is the f32 product of f32(position) and the frequency; its cosine and sine are
 * taken of that f32 and rounded to f32, then multiplied by the magnitude in f32.
 *
 * @example rope(span, q, positions, frequencies, { heads: 4, headDim: 64, offset: 0, ropeDim: 64, layout: 'norm', magnitude: 1 })
 */
export function rope(
  span: Span,
  x: Tensor,
  positions: Tensor,
  frequencies: Weight,
  { heads, headDim, offset, ropeDim, layout, magnitude }: RopeOptions,
): void {
  const at = floats(x); // [n, heads * headDim]
  const where = ints(positions); // [n]
  const perPair = decodeAll(frequencies); // [ropeDim / 2]
  const f32 = Math.fround;
  const half = ropeDim / 2;
  const [step, second] = layout === 'norm' ? [2, 1] : [1, half];
  for (let i = 0; i < span.rows; i++) {
    const position = f32(where.data[where.start + i * where.stride]!);
    for (let pair = 0; pair < half; pair++) {
      const angle = f32(position * perPair[pair]!);
      const cos = f32(f32(Math.cos(angle)) * f32(magnitude));
      const sin = f32(f32(Math.sin(angle)) * f32(magnitude));
      for (let h = 0; h < heads; h++) {
        const p = at.start + i * at.stride + h * headDim + offset + pair * step;
        const a = at.data[p]!;
        const b = at.data[p + second]!;
        at.data[p] = a * cos - b * sin;
        at.data[p + second] = a * sin + b * cos;
      }
    }
  }
}
