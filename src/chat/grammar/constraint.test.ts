import { describe, expect, test } from 'vitest';
import { allowsText, idsOf } from '../../../test/fixtures/grammar-walk.ts';
import { pieceTokenizer } from '../../../test/fixtures/piece-tokenizer.ts';
import { tokenMask } from '../../engine/constraint.ts';
import { grammarConstraints } from './constraint.ts';
import {
  type AnswerGrammar,
  contentGrammar,
  either,
  inOrder,
  json,
  text,
  times,
  token,
  until,
} from './form.ts';

const utf8 = new TextEncoder();
const tokenizer = pieceTokenizer({
  pieces: ['nk>', 'nk>\n\n{', 'nk>x', '"}', 'abc'].map((piece) => utf8.encode(piece)),
  ordinary: ['</think>'],
  specials: ['<end>', '<call>', '<sep>'],
});
/** The same without a token for the end of thinking. */
const spelling = pieceTokenizer({
  pieces: ['nk>', 'nk>\n\n{', 'nk>x'].map((piece) => utf8.encode(piece)),
  specials: ['<end>'],
});
const id = (special: string) => tokenizer.idOf(special)!;
const END = id('<end>');
const make = grammarConstraints(() => tokenizer);
const constraint = (grammar: AnswerGrammar) => make(grammar, { endIds: [END] });
const bytes = (said: string) => [...utf8.encode(said)];
const piece = (said: string, of = tokenizer) => {
  for (let one = 256; ; one++) if (new TextDecoder().decode(of.bytesOf(one)) === said) return one;
};
const allows = (grammar: AnswerGrammar, ids: Iterable<number>) =>
  allowsText(constraint(grammar), ids, { vocabSize: tokenizer.vocabSize, endId: END });
const allowed = (grammar: AnswerGrammar, ids: Iterable<number> = []) => {
  const one = constraint(grammar);
  for (const before of ids) one.accept(before);
  const mask = tokenMask(tokenizer.vocabSize);
  one.mask(mask);
  return idsOf(mask);
};
const regex = (pattern: string): AnswerGrammar => ({ form: { kind: 'regex', pattern } });
const schema = { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] };

test('end tokens are allowed exactly where the text may end, and the answer is done where it must', () => {
  const grammar = regex('ab?c?');
  expect(allowed(grammar)).toEqual([0x61, piece('abc')]);
  expect(allowed(grammar, bytes('a'))).toEqual([0x62, 0x63, END]);
  const one = constraint(grammar);
  one.accept(0x61);
  expect(one.done).toBe(false);
  one.accept(0x63);
  expect(one.done).toBe(true);
});

test('a token that is not allowed is not taken', () => {
  const broken = expect.objectContaining({ code: 'constraint-broken' });
  for (const wrong of [0x78, END, id('<call>')]) {
    expect(() => constraint(regex('abc')).accept(wrong)).toThrow(broken);
  }
});

