/** Owns: Ollama's own client against a model that thinks and calls tools, following a script. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChatResponse, type Message, Ollama } from 'ollama';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const CALL =
  '\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n' +
  '<｜DSML｜parameter name="city" string="true">Köln</｜DSML｜parameter>\n' +
  '</｜DSML｜invoke>\n<｜DSML｜invoke name="now">\n\n</｜DSML｜invoke>\n</｜DSML｜function_calls>';

let folder = '';
let server: TestServer;
let client: Ollama;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-ollama-'));
  const { path, env } = await scriptedModel('deepseek-v3.2', folder, [
    { text: `It may rain.</think>I look.${CALL}`, after: 'raining' },
    { text: 'It does.</think>Yes, it rains.', after: 'wet and grey' },
    { text: 'Simple.</think>Forty-two.', after: 'six times seven' },
    { text: 'No thoughts.', after: 'without thinking' },
    { text: ' * r * r', after: 'return 3.14' },
    { text: 'One.</think>', after: 'on and on', open: true },
  ]);
  server = await startTestServer({
    served: [{ name: 'v3.2', aliases: [], source: path, pinned: false }],
    local: { env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
  });
  client = new Ollama({ host: server.url });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const ask = (content: string) => ({ model: 'v3.2:latest', messages: [{ role: 'user', content }] });
const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'Weather of a city',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  },
  { type: 'function', function: { name: 'now', description: 'The time' } },
];

test('what is served, before and after it is loaded', async () => {
  const { models } = await client.list();
  expect(models).toMatchObject([
    {
      name: 'v3.2',
      model: 'v3.2',
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      details: { format: 'gguf', family: 'llama', quantization_level: 'F32' },
    },
  ]);
  expect(models[0]!.size).toBeGreaterThan(1000);
  expect((await client.ps()).models).toEqual([]);
  expect(await client.generate({ model: 'v3.2', prompt: '' })).toMatchObject({
    done: true,
    done_reason: 'load',
  });
  expect((await client.ps()).models).toMatchObject([{ name: 'v3.2', context_length: 8192 }]);
  expect(await client.version()).toEqual({ version: '0.0.0' });
});

test('what is known of a model', async () => {
  const shown = await client.show({ model: 'v3.2' });
  expect(shown.capabilities).toEqual(['completion', 'tools', 'thinking', 'insert']);
  expect(shown.template).toContain('DSML');
  expect(shown.model_info).toMatchObject({
    'general.architecture': 'llama',
    'llama.context_length': 131_072,
  });
});

test('thinking comes apart from the answer, whole and streamed', async () => {
  const whole = await client.chat(ask('six times seven'));
  expect(whole.message).toEqual({ role: 'assistant', content: 'Forty-two.', thinking: 'Simple.' });
  expect(whole).toMatchObject({ model: 'v3.2', done: true, done_reason: 'stop' });
  expect(whole.prompt_eval_count).toBeGreaterThan(5);
  let [thinking, content] = ['', ''];
  let last: ChatResponse | undefined;
  for await (const part of await client.chat({ ...ask('six times seven'), stream: true })) {
    thinking += part.message.thinking ?? '';
    content += part.message.content;
    last = part;
  }
  expect({ thinking, content }).toEqual({ thinking: 'Simple.', content: 'Forty-two.' });
  expect(last).toMatchObject({ done: true, eval_count: whole.eval_count });
  const off = await client.chat({ ...ask('without thinking'), think: false });
  expect(off.message).toEqual({ role: 'assistant', content: 'No thoughts.' });
});

test('tools are called and their results read, with no ids', async () => {
  const messages: Message[] = [{ role: 'user', content: 'Is it raining in Köln?' }];
  const calls: Message['tool_calls'] = [];
  const told: Message = { role: 'assistant', content: '' };
  for await (const { message } of await client.chat({
    model: 'v3.2',
    messages,
    tools: TOOLS,
    stream: true,
  })) {
    told.content += message.content;
    if (message.thinking) told.thinking = (told.thinking ?? '') + message.thinking;
    for (const { function: call } of message.tool_calls ?? []) calls.push({ function: call });
  }
  expect(calls).toMatchObject([
    { function: { name: 'weather', arguments: { city: 'Köln' } } },
    { function: { name: 'now', arguments: {} } },
  ]);
  messages.push(
    { ...told, tool_calls: calls },
    { role: 'tool', content: 'noon', tool_name: 'now' },
    { role: 'tool', content: 'wet and grey', tool_name: 'weather' },
  );
  const { message } = await client.chat({ model: 'v3.2', messages, tools: TOOLS });
  expect(message).toMatchObject({ content: 'Yes, it rains.', thinking: 'It does.' });
});

test('a prompt is answered, and the middle filled in', async () => {
  const answered = await client.generate({ model: 'v3.2', prompt: 'six times seven', system: 'Be brief.' });
  expect(answered).toMatchObject({ response: 'Forty-two.', thinking: 'Simple.', done_reason: 'stop' });
  const filled = await client.generate({ model: 'v3.2', prompt: 'return 3.14', suffix: '\n' });
  expect(filled.response).toBe(' * r * r');
  const cut = await client.generate({
    model: 'v3.2',
    prompt: 'six times seven',
    options: { num_predict: 2 },
  });
  expect(cut).toMatchObject({ done_reason: 'length', eval_count: 2 });
});

test('log-probabilities of the content', async () => {
  const { logprobs } = await client.chat({ ...ask('six times seven'), logprobs: true, top_logprobs: 2 });
  expect(logprobs!.map(({ token }) => token).join('')).toContain('Forty');
  expect(logprobs![0]!.top_logprobs).toHaveLength(2);
});

test('what fails has its status and words', async () => {
  await expect(client.chat({ ...ask('x'), model: 'other' })).rejects.toMatchObject({
    status_code: 404,
    error: expect.stringContaining('other'),
  });
  await expect(client.chat({ ...ask('x'), options: { mirostat: 2 } })).rejects.toMatchObject({
    status_code: 400,
  });
  await expect(
    client.chat({ model: 'v3.2', messages: [{ role: 'user', content: 'x', images: ['AAAA'] }] }),
  ).rejects.toMatchObject({ status_code: 400 });
  const response = await fetch(`${server.url}/api/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'v3.2', prompt: '', options: { num_ctx: 4096 } }),
  });
  expect(response.status).toBe(200);
});

test('an abort ends the answer', async () => {
  const stream = await client.chat({ ...ask('on and on'), stream: true, options: { num_predict: 4000 } });
  await expect(
    (async () => {
      for await (const _ of stream) stream.abort();
    })(),
  ).rejects.toThrow(/abort/i);
  const stats = () => server.models.peek('v3.2')!.engine.stats();
  await expect.poll(async () => (await stats()).runningRequests).toBe(0);
});

test('a keep_alive of 0 puts the model out', async () => {
  expect(await client.generate({ model: 'v3.2', prompt: '', keep_alive: 0 })).toMatchObject({
    done_reason: 'unload',
  });
  await expect.poll(async () => (await client.ps()).models).toEqual([]);
});
