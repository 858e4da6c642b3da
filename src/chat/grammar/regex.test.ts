import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HadalError } from '../../error.ts';
import { accepts, automatonOf } from './automaton.ts';
import { Budget } from './budget.ts';
import { type Anchoring, parseRegex } from './regex.ts';
import { insideJson, literal, sequence } from './regular.ts';

const utf8 = new TextEncoder();
const automaton = (pattern: string, anchoring: Anchoring) =>
  automatonOf(parseRegex(pattern, anchoring), new Budget());

/** Undefined where it is refused for its size. */
function unlessTooLarge<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof HadalError && error.code === 'grammar-too-large') return undefined;
    throw error;
  }
}

/** Characters that patterns and texts are made of: few, so that they meet. */
const CHARS = [
  'a',
  'b',
  'c',
  '0',
  '7',
  '_',
  ' ',
  '-',
  '.',
  '\n',
  '"',
  '\\',
  'é',
  'ß',
  '€',
  '😀',
  '\u2028',
  '\u0001',
];
const text = fc.array(fc.constantFrom(...CHARS), { maxLength: 9 }).map((chars) => chars.join(''));

const escaped = (char: string) => char.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&').replace('\n', '\\n');
const classAtom = fc.oneof(
  fc.constantFrom(...CHARS.filter((char) => char !== '-')).map((char) => escaped(char).replace('^', '\\^')),
  fc.constantFrom(
    'a-c',
    '0-9',
    'À-ÿ',
    '\\d',
    '\\w',
    '\\s',
    '\\D',
    '\\W',
    '\\S',
    '\\u{1F600}',
    '\\x41',
    '\\-',
  ),
);
const atom = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...CHARS).map(escaped) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('.', '\\d', '\\w', '\\s', '\\S', '\\W', '\\p{Lu}', '\\P{L}', '\\uD83D\\uDE00'),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.boolean(), fc.array(classAtom, { minLength: 1, maxLength: 3 }))
      .map(([negated, atoms]) => `[${negated ? '^' : ''}${atoms.join('')}]`),
  },
);
const quantifier = fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{1,3}', '{2,}', '*?', '{0,2}?');
const pattern = fc.letrec((tie) => ({
  term: fc
    .tuple(
      fc.oneof(
        { maxDepth: 2, depthIdentifier: 'groups' },
        { weight: 4, arbitrary: atom },
        { weight: 1, arbitrary: tie('group') },
      ),
      quantifier,
    )
    .map(([inner, count]) => `${inner as string}${count}`),
  sequence: fc.array(tie('term'), { minLength: 0, maxLength: 4 }).map((parts) => parts.join('')),
  choice: fc.array(tie('sequence'), { minLength: 1, maxLength: 3 }).map((options) => options.join('|')),
  group: fc
    .tuple(fc.constantFrom('(', '(?:', '(?<n>'), tie('choice'))
    .map(([open, inner]) => `${open === '(?<n>' ? '(' : open}${inner as string})`),
  whole: fc
    .tuple(fc.constantFrom('', '^'), tie('sequence'), fc.constantFrom('', '$'))
    .map(([start, inner, end]) => `${start}${inner as string}${end}`),
  pattern: fc.array(tie('whole'), { minLength: 1, maxLength: 3 }).map((options) => options.join('|')),
})).pattern as fc.Arbitrary<string>;

describe('patterns mean what they mean in JavaScript', () => {
  test.each(['whole', 'search'] as const)('%s', (anchoring) => {
    let tooLarge = 0;
    fc.assert(
      fc.property(pattern, fc.array(text, { minLength: 5, maxLength: 20 }), (source, texts) => {
        const oracle = new RegExp(anchoring === 'whole' ? `^(?:${source})$` : source, 'u');
        const ours = unlessTooLarge(() => automaton(source, anchoring));
        if (ours === undefined) return void tooLarge++;
        for (const one of texts) {
          expect([one, accepts(ours, utf8.encode(one))]).toEqual([one, oracle.test(one)]);
        }
      }),
      { numRuns: 150, seed: 3, endOnFailure: true },
    );
    expect(tooLarge).toBeLessThan(12);
  });

  test('and inside of JSON strings, in the spelling of JSON.stringify', () => {
    let tooLarge = 0;
    fc.assert(
      fc.property(pattern, fc.array(text, { minLength: 5, maxLength: 20 }), (source, texts) => {
        const oracle = new RegExp(source, 'u');
        const quoted = sequence(literal('"'), insideJson(parseRegex(source, 'search')), literal('"'));
        const ours = unlessTooLarge(() => automatonOf(quoted, new Budget()));
        if (ours === undefined) return void tooLarge++;
        for (const one of texts) {
          expect([one, accepts(ours, utf8.encode(JSON.stringify(one)))]).toEqual([one, oracle.test(one)]);
        }
      }),
      { numRuns: 100, seed: 4, endOnFailure: true },
    );
    expect(tooLarge).toBeLessThan(12);
  });

  test('on every string of bytes: only UTF-8 is accepted', () => {
    const any = automaton('[^]*', 'whole');
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    const bytes = fc.array(fc.oneof(fc.integer({ min: 0x80, max: 0xff }), fc.integer({ min: 0, max: 255 })), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(bytes, (list) => {
        const sequenceOfBytes = Uint8Array.from(list);
        let valid = true;
        try {
          decoder.decode(sequenceOfBytes);
        } catch {
          valid = false;
        }
        expect(accepts(any, sequenceOfBytes)).toBe(valid);
      }),
      { numRuns: 3000, seed: 5 },
    );
  });
});

describe('refused', () => {
  test.each([
    ['a(?=b)', 'regex-unsupported', /lookahead/],
    ['(?<!a)b', 'regex-unsupported', /lookbehind/],
    ['(a)\\1', 'regex-unsupported', /backreferences/],
    ['\\bword\\b', 'regex-unsupported', /word boundaries/],
    ['a^b', 'regex-unsupported', /"\^" in the middle/],
    ['(a$)b', 'regex-unsupported', /"\$" in the middle/],
    ['a**', 'regex-invalid', /one quantifier/],
    ['(', 'regex-invalid', /"\)"/],
    [')', 'regex-invalid', /a group that opens/],
    ['[a', 'regex-invalid', /"\]"/],
    ['[z-a]', 'regex-invalid', /ascending/],
    ['a{2,1}', 'regex-invalid', /ascending/],
    ['\\q', 'regex-invalid', /known escape/],
    ['\\p{Nonsense}', 'regex-invalid', /known property/],
    ['(?i:a)', 'regex-unsupported', /flags/],
    ['a{100001}', 'regex-unsupported', /counts above/],
    ['('.repeat(200) + ')'.repeat(200), 'regex-unsupported', /nested/],
    ['x'.repeat(20_001), 'grammar-too-large', /at most 20000/],
  ])('%s', (source, code, sentence) => {
    const refusal = expect.objectContaining({ code, message: expect.stringMatching(sentence) });
    expect(() => parseRegex(source, 'whole')).toThrow(refusal);
  });

  test.each([
    '(a{1000}){1000}',
    '((a{0,300}){0,300}){0,300}',
    '(a|b)*a(a|b){24}',
    '(.{0,500}){0,500}',
    '\\p{L}{2000}',
  ])('%s takes too much', (source) => {
    const refusal = expect.objectContaining({ code: 'grammar-too-large' });
    expect(() => automaton(source, 'whole')).toThrow(refusal);
  });
});
