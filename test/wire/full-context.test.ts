/** Owns: what a client sees when the context is full: an answer cut at the limit, and a server that goes on. */
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const CONTEXT = 128;
let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startTestServer({ toys: [{ name: 'toy', contextTokens: CONTEXT }] });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
});
afterAll(() => server[Symbol.asyncDispose]());

type Messages = OpenAI.ChatCompletionMessageParam[];
const question = { role: 'user' as const, content: 'hello' };
const ask = (messages: Messages, more: object = {}) =>
  client.chat.completions.create({ model: 'toy', temperature: 0, messages, ...more });

test('an answer ends with length where the context does, and the next request is answered', async () => {
  for (const more of [{}, { max_tokens: 100_000 }, {}]) {
    const { choices, usage } = await ask([question], more);
    expect(choices[0]?.finish_reason).toBe('length');
    expect(usage?.total_tokens).toBe(CONTEXT);
    const { prompt_tokens } = usage!;
    expect(choices[0]?.message.content).toHaveLength(CONTEXT - prompt_tokens);
  }
  expect((await ask([question], { max_tokens: 4 })).choices[0]?.message.content).toHaveLength(4);
});

test('streamed as well', async () => {
  const stream = await client.chat.completions.create({
    model: 'toy',
    temperature: 0,
    messages: [question],
    stream: true,
  });
  const reasons: unknown[] = [];
  for await (const { choices } of stream)
    if (choices[0]?.finish_reason) reasons.push(choices[0].finish_reason);
  expect(reasons).toEqual(['length']);
});

test('a conversation that fills the context is refused in a sentence, and a shorter one is answered', async () => {
  const { choices } = await ask([question]);
  const longer: Messages = [question, choices[0]!.message, { role: 'user', content: 'go on' }];
  await expect(ask(longer)).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining(`fewer than ${CONTEXT} tokens`),
  });
  expect((await ask([question])).choices[0]?.message.content).toBe(choices[0]?.message.content);
  expect(server.errors).toEqual([]);
});

test('several that fill it at once all end so', async () => {
  const answers = await Promise.all(
    [1, 2, 3, 4].map((seed) => ask([question], { temperature: 1, seed, n: 2 })),
  );
  for (const { choices } of answers) {
    expect(choices.map(({ finish_reason }) => finish_reason)).toEqual(['length', 'length']);
  }
});

test('the other protocols say it in their words', async () => {
  const anthropic = new Anthropic({ baseURL: server.url, apiKey: 'any', maxRetries: 0 });
  // The client's types have no temperature any more; the API has.
  const greedy = { model: 'toy', max_tokens: 9999, temperature: 0, messages: [question] };
  const message = await anthropic.messages.create(greedy);
  expect(message.stop_reason).toBe('max_tokens');
  const response = await client.responses.create({ model: 'toy', input: 'hello', temperature: 0 });
  expect(response).toMatchObject({
    status: 'incomplete',
    incomplete_details: { reason: 'max_output_tokens' },
  });
  const ollama = await fetch(`${server.url}/api/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'toy', messages: [question], stream: false, options: { temperature: 0 } }),
  });
  expect(await ollama.json()).toMatchObject({ done: true, done_reason: 'length' });
});
