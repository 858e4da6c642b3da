/**
 * Owns: what the reference backend's handles stand for: typed arrays and bytes in JavaScript memory.
 * Refuses to know: operations, models, files.
 */
import { HadalError } from '../../error.ts';
import type { CacheDType, CacheStore, Tensor } from '../backend.ts';
import { cacheRowBytes } from '../cache-format.ts';

/** A tensor and its numbers: row i begins at `data[start + i * stride]`. */
export interface HeldTensor extends Tensor {
  readonly data: Float32Array | Int32Array;
  readonly start: number;
  readonly stride: number;
}

/** A cache store and its bytes; zero pages are given out by the system, so untouched pages cost nothing. */
export interface HeldCache extends CacheStore {
  readonly rowBytes: number;
  readonly bytes: Uint8Array;
}

/** Numbers of an F32 tensor. Example: `floats(out).data[0] = 1`. */
export function floats(tensor: Tensor): { data: Float32Array; start: number; stride: number } {
  return held(tensor, 'F32') as HeldTensor & { data: Float32Array };
}

/** Numbers of an I32 tensor. Example: `ints(tokens).data[0]`. */
export function ints(tensor: Tensor): { data: Int32Array; start: number; stride: number } {
  return held(tensor, 'I32') as HeldTensor & { data: Int32Array };
}

/** Allocates a cache; throws `out-of-memory` with the size. Example: `heldCache(1, 'F16', 8, 64, 576)`. */
export function heldCache(
  id: number,
  format: CacheDType,
  pages: number,
  pageRows: number,
  cols: number,
): HeldCache {
  const rowBytes = cacheRowBytes(format, cols);
  const bytes = allocate(pages * pageRows * rowBytes, `a cache of ${pages} pages`);
  return { id, dtype: format, pages, pageRows, cols, rowBytes, bytes };
}

/** Zeroed bytes or `out-of-memory` as a sentence. Example: `allocate(1024, 'a tensor')`. */
export function allocate(bytes: number, what: string): Uint8Array {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new HadalError(
      'out-of-memory',
      {
        what,
        expected: `${bytes} bytes of memory`,
        got: 'a failed allocation',
        next: 'use a smaller context or a smaller model',
      },
      { cause },
    );
  }
}

function held(tensor: Tensor, want: Tensor['dtype']): HeldTensor {
  if (tensor.dtype === want) return tensor as HeldTensor;
  throw new HadalError('shape', {
    what: `tensor ${tensor.id}`,
    expected: `numbers of type ${want}`,
    got: tensor.dtype,
  });
}
