import { expect, test } from 'vitest';
import { draftsOf } from './drafts.ts';

const plain = { promptTokens: 4, cachedTokens: 0, generatedTokens: 11, prefillMs: 5, decodeMs: 100, seed: 1 };
const drafted = { ...plain, drafts: { drafted: 9, accepted: 5, tokensPerStep: 2, gain: 1.5 } };

test('answers together: tokens by steps, times by times; one without drafts counts as it is', () => {
  expect(draftsOf([plain, plain])).toBeUndefined();
  expect(draftsOf([drafted])).toBe(drafted.drafts);
  // 20 tokens after the first ones in 5 + 10 steps; 150 + 100 ms plainly, 200 ms spent.
  expect(draftsOf([drafted, plain])).toEqual({
    drafted: 9,
    accepted: 5,
    tokensPerStep: 20 / 15,
    gain: 1.25,
  });
  const short = { ...drafted, generatedTokens: 1, decodeMs: 0 };
  expect(draftsOf([short, short])).toMatchObject({ tokensPerStep: 1, gain: 1 });
});
