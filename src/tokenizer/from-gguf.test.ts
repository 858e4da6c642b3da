import { expect, test } from 'vitest';
import {
  disagreements,
  FAMILIES,
  ggufFields,
  golden,
  goldenStrings,
} from '../../test/golden/tokenizer/golden.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import { tokenizerFromGguf } from './from-gguf.ts';

const strings = goldenStrings();
const qwenNormalises = 'qwen2'; // tokenizer.json says NFC, a GGUF file cannot

test.each(FAMILIES)('%s from GGUF fields gives the ids of Hugging Face tokenizers', (family) => {
  const expected = golden(family);
  expect(expected.plain.length).toBe(strings.length);
  expect(strings.length).toBeGreaterThanOrEqual(2000);
  const tokenizer = tokenizerFromGguf(ggufFields(expected.tokenizer, family));
  const judged = strings.map((text) => family !== qwenNormalises || text === text.normalize('NFC'));
  const kept = <T>(list: readonly T[]) => list.filter((_, at) => judged[at]);
  const special = kept(strings.map((_, at) => expected.special[at]));
  expect(
    disagreements(
      tokenizer,
      { ...expected, plain: kept(expected.plain), special: Object.fromEntries(special.entries()) as never },
      kept(strings),
    ),
  ).toEqual([]);
});

/** A vocabulary of 256 bytes and what `more` says. */
function fields(more: Readonly<Record<string, MetaValue | undefined>>): Map<string, MetaValue> {
  const { tokenizer } = golden('smollm');
  const all = ggufFields(tokenizer, 'smollm');
  for (const [key, value] of Object.entries(more)) {
    if (value === undefined) all.delete(`tokenizer.ggml.${key}`);
    else all.set(`tokenizer.ggml.${key}`, value);
  }
  return all;
}

test.each([
  [{ pre: 'of-the-future' }, /tokenizer\.ggml\.pre: expected one of .*deepseek-v3.*, got "of-the-future"/],
  [{ pre: undefined }, /tokenizer\.ggml\.pre: expected one of .*, got nothing/],
  [{ pre: 3 }, /tokenizer\.ggml\.pre: expected a string, got number 3/],
  [{ model: 'llama' }, /tokenizer\.ggml\.model: expected "gpt2" \(byte-level BPE\), got "llama"/],
  [{ model: undefined }, /tokenizer\.ggml\.model: expected a string, got nothing/],
  [{ tokens: undefined }, /tokenizer\.ggml\.tokens: expected an array of strings, got nothing/],
  [{ tokens: [], token_type: Int32Array.of() }, /the number of tokens: expected 1 to/],
  [{ tokens: ['a', 7] }, /tokenizer\.ggml\.tokens\[1\]: expected a string/],
  [{ tokens: ['a', 'a'], token_type: undefined }, /every token once, got "a" as tokens 0 and 1/],
  [{ token_type: Int32Array.of(1, 1) }, /tokenizer\.ggml\.token_type: expected \d+ entries/],
  [{ merges: ['ab'] }, /merge 0: expected two tokens with a space between, got "ab"/],
  [{ merges: ['a 🦙'] }, /merge 0: expected two tokens of the vocabulary that make a third/],
  [{ eos_token_id: 1e9 }, /tokenizer\.ggml\.eos_token_id: expected a token id below/],
  [{ add_bos_token: 'yes' }, /tokenizer\.ggml\.add_bos_token: expected a boolean/],
])('%o is refused with a sentence', (more, sentence) => {
  expect(() => tokenizerFromGguf(fields(more as Record<string, MetaValue | undefined>))).toThrow(sentence);
});

test('the beginning-of-sequence token is put first where the file says so and the caller asks', () => {
  const tokenizer = tokenizerFromGguf(fields({ bos_token_id: 1, add_bos_token: true }));
  const without = Array.from(tokenizer.encode('Hello'));
  expect(Array.from(tokenizer.encode('Hello', { bos: true }))).toEqual([1, ...without]);
  expect(tokenizerFromGguf(fields({ bos_token_id: 1 })).addsBos).toBe(false);
});

test('the end-of-sequence token is put last where the file says so and the caller asks', () => {
  const tokenizer = tokenizerFromGguf(fields({ eos_token_id: 2, add_eos_token: true }));
  const without = Array.from(tokenizer.encode('Hello', { bos: true }));
  expect(Array.from(tokenizer.encode('Hello', { bos: true, eos: true }))).toEqual([...without, 2]);
  const silent = tokenizerFromGguf(fields({ eos_token_id: 2 }));
  expect(Array.from(silent.encode('Hello', { bos: true, eos: true }))).toEqual(without);
});

test('a token that looks like a control token is one, whatever the file calls it', () => {
  const all = ggufFields(golden('deepseek-coder').tokenizer, 'deepseek-coder');
  const kinds = (all.get('tokenizer.ggml.token_type') as Int32Array).map((kind) => (kind === 3 ? 4 : kind));
  const tokenizer = tokenizerFromGguf(new Map([...all, ['tokenizer.ggml.token_type', kinds]]));
  const text = '<｜fim▁hole｜>';
  expect(tokenizer.encode(text).length).toBeGreaterThan(1);
  expect(Array.from(tokenizer.encode(text, { special: true }))).toEqual([tokenizer.idOf(text)]);
  expect(tokenizer.isSpecial(tokenizer.idOf(text) as number)).toBe(true);
});
