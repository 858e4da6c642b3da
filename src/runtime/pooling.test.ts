import { expect, test } from 'vitest';
import { POOLING_JSON } from '../formats/hf-folder.ts';
import { poolingOf } from './pooling.ts';

const folder = (json: object) => new Map([[POOLING_JSON, JSON.stringify(json)]]);

test('a file says it, or leaves it', () => {
  expect(poolingOf(new Map(), 'llama')).toBeUndefined();
  expect(poolingOf(new Map([['llama.pooling_type', 0]]), 'llama')).toBeUndefined();
  expect(poolingOf(new Map([['llama.pooling_type', 1]]), 'llama')).toBe('mean');
  expect(poolingOf(new Map([['qwen3.pooling_type', 3]]), 'qwen3')).toBe('last');
  expect(poolingOf(new Map([['qwen3.pooling_type', 2]]), 'llama')).toBeUndefined();
  expect(poolingOf(folder({ word_embedding_dimension: 8, pooling_mode_lasttoken: true }), 'qwen3')).toBe(
    'last',
  );
  expect(poolingOf(folder({ pooling_mode_cls_token: false, pooling_mode_mean_tokens: true }), 'x')).toBe(
    'mean',
  );
});

test('what is not done is refused in a sentence', () => {
  expect(() => poolingOf(new Map([['llama.pooling_type', 2]]), 'llama')).toThrow(
    /pooling_type.*3 \(last\).*got 2/,
  );
  expect(() => poolingOf(folder({ pooling_mode_cls_token: true }), 'x')).toThrow(
    /got pooling_mode_cls_token/,
  );
  const two = { pooling_mode_mean_tokens: true, pooling_mode_lasttoken: true };
  expect(() => poolingOf(folder(two), 'x')).toThrow(/got pooling_mode_mean_tokens, pooling_mode_lasttoken/);
});
