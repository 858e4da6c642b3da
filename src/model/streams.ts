/**
 * Owns: what a cache costs: formats a row may have, bytes per token of a model's streams.
 * Refuses to know: pages, who fills the rows.
 */
import type { CacheDType } from '../backend/backend.ts';
import { CACHE_BLOCK, cacheRowBytes } from '../backend/cache-format.ts';
import type { CacheStream } from './model.ts';

/** Formats for rows of `cols` numbers: block formats need whole blocks. Example: `streamDtypes(576)`. */
export function streamDtypes(cols: number): readonly CacheDType[] {
  return cols % CACHE_BLOCK === 0 ? ['F32', 'F16', 'Q8_0', 'F8_E4M3'] : ['F32', 'F16'];
}

/** What one kind of stream (all layers' `k`, say) costs for each token. */
export interface StreamCost {
  /** The stream's name without its layer: `k`, `v`, `latent`. */
  readonly kind: string;
  readonly layers: number;
  /** Numbers in a row. */
  readonly cols: number;
  readonly bytesPerToken: number;
}

/**
 * Cache bytes for each token, by kind of stream, when every stream that can be is kept in `dtype`; a stream that does
 * not allow it is kept in the narrowest format that it allows above it.
 *
 * @example cacheCost(description.streams, 'F16') // [{ kind: 'latent', layers: 61, cols: 576, bytesPerToken: 70272 }]
 */
export function cacheCost(streams: readonly CacheStream[], dtype: CacheDType): StreamCost[] {
  const kinds = new Map<string, StreamCost>();
  for (const stream of streams) {
    const kind = stream.name.slice(stream.name.lastIndexOf('.') + 1);
    const bytes = cacheRowBytes(allowedDtype(stream, dtype), stream.cols) / stream.tokensPerRow;
    const before = kinds.get(kind);
    kinds.set(kind, {
      kind,
      cols: stream.cols,
      layers: (before?.layers ?? 0) + 1,
      bytesPerToken: (before?.bytesPerToken ?? 0) + bytes,
    });
  }
  return [...kinds.values()];
}

/** The format a stream is kept in when `dtype` is asked for. Example: `allowedDtype(stream, 'Q8_0')`. */
export function allowedDtype({ dtypes }: CacheStream, dtype: CacheDType): CacheDType {
  if (dtypes.includes(dtype)) return dtype;
  return dtypes.includes('F16') && dtype !== 'F32' ? 'F16' : 'F32';
}
