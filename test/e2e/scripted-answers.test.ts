import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Delta, Message, ToolDefinition } from '../../src/chat/delta.ts';
import type { AnswerOptions } from '../../src/runtime/answerer.ts';
import { type OpenedModel, openModel } from '../../src/runtime/open.node.ts';
import { saidBy } from '../fixtures/cut-answer.ts';
import { type ScriptedAnswer, scriptedModel } from '../fixtures/scripted-model.ts';

const TOOLS: readonly ToolDefinition[] = [
  { name: 'weather', description: 'Weather of a city', parameters: { type: 'object' } },
];
const WEATHER = [{ name: 'weather', arguments: '{"city": "Köln"}' }];
const QUESTION: Message = { role: 'user', content: 'Is it raining in Köln?' };
const dsml = (block: string, s = '') =>
  `\n\n<｜DSML｜${block}>\n<｜DSML｜${s}invoke name="weather">\n` +
  `<｜DSML｜${s}parameter name="city" string="true">Köln</｜DSML｜${s}parameter>\n` +
  `</｜DSML｜${s}invoke>\n</｜DSML｜${block}>`;

/** What a model of each format would write, asked and then given the result of its tool. */
const SCRIPTS: Readonly<
  Record<string, { readonly call: string; readonly end: string; readonly thinks: boolean }>
> = {
  'deepseek-r1-0528': {
    call:
      '<think>\nI look.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n' +
      '```json\n{"city": "Köln"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    end: '<think>\nSo.\n</think>\n\nYes, it rains.',
    thinks: true,
  },
  'deepseek-v3.1': {
    call:
      '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Köln"}<｜tool▁call▁end｜>' +
      '<｜tool▁calls▁end｜>',
    end: 'Yes, it rains.',
    thinks: false,
  },
  'deepseek-v3.2': {
    call: `I look.</think>${dsml('function_calls')}`,
    end: 'So.</think>Yes, it rains.',
    thinks: true,
  },
  'deepseek-v4': {
    call: `I look.</think>${dsml('tool_calls')}`,
    end: 'So.</think>Yes, it rains.',
    thinks: true,
  },
  'deepseek-v4.1': {
    call: `I look.</think>${dsml(' calls', ' ')}`,
    end: 'So.</think>Yes, it rains.',
    thinks: true,
  },
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-scripted-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function opened(format: string, answers: readonly ScriptedAnswer[]): Promise<OpenedModel> {
  const { path, env } = await scriptedModel(format, folder, answers);
  return openModel(path, { host: 'process', env });
}

async function ask(model: OpenedModel, messages: readonly Message[], options: AnswerOptions = {}) {
  const deltas: Delta[] = [];
  for await (const delta of model.answerer.chat(messages, options)) deltas.push(delta);
  const end = deltas.at(-1);
  return { ...saidBy(deltas), reason: end?.type === 'end' ? end.reason : undefined, end, deltas };
}

describe.each(Object.entries(SCRIPTS))(
  '%s, through engine, cache and parser',
  (format, { call, end, thinks }) => {
    test('thinks, calls a tool, reads its result and answers', async () => {
      await using model = await opened(format, [{ text: call }, { text: end, after: 'wet and grey' }]);
      expect(model.answerer.contextTokens).toBe(131_072);
      const first = await ask(model, [QUESTION], { tools: TOOLS });
      expect(first).toMatchObject({
        reasoning: thinks ? 'I look.' : '',
        content: '',
        calls: WEATHER,
        reason: 'tool-calls',
      });
      const turn: Message = {
        role: 'assistant',
        content: first.content,
        reasoning: first.reasoning,
        toolCalls: first.calls.map((made, i) => ({ id: `call_${i}`, ...made })),
      };
      const result: Message = { role: 'tool', content: 'wet and grey', toolCallId: 'call_0' };
      const second = await ask(model, [QUESTION, turn, result], { tools: TOOLS });
      expect(second).toMatchObject({ content: 'Yes, it rains.', calls: [], reason: 'stop' });
      expect(second.reasoning).toBe(thinks ? 'So.' : '');
      // The turn that was handed back is, token by token, what was generated: the cache knows it.
      if (second.end?.type === 'end') expect(second.end.usage.cachedTokens).toBeGreaterThan(0);
    });
  },
);

test('an answer that is cut inside its thinking says so', async () => {
  await using model = await opened('deepseek-v4', [{ text: 'I think and think', open: true }]);
  const answer = await ask(model, [QUESTION], { maxTokens: 7 });
  expect(answer).toMatchObject({ reasoning: 'I think', content: '', reason: 'length' });
});

test('a call that has to be made begins where the prompt ends', async () => {
  const name = { name: 'weather' };
  await using model = await opened('deepseek-v3.1', [
    { text: '{"city": "Köln"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>' },
  ]);
  const answer = await ask(model, [QUESTION], { tools: TOOLS, toolChoice: name });
  expect(answer).toMatchObject({ content: '', calls: WEATHER, reason: 'tool-calls' });
});

test('a prefix is continued, that of thinking too', async () => {
  await using model = await opened('deepseek-v4', [
    { text: ' think.</think>Yes.' },
    { text: ', said he.', after: 'Yes' },
  ]);
  const prefix = (message: Partial<Message>): Message => ({
    role: 'assistant',
    content: '',
    prefix: true,
    ...message,
  });
  const thought = await ask(model, [QUESTION, prefix({ reasoning: 'I' })]);
  expect(thought).toMatchObject({ reasoning: ' think.', content: 'Yes.' });
  const said = await ask(model, [QUESTION, prefix({ content: 'Yes' })], { thinking: false });
  expect(said).toMatchObject({ reasoning: '', content: ', said he.' });
});

test('fill-in-the-middle', async () => {
  await using model = await opened('deepseek-v3', [{ text: 'return a + b' }]);
  const deltas: Delta[] = [];
  for await (const delta of model.answerer.infill('def add(a, b):\n    ', '\n')) deltas.push(delta);
  expect(saidBy(deltas).content).toBe('return a + b');
  expect(model.answerer.supports.infill).toBe(true);
});

test('log-probabilities of forced tokens are the model’s own', async () => {
  await using model = await opened('deepseek-v3.1', [{ text: 'ok' }]);
  const { deltas } = await ask(model, [QUESTION], { topLogprobs: 2 });
  const given = deltas.flatMap((delta) => (delta.type === 'content' ? (delta.tokens.logprobs ?? []) : []));
  expect(given.length).toBe(2);
  for (const { chosen, top } of given) expect(chosen.logprob).toBeLessThanOrEqual(top[0]?.logprob ?? 0);
});
