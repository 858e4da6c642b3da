import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutAnswer, parseAnswer, type ReadAnswer, saidBy } from '../../../test/fixtures/cut-answer.ts';
import { goldenFormat } from '../../../test/golden/chat-prompts/golden.ts';
import { CALL, CALL_END, CALL_SEP, CALLS, CALLS_END } from '../deepseek-tokens.ts';
import type { AnswerStart } from '../format.ts';
import { renderPrompt } from '../prompt.ts';
import { pythonJson } from '../python-json.ts';
import { tokenCallParser } from './token-calls.ts';

const TOKENS = { ordinary: ['<think>', '</think>'], specials: [CALLS, CALLS_END, CALL, CALL_END, CALL_SEP] };
const TOOLS = [{ name: 'f' }];
const R1 = tokenCallParser('fenced', { thinks: true });
const V31 = tokenCallParser('bare', { thinks: true });
const V3 = tokenCallParser('fenced', { thinks: false });

const fenced = (name: string, json: string) =>
  `${CALL}function${CALL_SEP}${name}\n\`\`\`json\n${json}\n\`\`\`${CALL_END}`;
const bare = (name: string, json: string) => `${CALL}${name}${CALL_SEP}${json}${CALL_END}`;
const none: ReadAnswer = { reasoning: '', content: '', calls: [] };
const f = (written = '{"x": 1}') => ({ name: 'f', arguments: written });

/** Answers that are whole and answers that are not, and what becomes of them. The guide has the same table. */
const ANSWERS: readonly (readonly [
  title: string,
  parser: typeof R1,
  text: string,
  answer: Partial<ReadAnswer>,
  opens?: AnswerStart,
  tools?: boolean,
])[] = [
  ['R1 thinks and answers', R1, 'hm\n</think>\n\nYes.', { reasoning: 'hm', content: 'Yes.' }, 'reasoning'],
  [
    'R1 opens what the prompt opened already',
    R1,
    '<think>\nhm</think>Yes',
    { reasoning: 'hm', content: 'Yes' },
    'reasoning',
  ],
  ['R1-0528 opens thinking itself', R1, '<think>\nhm\n</think>\n\nYes', { reasoning: 'hm', content: 'Yes' }],
  ['R1-0528 does not think', R1, '\nYes', { content: 'Yes' }],
  ['R1 thinks nothing', R1, '\n\n</think>\n\nYes', { content: 'Yes' }, 'reasoning'],
  ['an end of thinking alone', V31, '</think>Yes', { content: 'Yes' }],
  ['thinking that never ends', R1, 'hm\n', { reasoning: 'hm\n' }, 'reasoning'],
  ['tags of thinking where the format has none', V3, '<think>a</think>', { content: '<think>a</think>' }],
  [
    'R1 calls',
    R1,
    `hm</think>ok${CALLS}${fenced('f', '{"x": 1}')}${CALLS_END}`,
    { reasoning: 'hm', content: 'ok', calls: [f()] },
    'reasoning',
  ],
  [
    'R1 calls twice',
    R1,
    `${CALLS}${fenced('f', '{}')}\n${fenced('g', '{"a": "\\n"}')}${CALLS_END}`,
    { calls: [f('{}'), { name: 'g', arguments: '{"a": "\\n"}' }] },
  ],
  [
    'V3.1 calls twice',
    V31,
    `ok${CALLS}${bare('f', '{"x": 1}')}${bare('f', '')}${CALLS_END}`,
    { content: 'ok', calls: [f(), f('')] },
  ],
  [
    'a call inside thinking that is not closed',
    V31,
    `hm\n${CALLS}${bare('f', '{"x": 1}')}${CALLS_END}</think>no`,
    { reasoning: 'hm', calls: [f()] },
    'reasoning',
  ],
  [
    'a call that nobody offered',
    V31,
    `${CALLS}${bare('f', '{}')}${CALLS_END}`,
    { content: 'f{}' },
    'content',
    false,
  ],
  ['text behind the calls', V31, `${CALLS}${bare('f', '{"x": 1}')}${CALLS_END}after`, { calls: [f()] }],
  [
    'text between calls',
    V31,
    `${CALLS}${bare('f', '{"x": 1}')} and ${bare('f', '{"x": 1}')}`,
    { calls: [f(), f()] },
  ],
  [
    'arguments that are broken JSON',
    V31,
    `${CALLS}${bare('f', '{"x": ')}${CALLS_END}`,
    { calls: [f('{"x": ')] },
  ],
  [
    'a call without a separator',
    V31,
    `${CALLS}${CALL}f{"x": 1}${CALL_END}${CALLS_END}`,
    { content: 'f{"x": 1}' },
  ],
  ['a block without calls', V31, `ok${CALLS}${CALLS_END}`, { content: 'ok' }],
  [
    'calls that are not closed',
    V31,
    `${CALLS}${CALL}f${CALL_SEP}{"x": 1}${CALL}f${CALL_SEP}{"x": 1}`,
    { calls: [f(), f()] },
  ],
  ['an end inside the arguments', V31, `${CALLS}${CALL}f${CALL_SEP}{"x"`, { calls: [f('{"x"')] }],
  ['an end inside the name', V31, `${CALLS}${CALL}get_w`, { content: 'get_w' }],
  [
    'a fence that is missing',
    R1,
    `${CALLS}${CALL}function${CALL_SEP}f\n{"x": 1}${CALL_END}${CALLS_END}`,
    { calls: [f()] },
  ],
  [
    'a fence without a language',
    R1,
    `${CALLS}${CALL}function${CALL_SEP}f\n\`\`\`\n{"x": 1}\n\`\`\`${CALL_END}`,
    { calls: [f()] },
  ],
  [
    'an end inside the fence',
    R1,
    `${CALLS}${CALL}function${CALL_SEP}f\n\`\`\`json\n{"x": 1}\n\`\``,
    { calls: [f('{"x": 1}\n``')] },
  ],
  ['a name and nothing else', R1, `${CALLS}${CALL}function${CALL_SEP}f${CALL_END}`, { calls: [f('')] }],
];

