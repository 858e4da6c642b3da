/**
 * Owns: plain numbers that files may hold but no kernel reads: integers and doubles, by their size alone.
 * Refuses to know: what they count.
 */
import type { DType, DTypeName } from './dtype.ts';

const sized = (name: DTypeName, ggmlId: number, blockBytes: number): DType => ({
  name,
  ggmlId,
  blockElements: 1,
  blockBytes,
});

/** Bytes as safetensors hold them; GGUF has no id for them. */
export const U8 = sized('U8', -1, 1);
/** Signed bytes; also two FP4 codes each in some checkpoints. */
export const I8 = sized('I8', 24, 1);
/** Signed 16-bit integers. */
export const I16 = sized('I16', 25, 2);
/** Signed 32-bit integers. */
export const I32 = sized('I32', 26, 4);
/** Signed 64-bit integers. */
export const I64 = sized('I64', 27, 8);
/** IEEE doubles. */
export const F64 = sized('F64', 28, 8);
