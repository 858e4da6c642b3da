/**
 * Owns: the numbers of the safetensors format and the number types that it names.
 * Refuses to know: how a header is read or written.
 */
import type { DType } from '../../dtypes/dtype.ts';
import { DTYPES } from '../../dtypes/table.ts';

/** Bytes of the length before the header. */
export const LENGTH_BYTES = 8;
/** Longest header that readers of the format accept (reference: `MAX_HEADER_SIZE` of its Rust crate). */
export const MOST_HEADER_BYTES = 100_000_000;
/** Most tensors in one file: three times those of DeepSeek-V3 in all of its files. */
export const MOST_TENSORS = 1 << 18;
export const MOST_DIMENSIONS = 8;
/** The key of the texts about a file among its tensors. */
export const METADATA = '__metadata__';

/** The number type of that name in a safetensors file, or undefined. Example: `storable('BF16')?.blockBytes // 2`. */
export function storable(name: string): DType | undefined {
  return DTYPES.find((known) => known.name === name && known.blockElements === 1);
}

/** The names of all types that a safetensors file can hold here, for messages. */
export function storableNames(): string {
  return DTYPES.filter(({ blockElements }) => blockElements === 1)
    .map(({ name }) => name)
    .join(', ');
}
