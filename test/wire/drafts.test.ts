/** Owns: what the usage of an answer says of tokens that were drafted ahead, by the protocols' own clients. */
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

/** Whatever the toy thinks, it says two letters in any order: what came before comes again, or does not. */
const LETTERS = { logit_bias: { 65: 100, 66: 100 }, temperature: 1, seed: 3 };

interface Drafts {
  readonly drafted: number;
  readonly accepted: number;
  readonly tokens_per_step: number;
  readonly gain: number;
}

function expectDrafts(usage: OpenAI.CompletionUsage | undefined): void {
  const { drafts } = usage as unknown as { drafts: Drafts };
  expect(drafts.drafted).toBeGreaterThan(0);
  expect(drafts.accepted).toBeLessThanOrEqual(drafts.drafted);
  expect(usage?.completion_tokens_details).toMatchObject({
    accepted_prediction_tokens: drafts.accepted,
    rejected_prediction_tokens: drafts.drafted - drafts.accepted,
  });
  expect(drafts.tokens_per_step).toBeGreaterThanOrEqual(1);
  expect(drafts.gain).toBeGreaterThan(0);
}

test("chat completions, whole and streamed, and completions say it in OpenAI's words and in our own", async () => {
  const asked = {
    ...LETTERS,
    model: 'toy',
    messages: [{ role: 'user' as const, content: 'hello' }],
    max_tokens: 200,
  };
  const whole = await client.chat.completions.create(asked);
  expectDrafts(whole.usage);
  expect(whole.usage?.completion_tokens).toBe(200);
  let usage: OpenAI.CompletionUsage | undefined;
  const stream = { stream: true, stream_options: { include_usage: true } } as const;
  for await (const chunk of await client.chat.completions.create({ ...asked, ...stream }))
    usage = chunk.usage ?? usage;
  expectDrafts(usage);
  const two = await client.completions.create({
    ...LETTERS,
    model: 'toy',
    prompt: 'hello',
    n: 2,
    max_tokens: 150,
  });
  expectDrafts(two.usage);
  expect(two.usage?.completion_tokens).toBe(300);
});

test('an answer without drafts has none, and counts of nothing', async () => {
  const { usage } = await client.completions.create({ model: 'toy', prompt: 'hello', max_tokens: 1 });
  expect(usage).not.toHaveProperty('drafts');
  expect(usage?.completion_tokens_details).toMatchObject({
    accepted_prediction_tokens: 0,
    rejected_prediction_tokens: 0,
  });
});

test('responses have them beside the counts of tokens', async () => {
  const response = await client.responses.create({
    model: 'toy',
    input: 'hello',
    max_output_tokens: 200,
    temperature: 0,
  });
  const { usage } = response as unknown as { usage: { drafts: Drafts; output_tokens: number } };
  expect(usage.output_tokens).toBe(200);
  expect(usage.drafts.drafted).toBeGreaterThan(0);
  expect(usage.drafts.accepted).toBeLessThanOrEqual(usage.drafts.drafted);
});
