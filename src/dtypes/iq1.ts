/**
 * Owns: IQ1_S and IQ1_M: points of -1, 0, 1 in eight dimensions, all moved a little up or down; under two bits a value.
 * Refuses to know: other formats, the points themselves; tensors, files.
 */
import { blocks, meanSquare } from './blocks.ts';
import { f16ToF32, f32ToF16, readF16, writeScale } from './floats.ts';
import { gridOf } from './grid-search.ts';
import { IQ1S } from './iq-grids.ts';
import { fitShifted } from './shifted-grid.ts';
import { weighted } from './weighting.ts';

const GRID = gridOf(IQ1S);
const POINTS = GRID.points;
const DELTA = 0.125;

/** Writes the point `entry` moved by `delta`, times `step`. */
function writeMoved(dst: Float32Array, index: number, entry: number, step: number, delta: number): void {
  for (let j = 0; j < 8; j++) dst[index + j] = step * (POINTS[entry * 8 + j]! + delta);
}

/**
 * f16 d; u8 q[32]; u16 high[8]: for every 32 values four times three bits more of a point, three bits of scale, and a
 * bit for minus delta; y = d * (2 * scale + 1) * (point ± 1/8).
 */
export const IQ1_S = blocks({
  name: 'IQ1_S',
  ggmlId: 19,
  blockElements: 256,
  blockBytes: 50,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let k = 0; k < 32; k++) {
      const from = at + 34 + (k >> 2) * 2;
      const high = src[from]! | (src[from + 1]! << 8);
      const step = d * (2 * ((high >> 12) & 7) + 1);
      const entry = src[at + 2 + k]! | (((high >> (3 * (k & 3))) & 7) << 8);
      writeMoved(dst, index + k * 8, entry, step, high & 0x8000 ? -DELTA : DELTA);
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, 2 * meanSquare(src, index, 256), 'square');
    const { d, scales, down, entries } = fitShifted(x, w, { grid: GRID, size: 32, run: 32, shift: DELTA });
    writeScale(dst, at, d);
    for (let group = 0; group < 8; group++) {
      let high = (scales[group]! << 12) | (down[group]! << 15);
      for (let l = 0; l < 4; l++) {
        const entry = entries[group * 4 + l]!;
        dst[at + 2 + group * 4 + l] = entry;
        high |= (entry >> 8) << (3 * l);
      }
      dst[at + 34 + group * 2] = high;
      dst[at + 35 + group * 2] = high >> 8;
    }
  },
});

/**
 * u8 q[32]; u8 high[16]: a nibble for every 8 values, three bits more of a point and one for minus delta; u16 c[4]: four
 * times three bits of scale, and a nibble of the block's f16 d; y = d * (2 * scale + 1) * (point ± 1/8).
 */
export const IQ1_M = blocks({
  name: 'IQ1_M',
  ggmlId: 29,
  blockElements: 256,
  blockBytes: 56,
  decodeBlock(src, at, dst, index) {
    const c = (i: number) => src[at + 48 + i * 2]! | (src[at + 49 + i * 2]! << 8);
    const d = f16ToF32((c(0) >> 12) | ((c(1) >> 12) << 4) | ((c(2) >> 12) << 8) | ((c(3) >> 12) << 12));
    for (let k = 0; k < 32; k++) {
      const nibble = (src[at + 32 + (k >> 1)]! >> ((k & 1) * 4)) & 15;
      const step = d * (2 * ((c(k >> 3) >> (3 * ((k >> 1) & 3))) & 7) + 1);
      writeMoved(dst, index + k * 8, src[at + k]! | ((nibble & 7) << 8), step, nibble & 8 ? -DELTA : DELTA);
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, 2 * meanSquare(src, index, 256), 'square');
    const { d, scales, down, entries } = fitShifted(x, w, { grid: GRID, size: 16, run: 8, shift: DELTA });
    for (const [k, entry] of entries.entries()) {
      dst[at + k] = entry;
      dst[at + 32 + (k >> 1)]! |= ((entry >> 8) | (down[k]! << 3)) << ((k & 1) * 4);
    }
    const half = f32ToF16(d);
    for (let i = 0; i < 4; i++) {
      let c = ((half >> (4 * i)) & 15) << 12;
      for (let j = 0; j < 4; j++) c |= scales[i * 4 + j]! << (3 * j);
      dst[at + 48 + i * 2] = c;
      dst[at + 49 + i * 2] = c >> 8;
    }
  },
});
