import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { pieceTokenizer } from '../../../test/fixtures/piece-tokenizer.ts';
import type { Delta } from '../delta.ts';
import { plainParser } from './plain.ts';

/** Cuts bytes at places and gives the pieces one id each. */
function tokensOf(bytes: Uint8Array, places: readonly number[]) {
  const ends = [...new Set([...places.map((place) => place % (bytes.length + 1)), bytes.length])]
    .filter((place) => place > 0)
    .sort((a, b) => a - b);
  const pieces = ends.map((end, i) => bytes.slice(ends[i - 1] ?? 0, end));
  const tokenizer = pieceTokenizer({ pieces, specials: ['<|end|>'] });
  return { tokenizer, ids: pieces.map((_, i) => 256 + i) };
}

function parse(bytes: Uint8Array, places: readonly number[], stop: readonly string[]) {
  const { tokenizer, ids } = tokensOf(bytes, places);
  const parser = plainParser({ tokenizer, stop });
  const deltas: Delta[] = [];
  let used = 0;
  for (const id of ids) {
    if (parser.stopText !== undefined) break;
    deltas.push(...parser.push({ id }));
    used++;
  }
  deltas.push(...parser.end());
  const text = deltas.map((delta) => (delta.type === 'content' ? delta.text : '?')).join('');
  const given = deltas.flatMap((delta) => (delta.type === 'content' ? [...delta.tokens.ids] : []));
  return { text, stopText: parser.stopText, given, used: ids.slice(0, used) };
}

describe('any way of cutting an answer into tokens', () => {
  const texts = fc.string({ unit: 'binary', maxLength: 24 });
  const bytes = fc.oneof(
    texts.map((text) => new TextEncoder().encode(text)),
    fc.uint8Array({ maxLength: 24 }),
  );
  const stops = fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 3 }), { maxLength: 3 });

  test('gives the same text and the same end', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { maxLength: 24 }), stops, (answer, places, stop) => {
        const whole = parse(answer, [], stop);
        const cut = parse(answer, places, stop);
        expect({ text: cut.text, stopText: cut.stopText }).toEqual({
          text: whole.text,
          stopText: whole.stopText,
        });
      }),
      { numRuns: 2_000 },
    );
  });

  test('without stop strings, the text is what the bytes say', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { maxLength: 24 }), (answer, places) => {
        const said = new TextDecoder('utf-8', { ignoreBOM: true }).decode(answer);
        expect(parse(answer, places, []).text).toBe(said);
      }),
      { numRuns: 2_000 },
    );
  });

  test('gives every token out at most once, in order', () => {
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { maxLength: 24 }), stops, (answer, places, stop) => {
        const { given, used } = parse(answer, places, stop);
        expect(used.slice(0, given.length)).toEqual(given);
      }),
    );
  });
});

test('half a character is held back, and replaced when it never becomes whole', () => {
  const tokenizer = pieceTokenizer();
  const parser = plainParser({ tokenizer });
  expect(parser.push({ id: 0xe2 })).toEqual([]);
  expect(parser.push({ id: 0x82 })).toEqual([]);
  expect(parser.push({ id: 0xac })).toEqual([
    { type: 'content', choice: 0, text: '€', tokens: { ids: [0xe2, 0x82, 0xac] } },
  ]);
  expect(parser.push({ id: 0xe2 })).toEqual([]);
  expect(parser.end()).toEqual([{ type: 'content', choice: 0, text: '�', tokens: { ids: [0xe2] } }]);
});

test('log-probabilities travel with the tokens that a delta took', () => {
  const parser = plainParser({ tokenizer: pieceTokenizer(), choice: 2, stop: ['xy'] });
  parser.push({ id: 120, logprob: -1, top: [{ id: 120, logprob: -1 }] });
  expect(parser.push({ id: 97, logprob: -2, top: [] })).toEqual([
    {
      type: 'content',
      choice: 2,
      text: 'xa',
      tokens: {
        ids: [120, 97],
        logprobs: [
          { chosen: { id: 120, logprob: -1 }, top: [{ id: 120, logprob: -1 }] },
          { chosen: { id: 97, logprob: -2 }, top: [] },
        ],
      },
    },
  ]);
});

test('control tokens are no text', () => {
  const parser = plainParser({ tokenizer: pieceTokenizer({ specials: ['<|end|>'] }) });
  expect(parser.push({ id: 256 })).toEqual([]);
  expect(parser.end()).toEqual([]);
});

test('a space that belongs to the format is left out once, and kept behind a prefix', () => {
  const said = (text: string, continues: boolean) => {
    const parser = plainParser({ tokenizer: pieceTokenizer(), continues }, { spaceFirst: true });
    return [...text]
      .flatMap((char) => parser.push({ id: char.charCodeAt(0) }))
      .map((delta) => (delta.type === 'content' ? delta.text : ''))
      .join('');
  };
  expect([said('  a b', false), said(' a', true), said('a', false)]).toEqual([' a b', ' a', 'a']);
});
