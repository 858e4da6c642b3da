import { expect, test } from 'vitest';
import {
  disagreements,
  FAMILIES,
  golden,
  goldenStrings,
  mannersCases,
} from '../../test/golden/tokenizer/golden.ts';
import { byteAlphabet } from './byte-alphabet.ts';
import { tokenizerFromJson } from './from-json.ts';
import { StreamDecoder } from './stream-decoder.ts';

const strings = goldenStrings();

test.each(FAMILIES)('%s from tokenizer.json gives the ids of Hugging Face tokenizers', (family) => {
  const expected = golden(family);
  expect(disagreements(tokenizerFromJson(expected.tokenizer), expected, strings)).toEqual([]);
});

test.each(mannersCases().map((one) => [one.name, one] as const))(
  '%s: ids and text as by the oracle',
  (_, one) => {
    const tokenizer = tokenizerFromJson(one.tokenizer);
    const wrong: string[] = [];
    one.texts.forEach((text, at) => {
      const plain = Array.from(tokenizer.encode(text));
      const special = Array.from(tokenizer.encode(text, { special: true }));
      const decoded = tokenizer.decode(special, { special: true });
      const decoder = new StreamDecoder(tokenizer, { special: true });
      const streamed = special.map((id) => decoder.push(id)).join('') + decoder.end();
      const got = JSON.stringify([plain, special, decoded, streamed]);
      const expected = JSON.stringify([one.plain[at], one.special[at], one.text[at], one.text[at]]);
      if (got !== expected) wrong.push(`${JSON.stringify(text)}: got ${got}, expected ${expected}`);
    });
    expect(wrong.slice(0, 3)).toEqual([]);
    expect(Array.from(tokenizer.encode('the cat', { special: true, bos: true }))).toEqual(one.framed);
  },
);

/** A tokenizer.json of 256 byte tokens and one merge, with changes. */
function small(changes: object = {}, model: object = {}): Record<string, unknown> {
  const { charOfByte } = byteAlphabet();
  const vocab = Object.fromEntries([...charOfByte, 'ab'].map((text, id) => [text, id]));
  return {
    added_tokens: [],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges: ['a b'], ...model },
    ...changes,
  };
}
const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
const split = (more: object) => ({
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [{ type: 'Split', behavior: 'Isolated', ...more }, bytes],
  },
});
const token = (more: object) => ({ added_tokens: [{ id: 257, content: '<x>', special: true, ...more }] });
const template = (...single: object[]) => ({ post_processor: { type: 'TemplateProcessing', single } });
const text = { Sequence: { id: 'A' } };
const mark = { SpecialToken: { id: '<x>' } };

test('the small tokenizer of the next test is sound', () => {
  const tokenizer = tokenizerFromJson(small());
  expect(Array.from(tokenizer.encode('aab'), (id) => tokenizer.tokenText(id))).toEqual(['a', 'ab']);
});

