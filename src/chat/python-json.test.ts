import fc from 'fast-check';
import { expect, test } from 'vitest';
import { pythonJson, readJson, writeJson } from './python-json.ts';

/** Texts and what Python 3.11 answers to `json.dumps(json.loads(text), ensure_ascii=False)`. */
const PYTHON: readonly (readonly [text: string, python: string])[] = [
  ['{"2":1,"1":[1,2.50,{"k":"é"}]}', '{"2": 1, "1": [1, 2.5, {"k": "é"}]}'],
  [' [ true , false,null ] ', '[true, false, null]'],
  ['{"a":1,"b":2,"a":3}', '{"a": 3, "b": 2}'],
  ['[1.0, 1e5, 1E+2, -0.0, -0, 0.1, 100.25]', '[1.0, 100000.0, 100.0, -0.0, 0, 0.1, 100.25]'],
  [
    '[12345678901234567890, 1e15, 1e16, 1.5e16]',
    '[12345678901234567890, 1000000000000000.0, 1e+16, 1.5e+16]',
  ],
  ['[0.0001, 0.00001, 1.25e-7, 123456789.123]', '[0.0001, 1e-05, 1.25e-07, 123456789.123]'],
  ['"\\u00e9\\n\\u0007 \\/ \\"\\\\ \\u007f"', '"é\\n\\u0007 / \\"\\\\ \u007f"'],
  ['{}', '{}'],
  ['[]', '[]'],
  ['1e400', 'Infinity'],
];

test.each(PYTHON)('%s is written as Python writes it', (text, python) => {
  const tree = readJson(text);
  expect(tree && writeJson(tree)).toBe(python);
});

test.each(['', '{', '[1,]', '{"a"}', "{'a':1}", '01', '1 2', '"\n"', 'nul', '[1', '{"a":1,}', 'NaN'])(
  '%s is no JSON',
  (text) => {
    expect(readJson(text)).toBeUndefined();
  },
);

test('nesting has an end', () => {
  expect(readJson(`${'['.repeat(150)}${']'.repeat(150)}`)).toBeDefined();
  expect(readJson('['.repeat(1_000_000))).toBeUndefined();
  let deep: unknown = 0;
  for (let i = 0; i < 500; i++) deep = [deep];
  expect(() => pythonJson(deep)).toThrow(RangeError);
});

test('what is written says the same', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      expect(JSON.parse(pythonJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
    { numRuns: 300 },
  );
});
