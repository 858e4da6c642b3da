/** Owns: real clients against models that think and call tools, following a script: OpenAI's own and Vercel's AI SDK. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const CALL =
  '\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n' +
  '<｜DSML｜parameter name="city" string="true">Köln</｜DSML｜parameter>\n' +
  '</｜DSML｜invoke>\n</｜DSML｜function_calls>';

let folder = '';
let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-scripted-'));
  const { path, env } = await scriptedModel('deepseek-v3.2', folder, [
    { text: `It may rain.</think>I look.${CALL}`, after: 'raining' },
    { text: 'It does.</think>Yes, it rains.', after: 'wet and grey' },
    { text: 'Simple.</think>Forty-two.', after: 'six times seven' },
    { text: 'No thoughts.', after: 'without thinking' },
    { text: 'def area(r):\n    return 3.14 * r * r', after: 'Write Python' },
    { text: ' * r * r', after: 'return 3.14' },
  ]);
  server = await startTestServer({
    served: [{ name: 'v3.2', aliases: ['deepseek-reasoner'], source: path, pinned: false }],
    local: { env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
  });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const TOOLS: OpenAI.ChatCompletionFunctionTool[] = [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'Weather of a city',
      strict: true,
      parameters: {
        type: 'object',
        properties: { city: { type: 'string' } },
        required: ['city'],
        additionalProperties: false,
      },
    },
  },
];

type WithReasoning = { readonly reasoning_content?: string };
const user = (content: string) => ({ role: 'user' as const, content });

describe('openai', () => {
  test('thinking comes apart from the answer, streamed and whole', async () => {
    const asked = { model: 'deepseek-reasoner', messages: [user('six times seven')] };
    const whole = await client.chat.completions.create(asked);
    const message = whole.choices[0]!.message;
    expect(message).toMatchObject({ content: 'Forty-two.', reasoning_content: 'Simple.' });
    expect(whole.usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThan(0);
    let [reasoning, content] = ['', ''];
    for await (const { choices } of await client.chat.completions.create({ ...asked, stream: true })) {
      reasoning += (choices[0]?.delta as WithReasoning | undefined)?.reasoning_content ?? '';
      content += choices[0]?.delta.content ?? '';
    }
    expect({ reasoning, content }).toEqual({ reasoning: 'Simple.', content: 'Forty-two.' });
  });

  test("DeepSeek's switch and OpenAI's effort both turn thinking off", async () => {
    for (const off of [{ thinking: { type: 'disabled' } }, { reasoning_effort: 'none' }]) {
      const { choices } = await client.chat.completions.create({
        model: 'v3.2',
        messages: [user('without thinking')],
        ...off,
      } as OpenAI.ChatCompletionCreateParamsNonStreaming);
      expect(choices[0]?.message).toMatchObject({ content: 'No thoughts.' });
      expect(choices[0]?.message).not.toHaveProperty('reasoning_content');
    }
  });

  test('a tool is called, its result read, and the reasoning given back', async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [user('Is it raining in Köln?')];
    const first = await client.chat.completions
      .stream({ model: 'v3.2', messages, tools: TOOLS })
      .finalChatCompletion();
    const [choice] = first.choices;
    expect(choice).toMatchObject({ finish_reason: 'tool_calls', message: { content: 'I look.' } });
    const call = choice!.message.tool_calls![0]!;
    if (call.type !== 'function') throw new Error('no function');
    expect([call.function.name, JSON.parse(call.function.arguments)]).toEqual(['weather', { city: 'Köln' }]);
    const given = { ...choice!.message, reasoning_content: 'It may rain.' };
    messages.push(given, { role: 'tool', tool_call_id: call.id, content: 'wet and grey' });
    const second = await client.chat.completions.create({ model: 'v3.2', messages, tools: TOOLS });
    expect(second.choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: 'Yes, it rains.', reasoning_content: 'It does.' },
    });
  });

  test('the first delta of a choice has its role, the first of a call its id and name', async () => {
    const chunks: OpenAI.ChatCompletionChunk[] = [];
    const asked = { model: 'v3.2', messages: [user('raining?')], tools: TOOLS, stream: true as const };
    for await (const chunk of await client.chat.completions.create(asked)) chunks.push(chunk);
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta));
    expect(deltas.map(({ role }) => role).filter(Boolean)).toEqual(['assistant']);
    const parts = deltas.flatMap((delta) => delta.tool_calls ?? []);
    expect(parts[0]).toMatchObject({
      index: 0,
      type: 'function',
      id: expect.any(String),
      function: { name: 'weather' },
    });
    expect(parts.filter(({ id }) => id !== undefined)).toHaveLength(1);
  });

  test('a strict tool that is not strict is refused', async () => {
    const loose = structuredClone(TOOLS);
    loose[0]!.function.parameters!.required = [];
    await expect(
      client.chat.completions.create({ model: 'v3.2', messages: [user('raining?')], tools: loose }),
    ).rejects.toMatchObject({
      status: 400,
      code: 'schema-not-strict',
      message: expect.stringContaining('city'),
    });
  });

  test('a prefix is continued, under the base that DeepSeek calls beta', async () => {
    const beta = client.withOptions({ baseURL: `${server.url}/beta` });
    const { choices } = await beta.chat.completions.create({
      model: 'v3.2',
      messages: [
        user('area of a circle'),
        {
          role: 'assistant',
          content: 'def area(r):\n    return 3.14',
          prefix: true,
        } as OpenAI.ChatCompletionMessageParam,
      ],
      thinking: { type: 'disabled' },
    } as OpenAI.ChatCompletionCreateParamsNonStreaming);
    expect(choices[0]?.message.content).toBe(' * r * r');
  });

  test('the middle is filled in', async () => {
    const beta = client.withOptions({ baseURL: `${server.url}/beta` });
    const { choices } = await beta.completions.create({
      model: 'v3.2',
      prompt: 'def area(r):\n    return 3.14',
      suffix: '\n\nprint(area(1))',
      max_tokens: 32,
    });
    expect(choices[0]).toMatchObject({ text: ' * r * r', finish_reason: 'stop' });
  });
});

describe("Vercel's AI SDK", () => {
  const model = () =>
    createOpenAICompatible({ name: 'hadal', baseURL: `${server.url}/v1`, includeUsage: true })('v3.2');
  const weather = tool({
    description: 'Weather of a city',
    inputSchema: jsonSchema<{ city: string }>({ type: 'object', properties: { city: { type: 'string' } } }),
    execute: async () => 'wet and grey',
  });

  test('a text with its reasoning', async () => {
    const { text, reasoningText, usage } = await generateText({ model: model(), prompt: 'six times seven' });
    expect({ text, reasoningText }).toEqual({ text: 'Forty-two.', reasoningText: 'Simple.' });
    expect(usage.outputTokens).toBeGreaterThan(0);
  });

  test('tools in a loop, streamed', async () => {
    const result = streamText({
      model: model(),
      prompt: 'Is it raining in Köln?',
      tools: { weather },
      stopWhen: stepCountIs(3),
    });
    const types = new Set<string>();
    for await (const part of result.fullStream) types.add(part.type);
    expect([...types]).toEqual(
      expect.arrayContaining(['reasoning-delta', 'tool-call', 'tool-result', 'text-delta']),
    );
    expect(await result.text).toBe('Yes, it rains.');
    expect((await result.totalUsage).inputTokens).toBeGreaterThan(0);
  });

  test('errors have their status and words', async () => {
    const other = createOpenAICompatible({ name: 'hadal', baseURL: `${server.url}/v1` })('gpt-4');
    await expect(generateText({ model: other, prompt: 'x', maxRetries: 0 })).rejects.toMatchObject({
      statusCode: 404,
      message: expect.stringContaining('gpt-4'),
    });
  });
});
