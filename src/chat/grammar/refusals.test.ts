/** Owns: what is refused, with its sentence, and that hostile schemas come to an end. */
import { describe, expect, test } from 'vitest';
import { compileGrammar } from './compile.ts';
import { startThreads } from './machine.ts';

const compile = (schema: unknown) => compileGrammar({ kind: 'json-schema', schema });
const refusal = (code: string, sentence: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(sentence) });
const nested = (depth: number, wrap: (inner: unknown) => unknown, inner: unknown = true): unknown => {
  let schema = inner;
  for (let i = 0; i < depth; i++) schema = wrap(schema);
  return schema;
};

/** Keywords of draft 2020-12 and its forerunners that are not enforced. */
const KEYWORDS = [
  'not if then else patternProperties propertyNames minProperties maxProperties dependentRequired',
  'dependentSchemas dependencies unevaluatedProperties unevaluatedItems additionalItems contains minContains',
  'maxContains uniqueItems contentEncoding contentMediaType $anchor $dynamicRef nullable typo',
].flatMap((line) => line.split(' '));

test.each(KEYWORDS)('the keyword %s is refused by name, with its place', (keyword) => {
  const schema = { type: 'object', properties: { 'a/b': { [keyword]: {} } } };
  expect(() => compile(schema)).toThrow(
    refusal('schema-unsupported', new RegExp(`#/properties/a~1b.*"${keyword.replace('$', '\\$')}"`)),
  );
});

test.each<[string, unknown, string, RegExp]>([
  ['a format', { type: 'string', format: 'idn-email' }, 'schema-unsupported', /format "idn-email"/],
  ['a reference elsewhere', { $ref: 'https://example.com' }, 'schema-unsupported', /somewhere else/],
  ['a reference to nothing', { $ref: '#/$defs/no' }, 'schema-invalid', /a pointer to a part/],
  ['a fraction in multipleOf', { multipleOf: 0.1 }, 'schema-unsupported', /multipleOf/],
  ['two sets of alternatives', { anyOf: [{}], oneOf: [{}] }, 'schema-unsupported', /anyOf and oneOf/],
  ['options that are not apart', { oneOf: [{ type: 'string' }, {}] }, 'schema-unsupported', /oneOf/],
  ['a type that is none', { type: 'float' }, 'schema-invalid', /one of object/],
  ['no schema', 'string', 'schema-invalid', /an object, true or false/],
  ['properties in a list', { properties: [] }, 'schema-invalid', /an object of schemas/],
  ['a pattern that is none', { type: 'string', pattern: '(' }, 'regex-invalid', /"\)"/],
  ['a pattern that looks ahead', { type: 'string', pattern: '(?=a)' }, 'regex-unsupported', /lookahead/],
  ['nothing', false, 'grammar-unsatisfiable', /none fulfils/],
  ['bounds that contradict', { type: 'integer', minimum: 3, maximum: 2 }, 'grammar-unsatisfiable', /none/],
  [
    'lengths that contradict',
    { type: 'string', minLength: 2, maxLength: 1 },
    'grammar-unsatisfiable',
    /none/,
  ],
  [
    'no end',
    { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] },
    'grammar-unsatisfiable',
    /none/,
  ],
])('%s', (_name, schema, code, sentence) => {
  expect(() => compile(schema)).toThrow(refusal(code, sentence));
});

describe('hostile schemas end with a sentence', () => {
  const wide = (depth: number): unknown => nested(depth, (inner) => ({ anyOf: [inner, inner, inner] }));
  test.each<[string, unknown, string]>([
    ['deep', nested(5_000, (items) => ({ type: 'array', items })), 'schema-unsupported'],
    ['deep alternatives', wide(60), 'grammar-too-large'],
    ['deep allOf', nested(5_000, (inner) => ({ allOf: [inner] })), 'schema-unsupported'],
    ['allOf that doubles', nested(60, (inner) => ({ allOf: [inner, inner] })), 'grammar-too-large'],
    ['allOf of itself', { allOf: [{ $ref: '#' }] }, 'schema-unsupported'],
    ['a reference to itself', { $ref: '#' }, 'grammar-unsatisfiable'],
    [
      'references in a circle',
      { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } },
      'grammar-unsatisfiable',
    ],
    [
      'references that double',
      {
        $ref: '#/$defs/d0',
        $defs: Object.fromEntries(
          Array.from({ length: 41 }, (_, i): [string, object] => {
            const $ref = `#/$defs/d${i + 1}`;
            return [`d${i}`, i === 40 ? {} : { allOf: [{ $ref }, { $ref }] }];
          }),
        ),
      },
      'grammar-too-large',
    ],
    [
      'many alternatives',
      { anyOf: Array.from({ length: 300_000 }, () => ({ const: 1 })) },
      'grammar-too-large',
    ],
    ['many values', { enum: Array.from({ length: 60_000 }, (_, i) => i) }, 'schema-unsupported'],
    [
      'long values',
      { enum: Array.from({ length: 400 }, (_, i) => `${i}${'x'.repeat(2_000)}`) },
      'grammar-too-large',
    ],
    ['a deep value', { const: nested(5_000, (inner) => [inner]) }, 'schema-unsupported'],
    ['a huge least length', { type: 'string', minLength: 1e9 }, 'schema-unsupported'],
    ['a wide oneOf', { oneOf: Array.from({ length: 2_000 }, (_, i) => ({ const: i })) }, 'grammar-too-large'],
    ['a pattern of powers', { type: 'string', pattern: '((a{0,300}){0,300}){0,300}' }, 'grammar-too-large'],
    [
      'patterns that meet',
      {
        allOf: Array.from({ length: 20 }, (_, i) => ({ type: 'string', pattern: `^(.{${i + 7}})*$` })),
      },
      'grammar-too-large',
    ],
  ])('%s', (_name, schema, code) => {
    expect(() => compile(schema)).toThrow(expect.objectContaining({ code }));
  });

  test('and those that are allowed are read in bounded time', () => {
    const ambiguous = compile(nested(3, (inner) => ({ anyOf: [inner, inner, inner] }), { type: 'array' }));
    let threads = startThreads(ambiguous);
    for (const byte of new TextEncoder().encode('['.repeat(120))) threads = threads.byte(byte);
    expect(threads.dead).toBe(false);
    expect(threads.list.length).toBeLessThan(2_000);
    for (let i = 0; i < 20; i++) threads = threads.byte(0x5b);
    // Too deep to come to an end.
    expect(threads.dead).toBe(true);
  });
});
