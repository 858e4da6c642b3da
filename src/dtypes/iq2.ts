/**
 * Owns: IQ2_XXS, IQ2_XS and IQ2_S: points of a lattice in eight dimensions with signs, some two bits a value.
 * Refuses to know: other formats, the points themselves; tensors, files.
 */
import { blocks, meanSquare } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';
import { fitGrid, type GridKind, takeSigns } from './grid-fit.ts';
import { gridOf } from './grid-search.ts';
import { IQ2S, IQ2XS, IQ2XXS } from './iq-grids.ts';
import { evenSigns, writeEvenSigns, writePoint, writeScales } from './iq-lattice.ts';
import { weighted } from './weighting.ts';

const XXS: GridKind = { grid: gridOf(IQ2XXS), size: 32, unit: 0.125 };
const XS: GridKind = { grid: gridOf(IQ2XS), size: 16, unit: 0.125 };
const S: GridKind = { grid: gridOf(IQ2S), size: 16, unit: 0.125 };

/** y = d * (1/2 + scale) / 4 * coordinate. */
const stepOf = (d: number, scale: number) => d * (0.5 + scale) * 0.25;

/** f16 d; for every 32 values u8 point[4] and u32 w: four times seven bits of signs, four bits of scale. */
export const IQ2_XXS = blocks({
  name: 'IQ2_XXS',
  ggmlId: 16,
  blockElements: 256,
  blockBytes: 66,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let group = 0; group < 8; group++) {
      const from = at + 2 + group * 8;
      const w = src[from + 4]! | (src[from + 5]! << 8) | (src[from + 6]! << 16) | (src[from + 7]! << 24);
      const step = stepOf(d, w >>> 28);
      for (let l = 0; l < 4; l++) {
        const signs = evenSigns((w >>> (7 * l)) & 127);
        writePoint(dst, index + group * 32 + l * 8, XXS.grid, src[from + l]!, step, signs);
      }
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, meanSquare(src, index, 256), 'square');
    const signs = takeSigns(x, w, true);
    const { d, scales, entries } = fitGrid(x, w, XXS);
    writeScale(dst, at, d);
    for (let group = 0; group < 8; group++) {
      const four = [group * 4, group * 4 + 4] as const;
      dst.set(entries.subarray(...four), at + 2 + group * 8);
      writeEvenSigns(dst, at + 6 + group * 8, signs.subarray(...four), scales[group]!);
    }
  },
});

/** f16 d; u16 q[32]: nine bits of point, seven of signs; u8 scale[8], a nibble for every 16 values. */
export const IQ2_XS = blocks({
  name: 'IQ2_XS',
  ggmlId: 17,
  blockElements: 256,
  blockBytes: 74,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let k = 0; k < 32; k++) {
      const q = src[at + 2 + k * 2]! | (src[at + 3 + k * 2]! << 8);
      const step = stepOf(d, (src[at + 66 + (k >> 2)]! >> (k & 2 ? 4 : 0)) & 15);
      writePoint(dst, index + k * 8, XS.grid, q & 511, step, evenSigns(q >> 9));
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, meanSquare(src, index, 256), 'square');
    const signs = takeSigns(x, w, true);
    const { d, scales, entries } = fitGrid(x, w, XS);
    writeScale(dst, at, d);
    for (const [k, entry] of entries.entries()) {
      dst[at + 2 + k * 2] = entry & 255;
      dst[at + 3 + k * 2] = (entry >> 8) | (signs[k]! << 1);
    }
    writeScales(dst, at + 66, scales);
  },
});

/** f16 d; u8 q[32]; u8 signs[32]; u8 high[8], two bits more of each point; u8 scale[8], a nibble for every 16 values. */
export const IQ2_S = blocks({
  name: 'IQ2_S',
  ggmlId: 22,
  blockElements: 256,
  blockBytes: 82,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let k = 0; k < 32; k++) {
      const high = (src[at + 66 + (k >> 2)]! >> ((k & 3) * 2)) & 3;
      const step = stepOf(d, (src[at + 74 + (k >> 2)]! >> (k & 2 ? 4 : 0)) & 15);
      writePoint(dst, index + k * 8, S.grid, src[at + 2 + k]! | (high << 8), step, src[at + 34 + k]!);
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, 2 * meanSquare(src, index, 256), 'square');
    dst.set(takeSigns(x, w, false), at + 34);
    const { d, scales, entries } = fitGrid(x, w, S);
    writeScale(dst, at, d);
    for (const [k, entry] of entries.entries()) {
      dst[at + 2 + k] = entry & 255;
      dst[at + 66 + (k >> 2)]! |= (entry >> 8) << ((k & 3) * 2);
    }
    writeScales(dst, at + 74, scales);
  },
});
