/**
 * Owns: what a cache of 128K tokens really takes, against the formula that `inspect` prints.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { CacheDType } from '../../src/backend/backend.ts';
import { describeModel } from '../../src/model/load.ts';
import { cacheCost } from '../../src/model/streams.ts';
import { toyGgufFile } from '../fixtures/toy-file.ts';
import type { ToyShape } from '../fixtures/toy-weights.ts';
import { open, VARIANTS } from './backends.ts';

const TOKENS = 131_072;
const PAGE_ROWS = 16;
/** Enough for what the process itself gives back meanwhile to be little beside them. */
const LAYERS = 4;
/** Rows written at a time. */
const ROWS = 1024;

const shapes: readonly ToyShape[] = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
);
/** One layer with V3's cache rows: 512 numbers of latent, 64 of the shared key; with V3.2's index keys of 128 beside. */
function layerOf(name: 'v3-like' | 'v32-like'): ToyShape {
  const toy = shapes.find((shape) => shape.name === name)!;
  return {
    ...toy,
    layers: 1,
    attention: {
      kind: 'latent',
      heads: 2,
      qLora: 32,
      kvLora: 512,
      nopeDim: 32,
      ropeDim: 64,
      valueDim: 32,
    },
    ...(toy.indexer ? { indexer: { heads: 2, dim: 128, topK: 2048 } } : {}),
  };
}

describe.skipIf(VARIANTS.length === 0)('a full cache of 128K tokens [needs native]', () => {
  test.each<['v3-like' | 'v32-like', CacheDType, number]>([
    ['v3-like', 'F16', 2 * 576],
    ['v3-like', 'Q8_0', (576 / 32) * 34],
    ['v3-like', 'F8_E4M3', (576 / 32) * 33],
    ['v32-like', 'F16', 2 * (576 + 128)],
    ['v32-like', 'Q8_0', ((576 + 128) / 32) * 34],
    ['v32-like', 'F8_E4M3', ((576 + 128) / 32) * 33],
  ])('%s, %s: %i bytes a token and layer, and so many are resident', async (name, dtype, bytesPerToken) => {
    const { streams } = describeModel(toyGgufFile(layerOf(name)));
    const formula = cacheCost(streams, dtype).reduce((sum, cost) => sum + cost.bytesPerToken, 0);
    expect(formula).toBe(bytesPerToken);
    await using backend = open(VARIANTS[0]!);
    const slots = backend.tensor('I32', ROWS, 1);
    const rows = streams.map(({ cols }) => {
      const x = backend.tensor('F32', ROWS, cols);
      backend.write(
        x,
        Float32Array.from({ length: ROWS * cols }, (_, i) => Math.sin(i) * 2),
      );
      return x;
    });
    for (const x of rows) await backend.read(x, 0);
    const before = { cacheBytes: backend.memory().cacheBytes, rss: process.memoryUsage.rss() };
    const stores = Array.from({ length: LAYERS }, () =>
      streams.map(({ cols }) => backend.cache(dtype, TOKENS / PAGE_ROWS, PAGE_ROWS, cols)),
    );
    const untouched = process.memoryUsage.rss() - before.rss;
    for (let first = 0; first < TOKENS; first += ROWS) {
      backend.write(
        slots,
        Int32Array.from({ length: ROWS }, (_, i) => first + i),
      );
      for (const layer of stores) {
        for (const [i, store] of layer.entries()) {
          backend.store({ rows: ROWS, decodeRows: 0 }, store, rows[i]!, slots);
        }
      }
      await backend.read(slots, 0);
    }
    const bytes = LAYERS * formula * TOKENS;
    expect(backend.memory().cacheBytes - before.cacheBytes).toBe(bytes);
    // Memory is taken as rows are written, and no more of it than the formula says.
    const resident = process.memoryUsage.rss() - before.rss;
    expect(untouched).toBeLessThan(bytes / 10);
    expect(resident).toBeGreaterThan(bytes * 0.9);
    expect(resident).toBeLessThan(bytes * 1.1);
    for (const store of stores.flat()) backend.free(store);
  });
});
