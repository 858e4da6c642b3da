/** Owns: OpenAI's own client against a running server, as an application would use it. */
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startTestServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any' });
});
afterAll(() => server[Symbol.asyncDispose]());

const hello = { model: 'toy', messages: [{ role: 'user' as const, content: 'hello' }], max_tokens: 8 };

test('a whole answer and a streamed one say the same', async () => {
  const whole = await client.chat.completions.create({ ...hello, temperature: 0 });
  expect(whole).toMatchObject({
    object: 'chat.completion',
    model: 'toy',
    choices: [{ index: 0, message: { role: 'assistant' }, finish_reason: 'length' }],
    usage: { completion_tokens: 8, prompt_cache_hit_tokens: 0 },
  });
  expect(whole.choices[0]?.message.content).toMatch(/^[ -~]{8}$/);
  const stream = await client.chat.completions.create({
    ...hello,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = '';
  const ends: unknown[] = [];
  let usage: OpenAI.CompletionUsage | undefined;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    if (chunk.choices[0]?.finish_reason) ends.push(chunk.choices[0].finish_reason);
    if (chunk.usage) usage = chunk.usage;
  }
  expect(text).toBe(whole.choices[0]?.message.content);
  expect(ends).toEqual(['length']);
  expect(usage).toMatchObject({ completion_tokens: 8, prompt_tokens: whole.usage?.prompt_tokens });
});

test('the list of models', async () => {
  const models = await client.models.list();
  expect(models.data.map(({ id }) => id)).toEqual(['toy']);
  expect((await client.models.retrieve('toy')).id).toBe('toy');
  await expect(client.models.retrieve('other')).rejects.toMatchObject({ status: 404 });
});

test('errors arrive as the client knows them', async () => {
  await expect(client.chat.completions.create({ ...hello, model: 'gpt-4' })).rejects.toMatchObject({
    status: 404,
    code: 'model_not_found',
    message: expect.stringContaining('one of: toy'),
  });
  await expect(client.chat.completions.create({ ...hello, temperature: 3 })).rejects.toMatchObject({
    status: 400,
    type: 'invalid_request_error',
    message: expect.stringContaining('temperature'),
  });
  expect(server.errors).toEqual([]);
});
