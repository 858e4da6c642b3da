/**
 * Owns: how many bytes a cache row takes in each cache format, and how its blocks are laid out.
 * Refuses to know: pages, streams, models, how rows are used.
 *
 * F32, F16: numbers in order. Q8_0: GGUF's blocks in order, each an f16 scale and 32 signed bytes. F8_E4M3: first one
 * e4m3 byte for every number, then one E8M0 byte for every 32 numbers; a number is e4m3 * 2^(scale byte - 127), and the
 * scale is the smallest power of two that brings the largest magnitude of its 32 numbers to at most 448.
 */
import { HadalError } from '../error.ts';
import type { CacheDType } from './backend.ts';

/** Numbers that share a scale in the formats Q8_0 and F8_E4M3. */
export const CACHE_BLOCK = 32;

const BLOCK_BYTES: Readonly<Record<CacheDType, { readonly numbers: number; readonly bytes: number }>> = {
  F32: { numbers: 1, bytes: 4 },
  F16: { numbers: 1, bytes: 2 },
  Q8_0: { numbers: CACHE_BLOCK, bytes: 34 },
  F8_E4M3: { numbers: CACHE_BLOCK, bytes: 33 },
};

/**
 * Bytes of one cache row of `cols` numbers. Throws `shape` when the row is not made of whole blocks.
 *
 * @example cacheRowBytes('Q8_0', 576) // 612
 */
export function cacheRowBytes(dtype: CacheDType, cols: number): number {
  const { numbers, bytes } = BLOCK_BYTES[dtype];
  if (cols % numbers !== 0) {
    throw new HadalError('shape', {
      what: `a cache row in ${dtype}`,
      expected: `a multiple of ${numbers} numbers`,
      got: String(cols),
      next: 'choose F16 or F32 for the cache',
    });
  }
  return (cols / numbers) * bytes;
}
