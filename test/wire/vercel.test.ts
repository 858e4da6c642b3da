/** Owns: Vercel's AI SDK against a running server: answers held to a schema, aborts in the middle, retries, late failures. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, Output, streamText } from 'ai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';
import { NO_END } from '../fixtures/toy-model.ts';

const ada = newKey({ name: 'ada', models: ['*'], limits: {} });
const busy = newKey({ name: 'busy', models: ['*'], limits: { concurrent: 1 } });

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({
    keys: keyRing([ada.key, busy.key]),
    toys: [{ name: 'toy', contextTokens: 4096, layers: 2 }],
  });
});
afterAll(() => server[Symbol.asyncDispose]());

const model = (apiKey = ada.secret) =>
  createOpenAICompatible({
    name: 'hadal',
    baseURL: `${server.url}/v1`,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  })('toy');

const idle = async () => {
  const { runningRequests, waitingRequests } = await server.models.peek('toy')!.engine.stats();
  return runningRequests + waitingRequests;
};

/** An answer that goes on to its last token. */
const endless = { providerOptions: { hadal: { logit_bias: NO_END } } };

interface Light {
  readonly on: boolean;
  readonly room: 'kitchen' | 'hall';
}
const light = jsonSchema<Light>({
  type: 'object',
  properties: { on: { type: 'boolean' }, room: { type: 'string', enum: ['kitchen', 'hall'] } },
  required: ['on', 'room'],
  additionalProperties: false,
});
const anyLight = { on: expect.any(Boolean), room: expect.stringMatching(/^(kitchen|hall)$/) };

test('an object of a schema, whole and streamed', async () => {
  const asked = { model: model(), prompt: 'A light.', output: Output.object({ schema: light }) };
  expect((await generateText(asked)).output).toEqual(anyLight);
  const streamed = streamText(asked);
  const parts: unknown[] = [];
  for await (const part of streamed.partialOutputStream) parts.push(part);
  expect(parts.at(-1)).toEqual(anyLight);
  expect(await streamed.finishReason).toBe('stop');
});

test('an abort in the middle of an answer leaves the engine idle', async () => {
  const controller = new AbortController();
  const { textStream } = streamText({
    model: model(),
    prompt: 'hello',
    maxOutputTokens: 4000,
    abortSignal: controller.signal,
    ...endless,
  });
  for await (const text of textStream) {
    if (text === '') continue;
    expect(await idle()).toBe(1);
    controller.abort();
  }
  await expect.poll(idle).toBe(0);
  await expect
    .poll(() => server.lines.some(({ msg, error }) => msg === 'not answered' && error === 'client-left'))
    .toBe(true);
});

test('who is refused for now tries again when told to; who does not is told why', async () => {
  const asked = { model: model(busy.secret), prompt: 'hello', maxOutputTokens: 300, ...endless };
  const impatient = await Promise.allSettled([1, 2].map(() => generateText({ ...asked, maxRetries: 0 })));
  const refused = impatient.filter((one) => one.status === 'rejected');
  expect(refused.map(({ reason }) => reason.statusCode)).toEqual([429]);
  const answers = await Promise.all([1, 2].map(() => generateText({ ...asked, maxRetries: 8 })));
  expect(answers.map(({ usage }) => usage.outputTokens)).toEqual([300, 300]);
});

test('an engine that dies in the middle of a stream is told of as an error', async () => {
  const errors: unknown[] = [];
  const { fullStream } = streamText({
    model: model(),
    prompt: 'hello',
    maxOutputTokens: 4000,
    ...endless,
    onError: ({ error }) => {
      errors.push(error);
    },
  });
  let killed = false;
  for await (const part of fullStream) {
    if (part.type !== 'text-delta' || killed) continue;
    killed = true;
    process.kill(server.models.peek('toy')!.engine.pid!, 'SIGKILL');
  }
  expect(JSON.stringify(errors)).toContain('ask again');
  expect(
    (await generateText({ model: model(), prompt: 'hello', maxOutputTokens: 2, ...endless })).usage
      .outputTokens,
  ).toBe(2);
});