test.each<readonly [string, unknown, RegExp]>([
  ['no object', [], /tokenizer\.json: expected an object, got an array of 0/],
  ['no model', { added_tokens: [] }, /tokenizer\.json model: expected an object, got nothing/],
  ['another model', small({}, { type: 'Unigram' }), /model\.type: expected none or "BPE", got "Unigram"/],
  ['dropout', small({}, { dropout: 0.1 }), /model\.dropout: expected none or 0, got 0\.1/],
  [
    'prefixes of words',
    small({}, { continuing_subword_prefix: '##' }),
    /continuing_subword_prefix: .* got "##"/,
  ],
  ['ends of words', small({}, { end_of_word_suffix: '</w>' }), /end_of_word_suffix: .* got "<\/w>"/],
  [
    'an id that is no number',
    small({}, { vocab: { a: 'x' } }),
    /model\.vocab "a": expected a token id below \d+, got "x"/,
  ],
  ['an id beyond reason', small({}, { vocab: { a: 1e12 } }), /model\.vocab "a": expected a token id below/],
  [
    'two tokens of one id',
    small({}, { vocab: { a: 0, b: 0 } }),
    /"b": expected an id of its own, not that of "a"/,
  ],
  ['merges that are no array', small({}, { merges: 'a b' }), /model\.merges: expected an array, got "a b"/],
  ['a merge of three', small({}, { merges: [['a', 'b', 'c']] }), /merges\[0\]: expected a string or a pair/],
  ['a merge of no token', small({}, { merges: ['a q'] }), /merge 0: expected two tokens of the vocabulary/],
  [
    'an unknown token that is none',
    small({}, { unk_token: '<unk>' }),
    /model\.unk_token: expected a token of the voc/,
  ],
  [
    'an added token without text',
    small(token({ content: 7 })),
    /added_tokens\[0\]\.content: expected a string, got 7/,
  ],
  [
    'an added token of a taken id',
    small(token({ id: 3 })),
    /the added token "<x>": expected an id of its own/,
  ],
  [
    'an added token as long as a book',
    small(token({ content: 'x'.repeat(999) })),
    /at most 512 characters each/,
  ],
  [
    'no pre-tokenizer',
    small({ pre_tokenizer: null }),
    /pre_tokenizer: expected one that ends with "ByteLevel", got none/,
  ],
  [
    'another pre-tokenizer',
    small({ pre_tokenizer: { type: 'Whitespace' } }),
    /ends with "ByteLevel", got "Whitespace"/,
  ],
  [
    'a space before the text',
    small({ pre_tokenizer: { ...bytes, add_prefix_space: true } }),
    /add_prefix_space: .* got true/,
  ],
  [
    'an unknown pattern',
    small(split({ pattern: { Regex: '(a+)+$' } })),
    /pattern: expected a pattern of .*qwen2.*, got "\(a\+\)\+\$"/,
  ],
  [
    'a pattern that removes',
    small(split({ behavior: 'Removed', pattern: { Regex: '\\p{N}' } })),
    /behavior: .* got "Removed"/,
  ],
  [
    'a pattern inverted',
    small(split({ invert: true, pattern: { Regex: '\\p{N}' } })),
    /invert: expected none or false, got true/,
  ],
  [
    'another normaliser',
    small({ normalizer: { type: 'Lowercase' } }),
    /normalizer\.type: expected one of "NFC".*, got "Lowercase"/,
  ],
  [
    'another decoder',
    small({ decoder: { type: 'WordPiece' }, pre_tokenizer: null }),
    /decoder\.type: .* got "WordPiece"/,
  ],
  [
    'no decoder',
    small({ decoder: null, pre_tokenizer: null }),
    /decoder: expected "ByteLevel", or one that makes/,
  ],
  [
    'a token after the text',
    small({ ...token({}), ...template(text, mark) }),
    /single: expected at most one special token, before/,
  ],
  [
    'another framing',
    small({ post_processor: { type: 'BertProcessing' } }),
    /post_processor\.type: .* got "BertProcessing"/,
  ],
])('%s is refused with a sentence', (_, json, sentence) => {
  expect(() => tokenizerFromJson(json)).toThrow(sentence);
});

test('the template and the configuration say what begins and ends a text', () => {
  const json = small({ ...token({}), ...template(mark, text) });
  const framed = tokenizerFromJson(json);
  expect([framed.bosId, framed.addsBos, framed.eosId]).toEqual([257, true, undefined]);
  const told = tokenizerFromJson(json, { add_bos_token: false, eos_token: { content: '<x>' } });
  expect([told.addsBos, told.eosId, told.endIds]).toEqual([false, 257, new Set([257])]);
  expect(() => tokenizerFromJson(json, { add_bos_token: 1 })).toThrow(
    /config\.json add_bos_token: expected true or false/,
  );
});

test('tokens that only the configuration adds are added', () => {
  const more = { 257: { content: '<x>', special: true }, 300: { content: '<think>', special: false } };
  const tokenizer = tokenizerFromJson(small(token({})), { added_tokens_decoder: more });
  expect(Array.from(tokenizer.encode('<think><x>', { special: true }))).toEqual([300, 257]);
  expect(tokenizer.vocabSize).toBe(301);
  expect(tokenizer.isSpecial(280)).toBe(true); // a hole
  expect(() => tokenizerFromJson(small(), { added_tokens_decoder: { x: { content: 'y' } } })).toThrow(
    /decoder\.x: expected a token id/,
  );
});

test('a token named like a member of every object is a token like any other', () => {
  const json = JSON.parse(
    JSON.stringify(small()).replace('"ab":256', '"__proto__":256,"constructor":257,"ab":258'),
  );
  const tokenizer = tokenizerFromJson(json);
  expect([tokenizer.idOf('__proto__'), tokenizer.idOf('constructor'), tokenizer.idOf('toString')]).toEqual([
    256,
    257,
    undefined,
  ]);
});
