import { expect, test } from 'vitest';
import { type ContextQuestion, cacheThatFits, contextThatFits, memoryHere } from './memory.ts';

const GB = 1e9;

/** A model of 1 GB with 2 layers of 64 numbers for k and for v: 512 bytes a token in F16. */
function question(asked: {
  wantedTokens?: number;
  heldBytes?: number;
  contextTokens?: number;
  presentBytes?: number;
  availableBytes?: number;
}): ContextQuestion {
  const stream = (layer: number, kind: string) => ({
    name: `blk.${layer}.${kind}`,
    layer,
    cols: 64,
    tokensPerRow: 1,
    dtypes: ['F32', 'F16'] as const,
  });
  const presentBytes = asked.presentBytes ?? 8 * GB;
  return {
    name: 'm.gguf',
    wantedTokens: asked.wantedTokens,
    cacheDType: 'F16',
    description: {
      contextTokens: asked.contextTokens ?? 1_000_000,
      heldBytes: asked.heldBytes ?? GB,
      streams: [stream(0, 'k'), stream(0, 'v'), stream(1, 'k'), stream(1, 'v')],
    },
    memory: { presentBytes, availableBytes: asked.availableBytes ?? presentBytes },
  };
}

test('the model\u2019s own context where it fits', () => {
  expect(contextThatFits(question({}))).toBe(1_000_000);
});

test('otherwise four fifths of what is left beside the weights', () => {
  const tokens = contextThatFits(question({ contextTokens: 100_000_000, availableBytes: 2 * GB }));
  expect(tokens).toBe(Math.floor(((2 * GB - GB - (128 << 20)) * 0.8) / 512));
});

test('never less than 2,048 tokens, however busy the machine is, unless the model has less', () => {
  expect(contextThatFits(question({ availableBytes: 0 }))).toBe(2048);
  expect(contextThatFits(question({ availableBytes: 0, contextTokens: 256 }))).toBe(256);
});

test('a wanted context is given or refused, never changed', () => {
  expect(contextThatFits(question({ wantedTokens: 4096, availableBytes: 0 }))).toBe(4096);
  expect(() => contextThatFits(question({ wantedTokens: 1_000_001 }))).toThrow(
    'the context: expected 2 to 1000000 tokens, which is what this model was made for, got 1000001',
  );
  expect(() => contextThatFits(question({ wantedTokens: 1 }))).toThrow('expected 2 to 1000000 tokens');
  const tight = question({ contextTokens: 1e9, wantedTokens: 20_000_000 });
  expect(() => contextThatFits(tight)).toThrow('got 10,240,000,000 bytes; choose at most 13409731 tokens');
});

test('a model larger than the memory is refused with both numbers', () => {
  expect(() => contextThatFits(question({ heldBytes: 9 * GB }))).toThrow(
    'm.gguf: expected a model that fits the 8,000,000,000 bytes of memory here, ' +
      'got one that needs 9,135,266,304 bytes (9,000,000,000 bytes of weights); ' +
      'take a smaller model or quantization, or a machine with more memory',
  );
  expect(contextThatFits(question({ heldBytes: 7.8646 * GB }))).toBe(2048);
});

test('this machine has memory, and no more available than present', () => {
  const { presentBytes, availableBytes } = memoryHere();
  expect(presentBytes).toBeGreaterThan(1e8);
  expect(presentBytes).toBeLessThan(1e15);
  expect(availableBytes).toBeGreaterThan(0);
  expect(availableBytes).toBeLessThanOrEqual(presentBytes);
});

test('a cache for all answers where there is room, and for one in any case', () => {
  const free = (availableBytes: number) => question({ availableBytes });
  expect(cacheThatFits(free(8 * GB), 1000, 16)).toBe(16_000);
  const tight = cacheThatFits(free(1.2 * GB), 1000, 1000);
  // A quarter of what is left beside the weights, what works with them, and one context.
  expect(tight).toBe(1000 + Math.floor((0.2 * GB - (128 << 20) - 1000 * 512) / 4 / 512));
  expect(cacheThatFits(free(0), 1000, 16)).toBe(1000);
});