describe.each(ANSWERS.map((entry) => ({ title: entry[0], entry })))('$title', ({ entry }) => {
  const [, parser, text, answer, opens = 'content', tools = true] = entry;
  test('is read, however it is cut', () => {
    const options = { opens, tools: tools ? TOOLS : [] };
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 30 }), (places) => {
        const read = saidBy(parseAnswer(parser, cutAnswer(text, TOKENS, places), options));
        expect(read).toEqual({ ...none, ...answer });
      }),
      { numRuns: 60 },
    );
  });
});

test('an answer that goes on from a prefix keeps its first newlines', () => {
  const cut = cutAnswer('\n\nmore', TOKENS, []);
  expect(saidBy(parseAnswer(V31, cut, { continues: true })).content).toBe('\n\nmore');
  expect(saidBy(parseAnswer(V31, cut)).content).toBe('more');
});

test('stop strings end the content and leave thinking alone', () => {
  const cut = cutAnswer('a. b</think>c. d', TOKENS, [1, 2, 3]);
  const read = parseAnswer(V31, cut, { opens: 'reasoning', stop: ['. '] });
  expect(saidBy(read)).toEqual({ reasoning: 'a. b', content: 'c', calls: [] });
});

test('a delta has the tokens of its text, and tags have none', () => {
  const { tokenizer } = cutAnswer('', TOKENS, []);
  const [close, begin] = ['</think>', CALLS].map((text) => tokenizer.idOf(text) ?? -1);
  const ids = [97, 10, close ?? 0, 10, 98, 10, begin ?? 0];
  const deltas = parseAnswer(V31, { tokenizer, ids }, { opens: 'reasoning', tools: TOOLS });
  expect(deltas).toEqual([
    { type: 'reasoning', choice: 0, text: 'a', tokens: { ids: [97] } },
    { type: 'content', choice: 0, text: 'b', tokens: { ids: [98] } },
  ]);
});

describe.each([
  { name: 'deepseek-r1-0528', opens: 'content' },
  { name: 'deepseek-v3.1', opens: 'content' },
] as const)('$name', ({ name, opens }) => {
  const format = goldenFormat(name);

  test('calls come back as they were written', () => {
    const json = fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 3 }));
    fc.assert(
      fc.property(
        fc.array(json, { minLength: 1, maxLength: 3 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (all, places) => {
          const toolCalls = all.map((value, i) => ({
            id: `${i}`,
            name: `tool_${i}`,
            arguments: pythonJson(value),
          }));
          const asked = { role: 'user', content: 'Q' } as const;
          const answer = { role: 'assistant', content: 'ok', toolCalls } as const;
          const before = renderPrompt(format.render([asked]).parts);
          const whole = renderPrompt(format.render([asked, answer], { addGenerationPrompt: false }).parts);
          const text = whole.slice(before.length).replace('<｜end▁of▁sentence｜>', '');
          const read = parseAnswer(format.parser, cutAnswer(text, TOKENS, places), { opens, tools: TOOLS });
          const calls = toolCalls.map(({ name: tool, arguments: written }) => ({
            name: tool,
            arguments: written,
          }));
          expect(saidBy(read)).toEqual({ reasoning: '', content: 'ok', calls });
        },
      ),
      { numRuns: 150 },
    );
  });

  test('a choice that has to be made is opened by the prompt, and read on from there', () => {
    const options = { tools: TOOLS, toolChoice: { name: 'f' } };
    const prompt = format.render([{ role: 'user', content: 'Q' }], options);
    const rest = name === 'deepseek-v3.1' ? `{"x": 1}${CALL_END}` : `{"x": 1}\n\`\`\`${CALL_END}`;
    const read = parseAnswer(format.parser, cutAnswer(`${rest}${CALLS_END}`, TOKENS, [3]), {
      ...prompt,
      tools: TOOLS,
    });
    expect(prompt.opens).toBe('tool-calls');
    expect(saidBy(read)).toEqual({ ...none, calls: [f()] });
  });
});
