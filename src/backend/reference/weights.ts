/**
 * Owns: what a weight is in the reference backend: bytes in their number format, views of them, rows decoded.
 * Refuses to know: which tensor of a model it is.
 */
import type { DType } from '../../dtypes/dtype.ts';
import { dtype } from '../../dtypes/table.ts';
import { HadalError } from '../../error.ts';
import type { ScaleBlock, Weight } from '../backend.ts';

/** The companion of block-scaled weights: value [r, c] is multiplied by `values[r / rows][c / cols]`. */
export interface HeldScales {
  /** [experts, ceil(weight.rows / rows), ceil(weight.cols / cols)] */
  readonly values: Float32Array;
  readonly rows: number;
  readonly cols: number;
  /** ceil(weight.cols / cols) */
  readonly perRow: number;
  /** ceil(weight.rows / rows) * perRow */
  readonly perExpert: number;
}

/** A weight and its bytes: one run of `rows * rowBytes` bytes for each expert. */
export interface HeldWeight extends Weight {
  readonly format: DType;
  readonly rowBytes: number;
  readonly parts: readonly Uint8Array[];
  readonly scales?: HeldScales;
  /** [experts * rows, cols]: all values, kept by a backend that has room for them. */
  readonly values?: Float32Array;
}

/**
 * A weight over bytes that hold [experts, rows, cols]; throws `dtype-unsupported` or `shape` when they cannot.
 *
 * @example heldWeight(1, 'output_norm.weight', 'F32', [576], bytes)
 */
export function heldWeight(
  id: number,
  name: string,
  of: Weight['dtype'],
  shape: readonly number[],
  bytes: Uint8Array,
): HeldWeight {
  const format = decodable(name, of);
  const [cols = 1, rows = 1, experts = 1] = shape;
  const rowBytes = (cols / format.blockElements) * format.blockBytes;
  const expertBytes = rows * rowBytes;
  if (cols % format.blockElements !== 0 || bytes.length !== experts * expertBytes || shape.length > 3) {
    throw new HadalError('shape', {
      what: `weight "${name}" of type ${of}`,
      expected: `the bytes of [${shape.join(', ')}]`,
      got: `${bytes.length} bytes`,
      next: 'check the file with `hadal inspect`',
    });
  }
  const parts = Array.from({ length: experts }, (_, e) =>
    bytes.subarray(e * expertBytes, (e + 1) * expertBytes),
  );
  return { id, name, dtype: of, cols, rows, experts, format, rowBytes, parts };
}

/** The same bytes as [experts, rows, cols]; the caller has checked the product. Example: `reshaped(2, w, 16, 512, 128)`. */
export function reshaped(
  id: number,
  weight: Weight,
  experts: number,
  rows: number,
  cols: number,
): HeldWeight {
  const { name, dtype: of, parts, values } = weight as HeldWeight;
  const first = parts[0]!;
  // The parts of a loaded weight follow one another in one buffer.
  const whole = new Uint8Array(
    first.buffer,
    first.byteOffset,
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  const view = heldWeight(id, name, of, [cols, rows, experts], whole);
  return values ? { ...view, values } : view;
}

/** The weight with its values decoded once and kept: four bytes a number, and several times faster to use. */
export function withValues(weight: HeldWeight): HeldWeight {
  return { ...weight, values: decodeAll(weight) };
}

/** One weight of many; scales are copied together. Example: `stacked(9, 'blk.1.ffn_up_exps.weight', ups)`. */
export function stacked(id: number, name: string, weights: readonly Weight[]): HeldWeight {
  const all = weights as readonly HeldWeight[];
  const { scales, values: _, ...first } = all[0]!;
  const parts = all.map((weight) => weight.parts[0]!);
  const stack: HeldWeight = { ...first, id, name, experts: all.length, parts };
  if (!scales) return stack;
  const values = new Float32Array(all.length * scales.perExpert);
  all.forEach((weight, e) => {
    values.set(weight.scales!.values, e * scales.perExpert);
  });
  return { ...stack, scales: { ...scales, values } };
}

/** The weight with a companion of scales. Example: `scaledBy(5, w, s, { rows: 128, cols: 128 })`. */
export function scaledBy(id: number, weight: Weight, scales: Weight, block: ScaleBlock): HeldWeight {
  const perRow = scales.cols;
  const perExpert = scales.rows * scales.cols;
  const companion: HeldScales = { values: decodeAll(scales), ...block, perRow, perExpert };
  const { values: _, ...unscaled } = weight as HeldWeight;
  return { ...unscaled, id, scaleBlock: block, scales: companion };
}

/** Decodes row `row` of expert `expert` into `into[0..cols)`, block scales applied. Example: `decodeRow(w, 0, 7, scratch)`. */
export function decodeRow(weight: Weight, expert: number, row: number, into: Float32Array): void {
  const { format, parts, rowBytes, rows, cols, scales, values } = weight as HeldWeight;
  if (values) {
    const at = (expert * rows + row) * cols;
    into.set(values.subarray(at, at + cols));
    return;
  }
  format.decode!(parts[expert]!, row * rowBytes, into, 0, cols);
  if (!scales) return;
  const from = expert * scales.perExpert + Math.floor(row / scales.rows) * scales.perRow;
  for (let c = 0; c < cols; c++) into[c] = into[c]! * scales.values[from + Math.floor(c / scales.cols)]!;
}

/** Decodes all of a small weight (a norm, a bias), row after row. Example: `decodeAll(norm)` is a Float32Array [rows * cols]. */
export function decodeAll(weight: Weight): Float32Array {
  const all = new Float32Array(weight.experts * weight.rows * weight.cols);
  for (let r = 0; r < weight.experts * weight.rows; r++) {
    decodeRow(
      weight,
      Math.floor(r / weight.rows),
      r % weight.rows,
      all.subarray(r * weight.cols, (r + 1) * weight.cols),
    );
  }
  return all;
}

/** The table's entry of a weight's number format; throws `dtype-unsupported` when it cannot be decoded. */
function decodable(name: string, of: Weight['dtype']): DType {
  const format = dtype(of);
  if (format.decode) return format;
  throw new HadalError('dtype-unsupported', {
    what: `weight "${name}"`,
    expected: 'a number format that can be decoded',
    got: of,
    next: 'convert the file to a format of the table in dtypes',
  });
}
