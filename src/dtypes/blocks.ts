/**
 * Owns: turning the codec of one block into the codec of rows, and handing each block its part of an importance matrix.
 * Refuses to know: the layout of any block; tensors, files.
 */
import type { DType, DTypeName } from './dtype.ts';

/** What an importance matrix says of one block. */
export interface BlockImportance {
  /** [blockElements], how much an error in each column weighs. */
  readonly weights: Float32Array;
  /** Mean of the squares of the row that the block lies in. */
  readonly rowMeanSquare: number;
}

/** The layout of a format by one block: `at` is a byte, `index` a number. */
export interface BlockCodec {
  readonly name: DTypeName;
  readonly ggmlId: number;
  readonly blockElements: number;
  readonly blockBytes: number;
  decodeBlock(src: Uint8Array, at: number, dst: Float32Array, index: number): void;
  /** The bytes of the block are zero when it is called. */
  encodeBlock?(
    src: Float32Array,
    index: number,
    dst: Uint8Array,
    at: number,
    importance: BlockImportance | undefined,
  ): void;
}

/** A format of rows from the codec of its blocks. Example: `blocks({ name: 'Q8_0', blockElements: 32, … })` */
export function blocks(codec: BlockCodec): DType {
  const { name, ggmlId, blockElements, blockBytes } = codec;
  const { encodeBlock } = codec;
  const format: DType = {
    name,
    ggmlId,
    blockElements,
    blockBytes,
    decode(src, srcOffset, dst, dstOffset, elements) {
      for (let b = 0; b < elements / blockElements; b++) {
        codec.decodeBlock(src, srcOffset + b * blockBytes, dst, dstOffset + b * blockElements);
      }
    },
  };
  if (encodeBlock === undefined) return format;
  return {
    ...format,
    encode(src, srcOffset, dst, dstOffset, elements, importance) {
      const cols = importance?.length ?? elements;
      const weights = importance && withoutZeros(importance);
      dst.fill(0, dstOffset, dstOffset + (elements / blockElements) * blockBytes);
      for (let i = 0, rowMeanSquare = 0; i < elements; i += blockElements) {
        const col = i % cols;
        if (col === 0 && weights) rowMeanSquare = meanSquare(src, srcOffset + i, cols);
        encodeBlock(
          src,
          srcOffset + i,
          dst,
          dstOffset + (i / blockElements) * blockBytes,
          weights && { weights: weights.subarray(col, col + blockElements), rowMeanSquare },
        );
      }
    },
  };
}

/** The part of the largest weight that columns have which no calibration text reached, so that they are not lost. */
const LEAST = 1e-6;

/** Weights that are all positive; undefined when none is, for then nothing is known. */
function withoutZeros(importance: Float32Array): Float32Array | undefined {
  const least = LEAST * importance.reduce((most, weight) => (weight > most ? weight : most), 0);
  return least > 0 ? importance.map((weight) => (weight > least ? weight : least)) : undefined;
}

/** Mean of the squares of `count` numbers from `index` on. */
export function meanSquare(src: Float32Array, index: number, count: number): number {
  let sum = 0;
  for (let i = index; i < index + count; i++) sum += src[i]! * src[i]!;
  return sum / count;
}
