import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AnswerTokens,
  cutAnswer,
  parseAnswer,
  type ReadAnswer,
  saidBy,
} from '../../../test/fixtures/cut-answer.ts';
import { renderPrompt } from '../prompt.ts';
import { pythonJson } from '../python-json.ts';
import { DSML_V4, DSML_V32, DSML_V41, dsmlCalls } from '../renderers/dsml.ts';
import { dsmlParser } from './dsml.ts';

interface AnswerCase {
  readonly format: string;
  readonly title: string;
  readonly text: string;
  readonly opens: 'reasoning' | 'content' | 'tool-calls';
  readonly tools: boolean;
  readonly answer: ReadAnswer;
}

const golden = new URL('../../../test/golden/chat-answers.json', import.meta.url);
const { cases: published } = JSON.parse(readFileSync(golden, 'utf8')) as { cases: AnswerCase[] };
/** V3.2 names its block otherwise than V4, and nothing else; its own published parser refuses whatever is broken. */
const inV32 = published
  .filter(({ format }) => format === 'deepseek-v4')
  .map((entry): AnswerCase => {
    const respelled = JSON.stringify(entry).replaceAll('tool_calls', 'function_calls');
    return { ...JSON.parse(respelled), format: 'deepseek-v3.2' };
  });
const cases = [...published, ...inV32];
const TOOLS = [{ name: 'f' }];
const AS_TOKENS: AnswerTokens = { ordinary: ['<think>', '</think>', '｜DSML｜'], specials: [] };
const AS_TEXT: AnswerTokens = { ordinary: [], specials: [] };
const NAMES = { 'deepseek-v3.2': DSML_V32, 'deepseek-v4': DSML_V4, 'deepseek-v4.1': DSML_V41 };

function readAs(
  format: keyof typeof NAMES,
  tokens: AnswerTokens,
  { text, opens, tools }: AnswerCase,
  places: number[],
) {
  const names = NAMES[format];
  const opened = [{ kind: 'text', text: `\n\n<` } as const, { kind: 'control', text: '｜DSML｜' } as const];
  return saidBy(
    parseAnswer(dsmlParser(names), cutAnswer(text, tokens, places), {
      opens,
      tools: tools ? TOOLS : [],
      ...(opens === 'tool-calls' ? { opened: [...opened, { kind: 'text', text: `${names.block}>\n` }] } : {}),
    }),
  );
}

describe.each(cases.map((entry) => [`${entry.format}: ${entry.title}`, entry] as const))('%s', (_, entry) => {
  const format = entry.format as keyof typeof NAMES;

  test.each([
    ['tokens', AS_TOKENS],
    ['text', AS_TEXT],
  ] as const)('is read as by deepseek-recipe, its marks being %s', (_form, tokens) => {
    expect(readAs(format, tokens, entry, [])).toEqual(entry.answer);
  });

  test('is read alike however it is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 40 }), fc.boolean(), (places, marked) => {
        const read = readAs(format, marked ? AS_TOKENS : AS_TEXT, entry, places);
        expect(read).toEqual(entry.answer);
      }),
      { numRuns: 60 },
    );
  });
});

test('every one of the 2^11 ways of cutting a short answer', () => {
  const text = 'a</think>\n<｜DSML｜invoke name="f">';
  const answer = { reasoning: 'a', content: '', calls: [{ name: 'f', arguments: '' }] };
  // Only what stands where a tag could be cut: the rest is one piece.
  const inside = Array.from({ length: 11 }, (_, i) => i + 1);
  for (let bits = 0; bits < 2 ** inside.length; bits++) {
    const places = inside.filter((_, i) => (bits >> i) & 1);
    const read = saidBy(
      parseAnswer(dsmlParser(DSML_V4), cutAnswer(text, AS_TEXT, places), {
        opens: 'reasoning',
        tools: TOOLS,
      }),
    );
    if (JSON.stringify(read) !== JSON.stringify(answer))
      expect({ places, read }).toEqual({ places, read: answer });
  }
});

test.each(Object.entries(NAMES))('calls of %s come back as they were written', (_, names) => {
  const json = fc.dictionary(
    fc.string({ unit: 'grapheme', maxLength: 6 }).filter(plain),
    fc.jsonValue({ maxDepth: 3 }),
  );
  fc.assert(
    fc.property(
      fc.array(json, { minLength: 1, maxLength: 3 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      (all, places) => {
        const calls = all.map((value, i) => ({
          id: `${i}`,
          name: `tool_${i}`,
          arguments: pythonJson(value),
        }));
        const text = `so</think>${renderPrompt(dsmlCalls(names, calls).parts)}`;
        const read = parseAnswer(dsmlParser(names), cutAnswer(text, AS_TOKENS, places), {
          opens: 'reasoning',
          tools: TOOLS,
        });
        expect(saidBy(read)).toEqual({
          reasoning: 'so',
          content: '',
          calls: calls.map(({ name, arguments: written }) => ({ name, arguments: written })),
        });
      },
    ),
    { numRuns: 150 },
  );
});

/** What a name between quotes cannot hold: the language has no escapes. */
const plain = (name: string): boolean => !/["<>｜]/.test(name);

test('text that spells a tag is text where the vocabulary has the token', () => {
  const text = '</think>It writes <｜DSML｜tool_calls>';
  const tokenizer = cutAnswer(text, AS_TOKENS, []).tokenizer;
  const spelled = [...new TextEncoder().encode('It writes <｜DSML｜invoke name="f">')];
  const read = parseAnswer(dsmlParser(DSML_V4), { tokenizer, ids: spelled }, { tools: TOOLS });
  expect(saidBy(read)).toEqual({ reasoning: '', content: 'It writes <｜DSML｜invoke name="f">', calls: [] });
});
