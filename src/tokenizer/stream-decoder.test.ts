import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ggufFields, golden } from '../../test/golden/tokenizer/golden.ts';
import { tokenizerFromGguf } from './from-gguf.ts';
import { StreamDecoder } from './stream-decoder.ts';

const spec = golden('deepseek-v3').tokenizer;
const tokenizer = tokenizerFromGguf(ggufFields(spec, 'deepseek-v3'));
const known = [...Object.values(spec.model.vocab), ...spec.added_tokens.map(({ id }) => id)];
const singleBytes = known.filter((id) => tokenizer.bytesOf(id).length === 1);
const anyId = fc.oneof(fc.constantFrom(...known), fc.constantFrom(...singleBytes));
const utf8 = new TextEncoder();

/** Text of each push, then of the end. */
function stream(ids: Iterable<number>, options?: { special: boolean }): string[] {
  const decoder = new StreamDecoder(tokenizer, options);
  return [...Array.from(ids, (id) => decoder.push(id)), decoder.end()];
}

test('the joined stream is the decoded whole, whatever the ids', () => {
  fc.assert(
    fc.property(fc.array(anyId, { maxLength: 40 }), fc.boolean(), (ids, special) => {
      expect(stream(ids, { special }).join('')).toBe(tokenizer.decode(ids, { special }));
    }),
    { numRuns: 2000 },
  );
});

test('no push ever holds part of a character', () => {
  const character = fc.string({ unit: 'binary', maxLength: 30 });
  fc.assert(
    fc.property(character, (text) => {
      fc.pre(!text.includes('\ufffd'));
      // One id a byte: every way a character can be cut.
      const ids = Array.from(utf8.encode(text), (byte) =>
        singleBytes.find((id) => tokenizer.bytesOf(id)[0] === byte),
      );
      fc.pre(!ids.includes(undefined));
      for (const pieces of [stream(ids as number[]), stream(tokenizer.encode(text))]) {
        expect(pieces.join('')).toBe(text);
        for (const piece of pieces)
          expect([piece.isWellFormed(), piece.includes('\ufffd')]).toEqual([true, false]);
      }
    }),
    { numRuns: 2000 },
  );
});

test('a character is shown with its last byte, not later', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), (text) => {
      const decoder = new StreamDecoder(tokenizer);
      let bytes = new Uint8Array();
      let shown = '';
      for (const id of tokenizer.encode(text)) {
        bytes = Uint8Array.from([...bytes, ...tokenizer.bytesOf(id)]);
        shown += decoder.push(id);
        expect(bytes.length - utf8.encode(shown).length).toBeLessThan(4);
      }
      expect(shown).toBe(text);
    }),
    { numRuns: 1000 },
  );
});

test('bytes that never became a character end as U+FFFD, and the decoder starts anew', () => {
  const llama = Array.from(utf8.encode('🦙'), (byte) =>
    singleBytes.find((id) => tokenizer.bytesOf(id)[0] === byte),
  );
  const decoder = new StreamDecoder(tokenizer);
  for (const id of llama.slice(0, 3)) expect(decoder.push(id as number)).toBe('');
  expect(decoder.end()).toBe('\ufffd');
  const [a] = tokenizer.encode('a');
  expect(decoder.push(a as number) + decoder.end()).toBe('a');
});

test('control tokens are left out, and shown when asked for', () => {
  const ids = tokenizer.encode('a<｜User｜>b', { special: true });
  expect(stream(ids)).toEqual(['a', '', 'b', '']);
  expect(stream(ids, { special: true })).toEqual(['a', '<｜User｜>', 'b', '']);
});

test('a byte-order mark is text like any other', () => {
  expect(stream(tokenizer.encode('\ufeffa\ufeff')).join('')).toBe('\ufeffa\ufeff');
});

test('an id outside the vocabulary is refused with a sentence', () => {
  expect(() => new StreamDecoder(tokenizer).push(1e7)).toThrow(
    /token id: expected a whole number from 0 to \d+, got 10000000/,
  );
});
