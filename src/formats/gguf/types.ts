/**
 * Owns: the value types of GGUF's metadata: their ids and sizes; the numbers of its header.
 * Refuses to know: which keys exist, tensors' meaning.
 */

/** Names of GGUF's value types; the index is the id in the file (reference: ggml docs/gguf.md). */
export const VALUE_TYPES = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;

/** One of {@link VALUE_TYPES}. */
export type ValueType = (typeof VALUE_TYPES)[number];

/** Bytes of one value of each type of fixed size. */
export const VALUE_BYTES: Readonly<Partial<Record<ValueType, number>>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** `GGUF`, read as a little-endian number. */
export const MAGIC = 0x46554747;
export const DEFAULT_ALIGNMENT = 32;
/** Longest key and longest tensor name in bytes. */
export const MOST_KEY_BYTES = 65_535;
export const MOST_NAME_BYTES = 64;
export const MOST_DIMENSIONS = 4;
