/**
 * Owns: turning the bytes of some rows from one number type into another, with scales, order and importance.
 * Refuses to know: threads, files, what the rows are.
 */
import type { RowsToEncode } from '../backend/native/encode.node.ts';
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype, rowBytes } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';

/** Some rows of one matrix, and what is to become of them. */
export interface EncodeJob {
  /** For messages. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly from: DTypeName;
  readonly to: DTypeName;
  /** Numbers in a row as it comes in. */
  readonly cols: number;
  readonly rows: number;
  /** A block-scaled matrix: its scales for these rows [ceil(rows / block rows), ceil(cols / block cols)]. */
  readonly scales?: {
    readonly values: Float32Array;
    readonly blockRows: number;
    readonly blockCols: number;
    /** Which row of its block the first row is. */
    readonly firstRow: number;
  };
  /** Rows of a head whose two halves rotate together and come out so that neighbours do: [2, h / 2] becomes [h / 2, 2]. */
  readonly interleavedRows?: number;
  /** The rows come out as columns: [cols, rows] of what came in. */
  readonly transposed?: boolean;
  /** How much an error in each column weighs: [cols]. */
  readonly importance?: Float32Array;
}

/** The rows in their new type, the same bytes whoever makes them; undefined where it does not know one of the types. */
export type RowEncoder = (rows: RowsToEncode) => Uint8Array<ArrayBuffer> | undefined;

/**
 * The rows in their new type. `encoder` is asked first; what it does not know is encoded here.
 *
 * @throws HadalError `tensor-not-finite` for NaN and infinities, which no quantized block can hold.
 * @example encodeRows({ name: 'x', bytes, from: 'BF16', to: 'Q8_0', cols: 576, rows: 64 })
 */
export function encodeRows(job: EncodeJob, encoder?: RowEncoder): Uint8Array<ArrayBuffer> {
  const { name, bytes, from, to, cols, rows, scales, interleavedRows, transposed, importance } = job;
  if (from === to && !scales && !transposed) {
    if (!interleavedRows) return Uint8Array.from(bytes);
    return interleave(bytes, new Uint8Array(bytes.length), rows, interleavedRows);
  }
  const weighed = importance ? { importance } : {};
  const { decode } = dtype(from);
  if (decode && !scales && !transposed && !interleavedRows) {
    const out = encoder?.({ name, bytes, from, to, cols, ...weighed });
    if (out) return out;
  }
  const { encode } = dtype(to);
  if (!decode || !encode) {
    throw new HadalError('dtype-not-encodable', {
      what: `tensor ${name}`,
      expected: `types that can be decoded and encoded`,
      got: `${from} to ${to}`,
      next: 'choose another type',
    });
  }
  let values: Float32Array<ArrayBuffer> = new Float32Array(rows * cols);
  decode(bytes, 0, values, 0, values.length);
  if (scales) applyScales(values, job, scales);
  if (interleavedRows) values = interleave(values, new Float32Array(values.length), rows, interleavedRows);
  if (transposed) values = transpose(values, rows, cols);
  const [outCols, outRows] = transposed ? [rows, cols] : [cols, rows];
  const plain: RowsToEncode = {
    name,
    bytes: new Uint8Array(values.buffer),
    from: 'F32',
    to,
    cols: outCols,
    ...weighed,
  };
  const made = encoder?.(plain);
  if (made) return made;
  demandFinite(name, values);
  const out = new Uint8Array(rowBytes(to, outCols) * outRows);
  encode(values, 0, out, 0, values.length, importance);
  return out;
}

function demandFinite(name: string, values: Float32Array): void {
  const odd = values.findIndex((value) => !Number.isFinite(value));
  if (odd < 0) return;
  throw new HadalError('tensor-not-finite', {
    what: `tensor ${name}`,
    expected: 'finite numbers',
    got: `${values[odd]}`,
    next: 'the file is damaged, or its training went wrong: fetch it again',
  });
}

function applyScales(
  values: Float32Array,
  { cols, rows }: EncodeJob,
  { values: scales, blockRows, blockCols, firstRow }: NonNullable<EncodeJob['scales']>,
): void {
  const perRow = Math.ceil(cols / blockCols);
  for (let row = 0; row < rows; row++) {
    const from = Math.floor((firstRow + row) / blockRows) * perRow;
    for (let col = 0; col < cols; col++) {
      const at = row * cols + col;
      values[at] = values[at]! * scales[from + Math.floor(col / blockCols)]!;
    }
  }
}

function transpose(values: Float32Array, rows: number, cols: number): Float32Array<ArrayBuffer> {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) turned[col * rows + row] = values[row * cols + col]!;
  }
  return turned;
}

/** Copies rows of numbers or of bytes into their new order; whole heads of `headRows`. */
function interleave<T extends Uint8Array | Float32Array>(
  from: Uint8Array | Float32Array,
  to: T,
  rows: number,
  headRows: number,
): T {
  const stride = from.length / rows;
  const half = headRows / 2;
  for (let row = 0; row < rows; row++) {
    const inside = row % headRows;
    const at = row - inside + (inside % half) * 2 + Math.floor(inside / half);
    to.set(from.subarray(row * stride, (row + 1) * stride), at * stride);
  }
  return to;
}
