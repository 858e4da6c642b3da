/** Owns: models that come and go under requests: progress and places in the stream, times to stay, memory for one of two. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const LOCAL = {
  env: { ...process.env, HADAL_BACKEND: 'reference' },
  leaseName: `hadal-test-loading-${process.pid}`,
  onAnnounce() {},
  onWarning() {},
};
/** What filling in takes. */
const INFILL_TOKENS = {
  ordinary: ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>'],
  specials: [],
};
const MESSAGES = [{ role: 'user', content: 'hello' }];

function post({ url }: TestServer, path: string, body: object, secret?: string): Promise<Response> {
  const headers = {
    'content-type': 'application/json',
    'anthropic-version': '2023-06-01',
    ...(secret === undefined ? {} : { authorization: `Bearer ${secret}` }),
  };
  return fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
}

/** The whole text of a stream. */
async function streamOf(server: TestServer, more: object = {}, secret?: string): Promise<string> {
  const body = { model: 'toy', messages: MESSAGES, max_tokens: 2, stream: true, ...more };
  return (await post(server, '/v1/chat/completions', body, secret)).text();
}

/** Waits for something to become true; the limit is far above what is expected. */
async function until(what: () => boolean): Promise<void> {
  for (let tries = 0; !what(); tries++) {
    if (tries > 2000) throw new Error('it did not come');
    await sleep(10);
  }
}

test('a stream tells how far loading and the prompt are, then the answer', async () => {
  await using server = await startTestServer();
  const text = await streamOf(server);
  const [loading, prefill, content] = [': loading ', ': prefill ', '"content"'].map((one) =>
    text.indexOf(one),
  );
  expect(loading).toBeGreaterThanOrEqual(0);
  expect(prefill).toBeGreaterThan(loading!);
  expect(content).toBeGreaterThan(prefill!);
  // One that is loaded is not loaded again.
  expect(await streamOf(server)).not.toContain(': loading');
});

test('who waits for a place hears how many go before', async () => {
  await using server = await startTestServer({ local: { ...LOCAL, maxSequences: 1 } });
  const answers = await Promise.all([1, 2, 3].map(() => streamOf(server, { max_tokens: 8 })));
  const heard = answers.flatMap((text) => text.match(/(?<=: queued behind )\d+/g) ?? []);
  expect(heard).toEqual(expect.arrayContaining(['1']));
  expect(answers.every((text) => text.endsWith('data: [DONE]\n\n'))).toBe(true);
});

/** One request of each protocol, which lets the model go at once. */
const REQUESTS: readonly (readonly [path: string, body: object])[] = [
  ['/v1/chat/completions', { messages: MESSAGES, max_tokens: 1 }],
  ['/v1/completions', { prompt: 'hello', max_tokens: 1 }],
  ['/v1/messages', { messages: MESSAGES, max_tokens: 1 }],
  ['/api/chat', { messages: MESSAGES, stream: false, options: { num_predict: 1 } }],
  ['/api/generate', { prompt: 'hello', stream: false, options: { num_predict: 1 } }],
  ['/v1/responses', { input: 'hello', max_output_tokens: 1 }],
  ['/beta/completions', { prompt: 'hello', max_tokens: 1 }],
  ['/anthropic/v1/messages', { messages: MESSAGES, max_tokens: 1 }],
  ['/v1/embeddings', { input: 'hello' }],
  ['/api/embed', { input: 'hello' }],
  ['/api/embeddings', { prompt: 'hello' }],
  ['/infill', { input_prefix: 'a', input_suffix: 'b', n_predict: 1 }],
];

test('every protocol may say how long the model stays', async () => {
  await using server = await startTestServer({ toys: [{ name: 'toy', more: INFILL_TOKENS }] });
  for (const [path, body] of REQUESTS) {
    const stays = await post(server, path, { model: 'toy', ...body });
    expect([path, stays.status]).toEqual([path, 200]);
    expect(server.models.peek('toy')).toBeDefined();
    expect((await post(server, path, { model: 'toy', ...body, keep_alive: 0 })).status).toBe(200);
    await until(() => server.models.peek('toy') === undefined);
  }
  expect(server.errors).toEqual([]);
});

