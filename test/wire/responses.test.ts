/** Owns: OpenAI's own client and its `responses`, against a model that thinks and calls tools, following a script. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import type { ResponseInput, ResponseStreamEvent } from 'openai/resources/responses/responses';
import { afterAll, beforeAll, expect, test } from 'vitest';
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
  folder = await mkdtemp(join(tmpdir(), 'hadal-responses-'));
  const { path, env } = await scriptedModel('deepseek-v3.2', folder, [
    { text: `It may rain.</think>I look.${CALL}`, after: 'raining' },
    { text: 'It does.</think>Yes, it rains.', after: 'wet and grey' },
    { text: 'Simple.</think>Forty-two.', after: 'six times seven' },
    { text: 'No thoughts.', after: 'without thinking' },
    { text: 'One.</think>', after: 'on and on', open: true },
  ]);
  server = await startTestServer({
    served: [{ name: 'v3.2', aliases: [], source: path, pinned: false }],
    local: { env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
  });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const TOOLS: OpenAI.Responses.FunctionTool[] = [
  {
    type: 'function',
    name: 'weather',
    description: 'Weather of a city',
    strict: null,
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
];

test('thinking and text are items', async () => {
  const response = await client.responses.create({
    model: 'v3.2',
    input: 'six times seven',
    instructions: 'Be brief.',
  });
  expect(response).toMatchObject({
    object: 'response',
    status: 'completed',
    error: null,
    output_text: 'Forty-two.',
    output: [
      { type: 'reasoning', content: [{ type: 'reasoning_text', text: 'Simple.' }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Forty-two.' }] },
    ],
  });
  expect(response.usage!.output_tokens_details.reasoning_tokens).toBeGreaterThan(0);
});

test('streamed, the events are numbered and end with the document', async () => {
  const events: ResponseStreamEvent[] = [];
  for await (const event of await client.responses.create({
    model: 'v3.2',
    input: 'six times seven',
    stream: true,
  })) {
    events.push(event);
  }
  expect(events.map(({ sequence_number: at }) => at)).toEqual(events.map((_, i) => i));
  const types = events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]);
  const item = (kind: string) => [
    'response.output_item.added',
    'response.content_part.added',
    `response.${kind}.delta`,
    `response.${kind}.done`,
    'response.content_part.done',
    'response.output_item.done',
  ];
  expect(types).toEqual([
    'response.created',
    'response.in_progress',
    ...item('reasoning_text'),
    ...item('output_text'),
    'response.completed',
  ]);
  const last = events.at(-1)!;
  expect(last).toMatchObject({ response: { status: 'completed', output: [{}, { type: 'message' }] } });
});

test('a function is called, its output read, and all items given back as they came', async () => {
  const input: ResponseInput = [{ role: 'user', content: 'Is it raining in Köln?' }];
  const first = await client.responses
    .stream({ model: 'v3.2', input, tools: TOOLS, store: false, include: ['reasoning.encrypted_content'] })
    .finalResponse();
  expect(first.output).toMatchObject([
    { type: 'reasoning' },
    { type: 'message', content: [{ text: 'I look.' }] },
    { type: 'function_call', name: 'weather', call_id: expect.stringMatching(/^call_/) },
  ]);
  const call = first.output[2];
  if (call?.type !== 'function_call') throw new Error('no call');
  expect(JSON.parse(call.arguments)).toEqual({ city: 'Köln' });
  const second = await client.responses.create({
    model: 'v3.2',
    tools: TOOLS,
    input: [
      ...input,
      ...(first.output as ResponseInput),
      { type: 'function_call_output', call_id: call.call_id, output: 'wet and grey' },
    ],
  });
  expect(second.output_text).toBe('Yes, it rains.');
});

test('effort turns thinking off; an answer that is too long is incomplete', async () => {
  const off = await client.responses.create({
    model: 'v3.2',
    input: 'without thinking',
    reasoning: { effort: 'none' },
  });
  expect(off.output).toMatchObject([{ type: 'message' }]);
  const cut = await client.responses.create({
    model: 'v3.2',
    input: 'six times seven',
    max_output_tokens: 2,
  });
  expect(cut).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
});

test('what cannot be done is refused, what changes nothing is named', async () => {
  const ask = (more: object) =>
    client.responses.create({ model: 'v3.2', input: 'six times seven', ...more }).withResponse();
  await expect(ask({ previous_response_id: 'resp_1' })).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining('send the whole conversation'),
  });
  const image = [{ role: 'user', content: [{ type: 'input_image', image_url: 'http://x' }] }];
  await expect(ask({ input: image })).rejects.toMatchObject({ code: 'content-unsupported' });
  await expect(ask({ model: 'gpt' })).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  const { response } = await ask({
    store: true,
    tools: [{ type: 'web_search' }, { type: 'namespace', name: 'n', tools: [] }],
  });
  expect(response.headers.get('hadal-fields-without-effect')).toBe(
    'store, tools.web_search, tools.namespace',
  );
  await expect(ask({ tools: [{ type: 'custom', name: 'patch' }] })).rejects.toMatchObject({ status: 400 });
});

test('an abort ends the answer', async () => {
  const stream = await client.responses.create({ model: 'v3.2', input: 'on and on', stream: true });
  for await (const event of stream) if (event.type === 'response.output_text.delta') break;
  const stats = () => server.models.peek('v3.2')!.engine.stats();
  await expect.poll(async () => (await stats()).runningRequests).toBe(0);
});
