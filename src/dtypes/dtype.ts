/**
 * Owns: the shape of an entry in the table of number formats.
 * Refuses to know: files, tensors, models, kernels.
 */

/** Names as GGUF and safetensors write them; the table in `table.ts` has one entry for each. */
export type DTypeName =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'F8_E4M3'
  | 'F8_E8M0'
  | 'F64'
  | 'I8'
  | 'I16'
  | 'I32'
  | 'I64'
  | 'U8'
  | 'Q8_0'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'
  | 'IQ4_NL'
  | 'IQ4_XS'
  | 'MXFP4'
  | 'IQ2_XXS'
  | 'IQ2_XS'
  | 'IQ2_S'
  | 'IQ3_XXS'
  | 'IQ3_S'
  | 'IQ1_S'
  | 'IQ1_M'
  | 'TQ1_0'
  | 'TQ2_0';

/** Decodes whole blocks: `elements` values from `src` at byte `srcOffset` into `dst` at index `dstOffset`. */
export type Decode = (
  src: Uint8Array,
  srcOffset: number,
  dst: Float32Array,
  dstOffset: number,
  elements: number,
) => void;

/**
 * Encodes whole blocks: `elements` values from `src` at index `srcOffset` into `dst` at byte `dstOffset`. The
 * values are finite.
 *
 * `importance` [row length] says how much an error in each column of a row weighs; `elements` are then whole rows.
 * Formats that search for scales heed it, the others encode as without it.
 */
export type Encode = (
  src: Float32Array,
  srcOffset: number,
  dst: Uint8Array,
  dstOffset: number,
  elements: number,
  importance?: Float32Array,
) => void;

/** One number format. A value takes `blockBytes / blockElements` bytes; rows are whole blocks. */
export interface DType {
  readonly name: DTypeName;
  /** The id in a GGUF tensor table, or -1 where GGUF has none. */
  readonly ggmlId: number;
  readonly blockElements: number;
  readonly blockBytes: number;
  readonly decode?: Decode;
  readonly encode?: Encode;
}
