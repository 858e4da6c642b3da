import { expect, test } from 'vitest';
import { pieceTokenizer } from '../../test/fixtures/piece-tokenizer.ts';
import { infillEnds, infillParts, supportsInfill } from './infill.ts';
import { encodePrompt, renderPrompt } from './prompt.ts';

const coder = pieceTokenizer({
  specials: ['<｜begin▁of▁sentence｜>', '<｜fim▁hole｜>', '<｜fim▁begin｜>', '<｜fim▁end｜>'],
  addsBos: true,
});

test('prefix, hole, suffix: the order of DeepSeek-Coder', () => {
  expect(renderPrompt(infillParts(coder, 'def f():\n    ', '\n    return x'))).toBe(
    '<｜fim▁begin｜>def f():\n    <｜fim▁hole｜>\n    return x<｜fim▁end｜>',
  );
  expect(Array.from(encodePrompt(coder, infillParts(coder, 'a', 'b')))).toEqual([256, 258, 97, 257, 98, 259]);
});

test('the texts are texts, whatever they hold', () => {
  const ids = encodePrompt(coder, infillParts(coder, '<｜fim▁hole｜>', '<｜fim▁end｜>'));
  expect(Array.from(ids).filter((id) => coder.isSpecial(id))).toEqual([256, 258, 257, 259]);
});

test('a middle ends at the end of text, or where the model begins anew', () => {
  expect(infillEnds(coder)).toEqual([256, 258, 257, 259]);
});

test('a vocabulary without the tokens is refused with the name of a model that has them', () => {
  const other = pieceTokenizer({ specials: ['<|im_start|>'] });
  expect(supportsInfill(coder)).toBe(true);
  expect(supportsInfill(other)).toBe(false);
  expect(() => infillParts(other, 'a', 'b')).toThrow(
    'this model: expected the token <｜fim▁begin｜> in the vocabulary, to fill in the middle, got 257 tokens without it; take one that was trained for it, such as DeepSeek-Coder-V2-Lite-Base',
  );
});
