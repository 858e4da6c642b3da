/**
 * Owns: IQ3_XXS and IQ3_S: points of a lattice in four dimensions with signs, some three bits a value.
 * Refuses to know: other formats, the points themselves; tensors, files.
 */
import { blocks, meanSquare } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';
import { fitGrid, type GridKind, takeSigns } from './grid-fit.ts';
import { gridOf } from './grid-search.ts';
import { IQ3S, IQ3XXS } from './iq-grids.ts';
import { evenSigns, writeEvenSigns, writePoint, writeScales } from './iq-lattice.ts';
import { weighted } from './weighting.ts';

const XXS: GridKind = { grid: gridOf(IQ3XXS), size: 32, unit: 0.25 };
const S: GridKind = { grid: gridOf(IQ3S), size: 32, unit: 1 };

/** f16 d; u8 point[64]; u32 w[8]: four times seven bits of signs, four bits of scale; y = d * (1/2 + scale) / 2 * … */
export const IQ3_XXS = blocks({
  name: 'IQ3_XXS',
  ggmlId: 18,
  blockElements: 256,
  blockBytes: 98,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let group = 0; group < 8; group++) {
      const from = at + 66 + group * 4;
      const w = src[from]! | (src[from + 1]! << 8) | (src[from + 2]! << 16) | (src[from + 3]! << 24);
      const step = d * (0.5 + (w >>> 28)) * 0.5;
      for (let k = 0; k < 8; k++) {
        const signs = evenSigns((w >>> (7 * (k >> 1))) & 127) >> ((k & 1) * 4);
        writePoint(dst, index + group * 32 + k * 4, XXS.grid, src[at + 2 + group * 8 + k]!, step, signs);
      }
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, 2 * meanSquare(src, index, 256), 'square');
    const signs = takeSigns(x, w, true);
    const { d, scales, entries } = fitGrid(x, w, XXS);
    writeScale(dst, at, d);
    dst.set(entries, at + 2);
    for (let group = 0; group < 8; group++) {
      writeEvenSigns(dst, at + 66 + group * 4, signs.subarray(group * 4, group * 4 + 4), scales[group]!);
    }
  },
});

/** f16 d; u8 q[64]; u8 high[8], a bit more of each point; u8 signs[32]; u8 scale[4]; y = d * (1 + 2 * scale) * … */
export const IQ3_S = blocks({
  name: 'IQ3_S',
  ggmlId: 21,
  blockElements: 256,
  blockBytes: 110,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let k = 0; k < 64; k++) {
      const group = k >> 3;
      const high = (src[at + 66 + group]! >> (k & 7)) & 1;
      const signs = src[at + 74 + (k >> 1)]! >> ((k & 1) * 4);
      const step = d * (1 + 2 * ((src[at + 106 + (group >> 1)]! >> ((group & 1) * 4)) & 15));
      writePoint(dst, index + k * 4, S.grid, src[at + 2 + k]! | (high << 8), step, signs);
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, 2 * meanSquare(src, index, 256), 'square');
    dst.set(takeSigns(x, w, false), at + 74);
    const { d, scales, entries } = fitGrid(x, w, S);
    writeScale(dst, at, d);
    for (const [k, entry] of entries.entries()) {
      dst[at + 2 + k] = entry & 255;
      dst[at + 66 + (k >> 3)]! |= (entry >> 8) << (k & 7);
    }
    writeScales(dst, at + 106, scales);
  },
});
