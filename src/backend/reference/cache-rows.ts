/**
 * Owns: writing and reading one cache row in each cache format.
 * Refuses to know: pages, attention; layouts are declared in ../cache-format.ts.
 */
import { dtype } from '../../dtypes/table.ts';
import type { CacheDType } from '../backend.ts';
import { CACHE_BLOCK } from '../cache-format.ts';
import type { HeldCache } from './storage.ts';

interface RowCodec {
  write(bytes: Uint8Array, at: number, x: Float32Array): void;
  read(bytes: Uint8Array, at: number, into: Float32Array): void;
}

const CODECS: Readonly<Record<CacheDType, RowCodec>> = {
  F32: ofFormat('F32'),
  F16: ofFormat('F16'),
  Q8_0: ofFormat('Q8_0'),
  F8_E4M3: { write: writeF8, read: readF8 },
};

/** Rounds x [cols] into store row `row`. Example: `writeCacheRow(cache, slot, k)`. */
export function writeCacheRow(cache: HeldCache, row: number, x: Float32Array): void {
  CODECS[cache.dtype].write(cache.bytes, row * cache.rowBytes, x);
}

/** Reads store row `row` into `into` [cols]. Example: `readCacheRow(cache, slot, scratch)`. */
export function readCacheRow(cache: HeldCache, row: number, into: Float32Array): void {
  CODECS[cache.dtype].read(cache.bytes, row * cache.rowBytes, into);
}

function ofFormat(name: 'F32' | 'F16' | 'Q8_0'): RowCodec {
  return {
    write: (bytes, at, x) => dtype(name).encode!(x, 0, bytes, at, x.length),
    read: (bytes, at, into) => dtype(name).decode!(bytes, at, into, 0, into.length),
  };
}

function writeF8(bytes: Uint8Array, at: number, x: Float32Array): void {
  const scaled = new Float32Array(CACHE_BLOCK);
  for (let b = 0; b < x.length; b += CACHE_BLOCK) {
    let largest = 0;
    for (let i = 0; i < CACHE_BLOCK; i++) largest = Math.max(largest, Math.abs(x[b + i]!));
    const exponent = scaleExponent(largest);
    for (let i = 0; i < CACHE_BLOCK; i++) scaled[i] = x[b + i]! * 2 ** -exponent;
    dtype('F8_E4M3').encode!(scaled, 0, bytes, at + b, CACHE_BLOCK);
    bytes[at + x.length + b / CACHE_BLOCK] = exponent + 127;
  }
}

function readF8(bytes: Uint8Array, at: number, into: Float32Array): void {
  dtype('F8_E4M3').decode!(bytes, at, into, 0, into.length);
  for (let b = 0; b < into.length; b += CACHE_BLOCK) {
    const scale = 2 ** (bytes[at + into.length + b / CACHE_BLOCK]! - 127);
    for (let i = 0; i < CACHE_BLOCK; i++) into[b + i] = into[b + i]! * scale;
  }
}

/** The smallest e in -127..127 with largest <= 448 * 2^e. */
function scaleExponent(largest: number): number {
  if (!(largest > 0)) return 0;
  let e = Math.max(-127, Math.min(127, Math.ceil(Math.log2(largest / 448))));
  while (e < 127 && largest > 448 * 2 ** e) e++;
  while (e > -127 && largest <= 448 * 2 ** (e - 1)) e--;
  return e;
}
