import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { allowsText, randomWalk } from '../../../test/fixtures/grammar-walk.ts';
import { pieceTokenizer } from '../../../test/fixtures/piece-tokenizer.ts';
import { sample, schemas } from '../../../test/fixtures/random-schemas.ts';
import { golden } from '../../../test/golden/tokenizer/golden.ts';
import { HadalError } from '../../error.ts';
import { tokenizerFromJson } from '../../tokenizer/from-json.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { grammarConstraints } from './constraint.ts';
import { contentGrammar } from './form.ts';

const utf8 = new TextEncoder();
/** All bytes, and pieces that cut JSON and UTF-8 where it hurts. */
const pieces = pieceTokenizer({
  pieces: [
    ...[
      '{"',
      '":',
      '": ',
      '",',
      '", "',
      '"}',
      '"]',
      '[[',
      ']]',
      '}}',
      '},{',
      'true',
      'null',
      'als',
      '00',
      '1.',
      'e+',
    ],
    ...['\\u', '\\"', 'name', 'tags":["', '\n  ', 'AB', '9999', 'é"', 'ü'],
  ]
    .map((text) => utf8.encode(text))
    .concat([Uint8Array.of(0xf0, 0x9f), Uint8Array.of(0x98, 0x80, 0x22), Uint8Array.of(0x22, 0xc3)]),
  specials: ['<end>'],
});
/** A real vocabulary, as far as its golden file holds it. */
const smollm = tokenizerFromJson(golden('smollm').tokenizer);
const endOf = (tokenizer: Tokenizer) => [...tokenizer.endIds][0]!;

const makers = new Map([pieces, smollm].map((one) => [one, grammarConstraints(() => one)]));
const constraintOf = (schema: unknown, tokenizer: Tokenizer = pieces) =>
  makers.get(tokenizer)!(contentGrammar({ kind: 'json-schema', schema }, {}), { endIds: [endOf(tokenizer)] });

/** Whether a text is allowed, byte by byte. */
const allows = (schema: unknown, text: string) =>
  allowsText(constraintOf(schema), utf8.encode(text), { vocabSize: pieces.vocabSize, endId: endOf(pieces) });

const validatorOf = (schema: object) =>
  new Ajv2020({ strict: false, validateFormats: false }).compile(schema);

/** Undefined where no text fits the schema, or where it is too much for the subset. */
function unlessRefused<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    const codes = ['grammar-unsatisfiable', 'grammar-too-large', 'schema-unsupported'];
    if (error instanceof HadalError && codes.includes(error.code)) return undefined;
    throw error;
  }
}

describe.each([
  ['a vocabulary of pieces', pieces, 250],
  ["SmolLM2's vocabulary", smollm, 60],
] as const)('with %s', (_name, tokenizer, numRuns) => {
  test('every text that the masks allow fits the schema', () => {
    let walked = 0;
    let refused = 0;
    fc.assert(
      fc.property(schemas, fc.integer({ min: 0, max: 1 << 30 }), (schema, seed) => {
        const constraint = unlessRefused(() => constraintOf(schema, tokenizer));
        if (constraint === undefined) return void refused++;
        const ids = randomWalk(constraint, tokenizer, { seed, endId: endOf(tokenizer), patience: 25 });
        if (ids === undefined) return;
        walked++;
        const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
          Uint8Array.from(ids.flatMap((id) => [...tokenizer.bytesOf(id)])),
        );
        const validate = validatorOf(schema);
        expect([text, validate(JSON.parse(text)), validate.errors]).toEqual([text, true, null]);
      }),
      { numRuns, seed: 21, endOnFailure: true },
    );
    expect(walked).toBeGreaterThan(numRuns * 0.5);
    expect(refused).toBeLessThan(numRuns * 0.4);
  });
});

test('values that fit a schema are allowed as JSON.stringify writes them, and only those', () => {
  let fitting = 0;
  let others = 0;
  fc.assert(
    fc.property(schemas, fc.integer({ min: 0, max: 1 << 30 }), (schema, seed) => {
      if (unlessRefused(() => constraintOf(schema)) === undefined) return;
      const validate = validatorOf(schema);
      for (let i = 0; i < 6; i++) {
        const value = sample(schema, schema, seed + i);
        const text = JSON.stringify(value);
        const fits = validate(value);
        if (fits) fitting++;
        else others++;
        expect([text, allows(schema, text)]).toEqual([text, fits]);
      }
    }),
    { numRuns: 250, seed: 22, endOnFailure: true },
  );
  expect(fitting).toBeGreaterThan(250);
  expect(others).toBeGreaterThan(100);
});
