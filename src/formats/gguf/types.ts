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
export const MOST_ALIGNMENT = 1 << 24;
/** Longest key and longest tensor name in bytes. */
export const MOST_KEY_BYTES = 65_535;
export const MOST_NAME_BYTES = 64;
export const MOST_DIMENSIONS = 4;

/**
 * What a header may hold, so that one made to mislead is refused before it takes memory. The largest headers known
 * (Gemma 3: 262,144 tokens, 514,906 merges) take half of it.
 */
export const MOST_HEADER_BYTES = 32 << 20;
export const MOST_TEXT_BYTES = 16 << 20;
/** Values of one list. */
export const MOST_VALUES = 1 << 20;
/** Texts of all lists together. */
export const MOST_TEXTS = 1 << 20;
/** Lists inside lists, in all. */
export const MOST_LISTS = 1 << 16;
export const MOST_PAIRS = 1 << 16;
export const MOST_TENSORS = 1 << 17;
/** Lists inside lists inside lists. */
export const MOST_DEPTH = 3;

/** Whether tensors may begin at multiples of this. Example: `isAlignment(32) // true`. */
export function isAlignment(value: unknown): value is number {
  if (typeof value !== 'number' || !Number.isInteger(value)) return false;
  return value >= 1 && value <= MOST_ALIGNMENT && (value & (value - 1)) === 0;
}
