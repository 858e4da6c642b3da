/**
 * Owns: cutting a tensor that is read somewhere into pieces of rows that one thread encodes at a time.
 * Refuses to know: number types' layouts, threads, where pieces are written.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import { rowBytes } from '../dtypes/table.ts';
import type { ByteSource, ModelFile, TensorInfo } from '../formats/tensor-info.ts';
import type { EncodeJob } from './encode-job.ts';

/** Rows to be encoded, but for what they become. */
export type Rows = Omit<EncodeJob, 'to' | 'importance'>;

/** A stretch of a tensor's rows, in the order of the output. */
export interface Piece {
  /** Which matrix of a stack it belongs to. */
  readonly matrix: number;
  read(): Promise<Rows>;
}

/** A tensor of the model that is to be written. */
export interface SourceTensor {
  /** GGUF's name and order of dimensions. */
  readonly name: string;
  readonly shape: readonly number[];
  /** What its numbers are in now. */
  readonly dtype: DTypeName;
  pieces(): Iterable<Piece>;
}

/** Numbers in a piece: a few milliseconds of work for the quickest encoder, four megabytes as floats. */
const PIECE_NUMBERS = 1 << 20;

/** Rows [from, to) of a matrix in a file. */
export interface RowRange {
  readonly from: number;
  readonly to: number;
}

/**
 * The rows of a matrix in stretches of about a million numbers, each a multiple of `step` rows but the last.
 *
 * @example [...rowRanges(3000, 1024, 1)] // [{ from: 0, to: 1024 }, …]
 */
export function* rowRanges(rows: number, cols: number, step = 1): Generator<RowRange> {
  const wanted = Math.max(1, Math.floor(PIECE_NUMBERS / cols));
  const count = Math.max(step, Math.floor(wanted / step) * step);
  for (let from = 0; from < rows; from += count) yield { from, to: Math.min(rows, from + count) };
}

/**
 * Reads rows of a matrix that lies in a file as [matrices, rows, cols].
 *
 * @example await readRows(file, info, 0, { from: 0, to: 16 })
 */
export async function readRows(
  file: Pick<ModelFile, 'sources'>,
  { name, dtype, shape, source, offset }: TensorInfo,
  matrix: number,
  { from, to }: RowRange,
): Promise<Rows> {
  const [cols = 1, rows = 1] = shape;
  const stride = rowBytes(dtype, cols);
  const start = offset + (matrix * rows + from) * stride;
  const bytes = await (file.sources[source] as ByteSource).read(start, (to - from) * stride);
  return { name, bytes, from: dtype, cols, rows: to - from };
}

/**
 * A tensor that is written as it lies in a GGUF file.
 *
 * @example plainTensor(file, file.tensors.get('output.weight')!)
 */
export function plainTensor(file: ModelFile, info: TensorInfo): SourceTensor {
  const { name, shape, dtype } = info;
  const [cols = 1, rows = 1] = shape;
  const matrices = shape.slice(2).reduce((product, length) => product * length, 1);
  return {
    name,
    shape,
    dtype,
    *pieces() {
      for (let matrix = 0; matrix < matrices; matrix++) {
        for (const range of rowRanges(rows, cols))
          yield { matrix, read: () => readRows(file, info, matrix, range) };
      }
    },
  };
}
