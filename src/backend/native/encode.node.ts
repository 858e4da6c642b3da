/**
 * Owns: encoding rows in the addon, with the bytes that src/dtypes makes.
 * Refuses to know: threads, files, what the rows are.
 */
import type { DTypeName } from '../../dtypes/dtype.ts';
import { faults, loadAddon } from './addon.node.ts';

/** Rows in one format, to become another. */
export interface RowsToEncode {
  /** For messages. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly from: DTypeName;
  readonly to: DTypeName;
  readonly cols: number;
  /** [cols], see {@link import('../../dtypes/dtype.ts').Encode}. */
  readonly importance?: Float32Array;
}

const DECODED_ELSEWHERE: ReadonlySet<DTypeName> = new Set([
  'F64',
  'I8',
  'I16',
  'I32',
  'I64',
  'U8',
  'F8_E8M0',
]);

/**
 * The rows in their new format; undefined where the addon is not there or knows one of the formats not.
 *
 * @throws HadalError `tensor-not-finite`
 * @example encodeNatively({ name: 'x', bytes, from: 'BF16', to: 'Q8_0', cols: 576 })
 */
export function encodeNatively(rows: RowsToEncode, isa = ''): Uint8Array<ArrayBuffer> | undefined {
  const loaded = loadAddon();
  if ('problem' in loaded || DECODED_ELSEWHERE.has(rows.from)) return undefined;
  const { addon } = loaded;
  if (addon.encodes(rows.to) === 0) return undefined;
  const { name, from, bytes, to, cols, importance = new Float32Array(0) } = rows;
  return new Uint8Array(faults(() => addon.encode(isa, name, from, bytes, to, cols, importance)));
}