describe('after thinking', () => {
  const grammar = contentGrammar({ kind: 'json-schema', schema }, { after: '</think>' });

  const spelled = grammarConstraints(() => spelling);
  const free = () => spelled(grammar, { endIds: [spelling.idOf('<end>')!] });
  const ends: [string, number[]][] = [
    ['byte by byte', bytes('</think>')],
    ['with a token that begins before it ends', [...bytes('a</thi'), piece('nk>', spelling)]],
    ['with an end that was begun before', [...bytes('</thi</thi'), piece('nk>', spelling)]],
  ];
  test.each(ends)('the end of it arms the constraint: %s', (_name, end) => {
    const one = free();
    for (const before of [...bytes('I think {'), ...end]) {
      expect(one.armed).toBe(false);
      one.accept(before);
    }
    expect(one.armed).toBe(true);
    for (const after of bytes('\n\n{"a": "x"')) one.accept(after);
    expect(one.done).toBe(false);
    one.accept(0x7d);
    expect(one.done).toBe(true);
  });

  test('where the vocabulary has a token for it, only that ends thinking', () => {
    const one = constraint(grammar);
    for (const before of bytes('the text </think> {')) one.accept(before);
    expect(one.armed).toBe(false);
    one.accept(id('</think>'));
    expect(one.armed).toBe(true);
    for (const after of bytes('{"a": "x"}')) one.accept(after);
    expect(one.done).toBe(true);
  });

  test('the same token may hold the beginning of the answer, or what must not be there', () => {
    const one = free();
    const start = [...bytes('</thi'), piece('nk>\n\n{', spelling)];
    for (const before of [...start, ...bytes('"a":"x"}')]) one.accept(before);
    expect(one.done).toBe(true);
    const other = free();
    for (const before of bytes('</thi')) other.accept(before);
    const wrong = piece('nk>x', spelling);
    expect(() => other.accept(wrong)).toThrow(expect.objectContaining({ code: 'constraint-broken' }));
  });
});

test('marks are no text: the token stands only where the form asks for it', () => {
  const mark = id('</think>');
  const form = inOrder({ kind: 'regex', pattern: '[^]*' }, token(mark), text('x'));
  const marked = { form, marks: [mark] };
  expect(allows(marked, [0x61, mark, 0x78])).toBe(true);
  expect(allows(marked, [0x61, mark, mark, 0x78])).toBe(false);
  expect(allows(marked, bytes('</think>x'))).toBe(false);
  expect(allowed({ form: { kind: 'regex', pattern: '[^]*' }, marks: [mark] })).not.toContain(mark);
  expect(allowed({ form: { kind: 'regex', pattern: '[^]*' } })).toContain(mark);
});

test('a prefix is part of the form', () => {
  const grammar = (begun: string) => contentGrammar({ kind: 'json-schema', schema }, { begun });
  expect(allows(grammar('{"a": "x'), bytes('y"}'))).toBe(true);
  expect(allows(grammar('{"a": "x'), bytes('{"a": "xy"}'))).toBe(false);
  expect(() => constraint(grammar('Sure: {'))).toThrow(
    expect.objectContaining({ code: 'constraint-broken' }),
  );
});

test('forms are put together of texts, special tokens, schemas, choices and repetitions', () => {
  const call = inOrder(token(id('<call>')), either(text('f'), text('go')), token(id('<sep>')), json(schema));
  const form = inOrder(until('!'), times(call, { min: 1, max: 2, separator: text('\n') }));
  const called = (name: string) => [id('<call>'), ...bytes(name), id('<sep>'), ...bytes('{"a":"x"}')];
  const once = [...bytes('Well, well!'), ...called('f')];
  expect(allows({ form }, once)).toBe(true);
  expect(allows({ form }, [...once, 0x0a, ...called('go')])).toBe(true);
  expect(allows({ form }, [...once, ...called('go')])).toBe(false);
  expect(allows({ form }, [...once, 0x0a, ...called('go'), 0x0a, ...called('f')])).toBe(false);
  expect(allows({ form }, called('f'))).toBe(false);
  expect(allows({ form }, [...bytes('!'), ...called('g')])).toBe(false);
  // The characters of a special token are not it.
  expect(allows({ form }, [...bytes('!<call>f'), id('<sep>'), ...bytes('{"a":"x"}')])).toBe(false);
  expect(allowed({ form }, [0x21])).toEqual([id('<call>')]);
});

test('a vocabulary with the same text twice allows both', () => {
  const twins = pieceTokenizer({ pieces: [utf8.encode('ab'), utf8.encode('ab')], specials: ['<end>'] });
  const one = grammarConstraints(() => twins)(regex('ab'), { endIds: [258] });
  const mask = tokenMask(twins.vocabSize);
  one.mask(mask);
  expect(idsOf(mask)).toEqual([0x61, 256, 257]);
});
