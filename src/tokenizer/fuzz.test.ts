import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FAMILIES, ggufFields, golden } from '../../test/golden/tokenizer/golden.ts';
import { byteAlphabet } from './byte-alphabet.ts';
import { tokenizerFromGguf } from './from-gguf.ts';

const utf8 = new TextEncoder();
const seeds = golden('deepseek-v3')
  .tokenizer.added_tokens.map(({ content }) => content)
  .slice(0, 30);

/** Texts of UTF-16 units of every sort: lone surrogates, marks, runs, tokens whole and cut in two. */
const anyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc
        .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 })
        .map((units) => String.fromCharCode(...units)),
      fc
        .array(fc.integer({ min: 0xd7f0, max: 0xe010 }), { maxLength: 6 })
        .map((units) => String.fromCharCode(...units)),
      fc.uint8Array({ maxLength: 24 }).map((bytes) => new TextDecoder().decode(bytes)),
      fc
        .tuple(fc.constantFrom(' ', '\n', '\t', '\r\n', '\u00a0', '\u3000', 'a', '9', '中', "'"), fc.nat(70))
        .map(([unit, count]) => unit.repeat(count)),
      fc
        .tuple(fc.constantFrom(...seeds), fc.nat(12))
        .map(([token, cut]) => token.slice(cut % 3 === 0 ? 0 : cut)),
      fc.constantFrom("'s", "'RE", ' ', '.', '123', 'Hello', ' world', '\ufeff', '\u0000'),
    ),
    { maxLength: 10 },
  )
  .map((parts) => parts.join(''));

test.each(FAMILIES)('%s: any text comes back, byte for byte', (family) => {
  const tokenizer = tokenizerFromGguf(ggufFields(golden(family).tokenizer, family));
  // SmolLM's vocabulary lacks some bytes; what they would write is read as U+FFFD.
  const lacking = new Set(
    byteAlphabet().charOfByte.flatMap((char, byte) => (tokenizer.idOf(char) === undefined ? [byte] : [])),
  );
  const lacks = (char: string) => utf8.encode(char).some((byte) => lacking.has(byte));
  const writable = (text: string) => Array.from(text, (char) => (lacks(char) ? '\ufffd' : char)).join('');
  expect(lacking.size).toBe(family === 'smollm' ? 21 : 0);
  fc.assert(
    fc.property(anyText, fc.boolean(), (text, special) => {
      const ids = tokenizer.encode(text, { special });
      const wellFormed = writable(text.toWellFormed());
      expect(tokenizer.decode(ids, { special: true })).toBe(wellFormed);
      const bytes = Array.from(ids).flatMap((id) => Array.from(tokenizer.bytesOf(id)));
      expect(bytes).toEqual(Array.from(utf8.encode(wellFormed)));
      // A user's text never makes a control token.
      if (!special) expect(Array.from(ids).filter((id) => tokenizer.isSpecial(id))).toEqual([]);
    }),
    { numRuns: 1500 },
  );
});

test('ids in any order decode without an error, and to well-formed text', () => {
  const spec = golden('llama-bpe').tokenizer;
  const tokenizer = tokenizerFromGguf(ggufFields(spec, 'llama-bpe'));
  fc.assert(
    fc.property(fc.array(fc.nat(tokenizer.vocabSize - 1), { maxLength: 30 }), (ids) => {
      expect(tokenizer.decode(ids, { special: true }).isWellFormed()).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