test('with memory for one of two, each request gets its model; both answer, by turns', async () => {
  await using probe = await startTestServer();
  await streamOf(probe);
  const { bytes } = probe.models.status()[0]!;
  const toys = [{ name: 'one' }, { name: 'two' }];
  await using server = await startTestServer({ toys, budgetBytes: bytes! * 1.5 });
  const asked = ['one', 'two', 'one', 'two', 'two', 'one'].map((model) => streamOf(server, { model }));
  for (const text of await Promise.all(asked)) expect(text).toMatch(/"content".*data: \[DONE\]\n\n$/s);
  expect(server.events).toContain('evicted one');
  expect(server.models.status().filter(({ state }) => state === 'ready')).toHaveLength(1);
  expect(server.errors).toEqual([]);
});

test('a budget that has no room for the longest context has some for a shorter one', async () => {
  const toys = [{ name: 'toy', contextTokens: 65_536 }];
  await using probe = await startTestServer({ toys });
  await streamOf(probe);
  const { bytes } = probe.models.status()[0]!;
  const budgetBytes = bytes! - 2_000_000;
  await using server = await startTestServer({ toys, budgetBytes });
  expect(await streamOf(server)).toContain('"content"');
  expect(server.models.status()[0]!.bytes).toBeLessThanOrEqual(budgetBytes);
  const { contextTokens } = server.models.peek('toy')!.answerer;
  expect([contextTokens > 2048, contextTokens < 65_536]).toEqual([true, true]);
});

test('a model that cannot be loaded is told of at once: clients do not try again for a minute', async () => {
  const source = join(import.meta.dirname, 'loading.test.ts');
  await using server = await startTestServer({
    served: [{ name: 'broken', aliases: [], source, pinned: false }],
  });
  const asked = { model: 'broken', messages: [{ role: 'user' as const, content: 'hi' }], max_tokens: 1 };
  const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any' });
  const words = expect.stringContaining('could not be loaded');
  await expect(openai.chat.completions.create(asked)).rejects.toMatchObject({ status: 503, message: words });
  const anthropic = new Anthropic({ baseURL: server.url, apiKey: 'any' });
  await expect(anthropic.messages.create(asked)).rejects.toMatchObject({ status: 503, message: words });
  expect(server.events).toEqual(['loading broken', 'failed broken', 'loading broken', 'failed broken']);
});

test('a model that is to be put out is not loaded for it', async () => {
  await using server = await startTestServer();
  const gone = await post(server, '/api/generate', { model: 'toy', keep_alive: 0 });
  expect(await gone.json()).toMatchObject({ done: true, done_reason: 'unload' });
  expect(server.events).toEqual([]);
});

test('one who asks once comes before the last of many that another asked before', async () => {
  const [many, once] = ['many', 'once'].map((name) => newKey({ name, models: ['*'], limits: {} }));
  await using server = await startTestServer({
    local: { ...LOCAL, maxSequences: 1 },
    keys: keyRing([many!.key, once!.key]),
  });
  const ends: string[] = [];
  const ask = async (who: string, secret: string) => {
    const text = await streamOf(server, { max_tokens: 24 }, secret);
    expect(text).toContain('[DONE]');
    ends.push(who);
  };
  const first = ask('many', many!.secret);
  await until(() => server.models.peek('toy') !== undefined);
  const rest = Array.from({ length: 6 }, () => ask('many', many!.secret));
  // They wait already when the other comes.
  await expect.poll(async () => (await server.models.peek('toy')!.engine.stats()).waitingRequests).toBe(6);
  await Promise.all([first, ...rest, ask('once', once!.secret)]);
  expect(ends.indexOf('once')).toBeLessThanOrEqual(3);
});

test('a stream that waits is pinged', async () => {
  await using server = await startTestServer({ local: { ...LOCAL, maxSequences: 1 }, pingMs: 20 });
  const [, waited] = await Promise.all([
    streamOf(server, { max_tokens: 200 }),
    streamOf(server, { messages: [{ role: 'user', content: 'another' }] }),
  ]);
  expect(waited).toContain(': ping\n\n');
  expect(waited).toContain('[DONE]');
});
