/** Owns: whatever a grammar of calls allows is read by the parser of its format as calls that fit the schemas. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { saidBy } from '../../../test/fixtures/cut-answer.ts';
import { randomWalk } from '../../../test/fixtures/grammar-walk.ts';
import { pieceTokenizer } from '../../../test/fixtures/piece-tokenizer.ts';
import { CALL, CALL_END, CALL_SEP, CALLS, CALLS_END, DSML, THINK, THINK_END } from '../deepseek-tokens.ts';
import type { Message, ToolChoice, ToolDefinition } from '../delta.ts';
import type { ParserOptions, RenderedPrompt } from '../format.ts';
import { grammarConstraints } from '../grammar/constraint.ts';
import { dsmlParser } from '../parsers/dsml.ts';
import { tokenCallParser } from '../parsers/token-calls.ts';
import type { RenderOptions } from '../support.ts';
import { dsmlCallGrammar, tokenCallGrammar } from './call-grammar.ts';
import { type DeepseekV3Variant, deepseekV3Prompt, deepseekV3Support } from './deepseek-v3.ts';
import { deepseekV4Prompt } from './deepseek-v4.ts';
import { deepseekV31Prompt } from './deepseek-v31.ts';
import { deepseekV32Prompt } from './deepseek-v32.ts';
import { DSML_V4, DSML_V32, DSML_V41 } from './dsml.ts';

const tags = [CALLS, CALLS_END, CALL, CALL_END, CALL_SEP, DSML, THINK, THINK_END];
const pieces = ['{"', '":', '"}', 'true', '</', 'city', '\n```'].map((text) =>
  new TextEncoder().encode(text),
);
/** Vocabularies have tags as control tokens, or as ordinary ones. */
const VOCABULARIES = {
  control: pieceTokenizer({ pieces, specials: ['<end>', ...tags] }),
  ordinary: pieceTokenizer({ pieces, ordinary: tags, specials: ['<end>'] }),
};

const STRICT: ToolDefinition = {
  name: 'weather',
  strict: true,
  parameters: {
    type: 'object',
    properties: {
      city: { type: 'string', description: 'Where' },
      days: { type: 'integer', minimum: 1, maximum: 9 },
      unit: { enum: ['C', 'F'] },
      at: { $ref: '#/$defs/place' },
    },
    required: ['city', 'days', 'unit', 'at'],
    additionalProperties: false,
    $defs: {
      place: { anyOf: [{ type: 'null' }, { type: 'array', items: { type: 'boolean' }, maxItems: 2 }] },
    },
  },
};
const NOTHING: ToolDefinition = { name: 'now', strict: true };
const LOOSE: ToolDefinition = { name: 'search', parameters: { type: 'object', not: {} } };
const TOOLS = [STRICT, NOTHING, LOOSE];

const V3: DeepseekV3Variant = {
  family: 'deepseek-v3',
  systems: 'joined',
  assistant: 'after-user',
  opensThinking: false,
};
type Render = (messages: readonly Message[], options: RenderOptions) => RenderedPrompt;
const FORMATS: Readonly<
  Record<
    string,
    readonly [Render, (options: ParserOptions) => ReturnType<ReturnType<typeof dsmlParser>>, typeof bare]
  >
> = {
  'deepseek-v3': [
    (messages, options) => deepseekV3Prompt(messages, V3, deepseekV3Support(V3, true), options),
    tokenCallParser('fenced', { thinks: false }),
    (tokenizer) => tokenCallGrammar('fenced', tokenizer),
  ],
  'deepseek-v3.1': [deepseekV31Prompt, tokenCallParser('bare', { thinks: true }), bare],
  'deepseek-v3.2': [
    deepseekV32Prompt,
    dsmlParser(DSML_V32),
    (tokenizer) => dsmlCallGrammar(DSML_V32, tokenizer),
  ],
  'deepseek-v4': [
    (messages, options) => deepseekV4Prompt(messages, 'v4', options),
    dsmlParser(DSML_V4),
    (tokenizer) => dsmlCallGrammar(DSML_V4, tokenizer),
  ],
  'deepseek-v4.1': [
    (messages, options) => deepseekV4Prompt(messages, 'v4.1', options),
    dsmlParser(DSML_V41),
    (tokenizer) => dsmlCallGrammar(DSML_V41, tokenizer),
  ],
};

function bare(tokenizer: (typeof VOCABULARIES)['control']) {
  return tokenCallGrammar('bare', tokenizer);
}

const validate = new Ajv2020({ strict: false }).compile(STRICT.parameters!);

describe.each(Object.keys(FORMATS))('%s', (name) => {
  const [render, parser, grammarOf] = FORMATS[name]!;
  describe.each(Object.keys(VOCABULARIES) as (keyof typeof VOCABULARIES)[])('tags as %s tokens', (kind) => {
    const tokenizer = VOCABULARIES[kind];
    const endId = tokenizer.idOf('<end>')!;
    const make = grammarConstraints(() => tokenizer);

    test.each<[string, ToolChoice]>([
      ['auto', 'auto'],
      ['required', 'required'],
      ['named', { name: 'weather' }],
      ['loose', { name: 'search' }],
    ])('calls obey: %s', (_title, toolChoice) => {
      const asked = { tools: TOOLS, toolChoice, thinking: false };
      const { opens, opened = [] } = render([{ role: 'user', content: 'Hi' }], asked);
      const held = grammarOf(tokenizer)(asked, opens)!;
      const ending = { ids: held.marks, chars: '"}</`\n' };
      let calls = 0;
      for (let seed = 0; seed < 12; seed++) {
        const ids = randomWalk(make(held, { endIds: [endId] }), tokenizer, {
          seed,
          endId,
          patience: 30,
          ending,
        });
        if (ids === undefined) continue;
        const reading = parser({ tokenizer, opens, opened, tools: TOOLS });
        const deltas = [...ids.flatMap((id) => [...reading.push({ id })]), ...reading.end()];
        const said = saidBy(deltas);
        calls += said.calls.length;
        if (toolChoice !== 'auto') expect(said.content).toBe('');
        for (const { name: tool, arguments: json } of said.calls) {
          expect(TOOLS.map((one) => one.name)).toContain(tool);
          if (typeof toolChoice === 'object') expect(tool).toBe(toolChoice.name);
          const value: unknown = JSON.parse(json);
          if (tool === 'weather')
            expect([json, validate(value), validate.errors]).toEqual([json, true, null]);
          if (tool === 'now') expect(json).toBe('{}');
          expect(value).toEqual(expect.any(Object));
        }
      }
      if (toolChoice !== 'auto') expect(calls).toBeGreaterThan(3);
    });
  });
});

test('nothing is held where no tool is strict and none is required', () => {
  const grammar = bare(VOCABULARIES.control);
  expect(grammar({ tools: [LOOSE] }, 'content')).toBeUndefined();
  expect(grammar({ tools: [STRICT], toolChoice: 'none' }, 'content')).toBeUndefined();
  expect(grammar({ tools: [LOOSE], toolChoice: 'required' }, 'tool-calls')).toBeDefined();
});
