/**
 * Owns: IQ4_NL and IQ4_XS: nibbles that name one of 16 levels, denser near zero.
 * Refuses to know: other formats, tensors, files.
 */
import { blocks, meanSquare } from './blocks.ts';
import { readF16, writeScale } from './floats.ts';
import { fitScale, inverseOf, levels, signed } from './scale-search.ts';
import { fitScaled } from './super-blocks.ts';
import { weighted } from './weighting.ts';

/** The levels are constants of ggml (MIT licence, the ggml authors). */
const LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;
const CODE = levels(LEVELS);
const SCALE_CODE = signed(32);
/** The nibble of a level, by level + 127. */
const NIBBLES = Uint8Array.from({ length: 241 }, (_, i) => {
  return LEVELS.filter((level) => level < i - 127).length;
});

/** Level of value `j` (0..31) of the 16 bytes at `at`: low nibbles first. */
const levelOf = (src: Uint8Array, at: number, j: number) =>
  LEVELS[(src[at + (j & 15)]! >> (j & 16 ? 4 : 0)) & 15]!;

/** Writes 32 values as nibbles into the 16 bytes at `at`. */
function writeLevels(dst: Uint8Array, at: number, x: Float64Array, from: number, step: number): void {
  const inverse = inverseOf(step);
  for (let j = 0; j < 32; j++) {
    const level = CODE.nearest(x[from + j]! * inverse);
    dst[at + (j & 15)]! |= NIBBLES[level + 127]! << (j & 16 ? 4 : 0);
  }
}

/** f16 d; u8 q[16]; y = d * level, in the order of Q4_0. */
export const IQ4_NL = blocks({
  name: 'IQ4_NL',
  ggmlId: 20,
  blockElements: 32,
  blockBytes: 18,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    for (let j = 0; j < 32; j++) dst[index + j] = d * levelOf(src, at + 2, j);
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 32, importance, 2 * meanSquare(src, index, 32), 'square');
    const d = writeScale(dst, at, fitScale(x, w, 0, 32, CODE));
    writeLevels(dst, at + 2, x, 0, d);
  },
});

/** f16 d; u16 high; u8 low[4]; u8 q[128]; y = d * (scale - 32) * level, a six-bit scale for every 32 values. */
export const IQ4_XS = blocks({
  name: 'IQ4_XS',
  ggmlId: 23,
  blockElements: 256,
  blockBytes: 136,
  decodeBlock(src, at, dst, index) {
    const d = readF16(src, at);
    const high = src[at + 2]! | (src[at + 3]! << 8);
    for (let group = 0; group < 8; group++) {
      const low = (src[at + 4 + (group >> 1)]! >> ((group & 1) * 4)) & 15;
      const scale = d * ((low | (((high >> (group * 2)) & 3) << 4)) - 32);
      for (let j = 0; j < 32; j++) {
        dst[index + group * 32 + j] = scale * levelOf(src, at + 8 + group * 16, j);
      }
    }
  },
  encodeBlock(src, index, dst, at, importance) {
    const { x, w } = weighted(src, index, 256, importance, 2 * meanSquare(src, index, 256), 'square');
    const { d, scales } = fitScaled({ x, w, size: 32 }, CODE, SCALE_CODE);
    writeScale(dst, at, d);
    for (let group = 0; group < 8; group++) {
      const scale = scales[group]! + 32;
      dst[at + 2 + (group >> 2)]! |= (scale >> 4) << ((group & 3) * 2);
      dst[at + 4 + (group >> 1)]! |= (scale & 15) << ((group & 1) * 4);
      writeLevels(dst, at + 8 + group * 16, x, group * 32, d * scales[group]!);
    }
  },
});
