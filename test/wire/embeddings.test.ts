/** Owns: embeddings through OpenAI's and Ollama's own clients: forms of input and answer, limits, counts, refusals. */
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { WITHOUT_EFFECT_HEADER } from '../../src/server/respond.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

let server: TestServer;
let openai: OpenAI;
let ollama: Ollama;
beforeAll(async () => {
  server = await startTestServer({ toys: [{ name: 'toy', contextTokens: 64 }] });
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
  ollama = new Ollama({ host: server.url });
});
afterAll(() => server[Symbol.asyncDispose]());

const length = (vector: readonly number[]) => Math.hypot(...vector);

describe('openai', () => {
  test('a text, ids of it, and a list of either give the same vectors', async () => {
    // The client asks for base64 where nothing is said, and decodes it.
    const one = await openai.embeddings.create({ model: 'toy', input: 'hello' });
    expect(one).toMatchObject({
      object: 'list',
      model: 'toy',
      data: [{ object: 'embedding', index: 0 }],
      usage: { prompt_tokens: 1, total_tokens: 1 },
    });
    const [vector] = one.data.map(({ embedding }) => embedding);
    expect(length(vector!)).toBeCloseTo(1, 5);
    const ids = await openai.embeddings.create({ model: 'toy', input: [259], encoding_format: 'float' });
    expect(ids.data[0]?.embedding).toEqual(vector);
    const all = await openai.embeddings.create({ model: 'toy', input: ['a longer text', 'hello'] });
    expect(all.data.map(({ index }) => index)).toEqual([0, 1]);
    expect(all.data[1]?.embedding).toEqual(vector);
    expect(all.data[0]?.embedding).not.toEqual(vector);
    expect(all.usage.prompt_tokens).toBeGreaterThan(5);
    const lists = await openai.embeddings.create({ model: 'toy', input: [[259], [1, 2, 3]] });
    expect(lists.data[0]?.embedding).toEqual(vector);
  });

  test('mean is the default, last is another vector', async () => {
    const of = async (more: object) => {
      const asked = { model: 'toy', input: 'some words', ...more } as OpenAI.EmbeddingCreateParams;
      return (await openai.embeddings.create(asked)).data[0]!.embedding;
    };
    expect(await of({ pooling: 'mean' })).toEqual(await of({}));
    expect(await of({ pooling: 'last' })).not.toEqual(await of({}));
  });

  test('what cannot be is refused, naming the field', async () => {
    const refused = (more: object, message: RegExp) =>
      expect(
        openai.embeddings.create({ model: 'toy', input: 'x', ...more } as OpenAI.EmbeddingCreateParams),
      ).rejects.toMatchObject({ status: 400, message: expect.stringMatching(message) });
    const { data } = await openai.embeddings.create({ model: 'toy', input: 'x', dimensions: 64 });
    expect(data[0]?.embedding).toHaveLength(64);
    await refused({ dimensions: 32 }, /dimensions: expected 64, which is what this model gives, got 32/);
    await refused({ input: 'word '.repeat(100) }, /at most 64 tokens.*got \d+/);
    await refused({ input: ['fine', 'word '.repeat(100)] }, /at most 64 tokens/);
    await refused({ input: '' }, /input/);
    await refused({ input: [] }, /input/);
    await refused({ input: Array.from({ length: 2049 }, () => 'x') }, /input/);
    await refused({ input: [100_000] }, /token ids from 0 to/);
    await refused({ encoding_format: 'int8' }, /encoding_format/);
    await refused({ pooling: 'cls' }, /pooling/);
    const { response } = await openai.embeddings
      .create({ model: 'toy', input: 'x', user: 'me' })
      .withResponse();
    expect(response.headers.get(WITHOUT_EFFECT_HEADER)).toBe('user');
    await expect(openai.embeddings.create({ model: 'other', input: 'x' })).rejects.toMatchObject({
      status: 404,
    });
  });

  test('inputs by the hundred', async () => {
    const input = Array.from({ length: 200 }, (_, i) => `text ${i % 7}`);
    const { data } = await openai.embeddings.create({ model: 'toy', input });
    expect(data).toHaveLength(200);
    expect(data[199]?.embedding).toEqual(data[199 % 7]?.embedding);
  });

  test('a client that leaves ends them', async () => {
    const input = Array.from({ length: 500 }, (_, i) => `text ${i} ${'and so on '.repeat(4)}`);
    const leaving = new AbortController();
    const asked = openai.embeddings.create({ model: 'toy', input }, { signal: leaving.signal });
    const stats = () => server.models.peek('toy')!.engine.stats();
    await expect.poll(async () => (await stats()).runningRequests, { timeout: 20_000 }).toBeGreaterThan(0);
    leaving.abort();
    await expect(asked).rejects.toThrow(/abort/i);
    await expect.poll(async () => (await stats()).runningRequests, { timeout: 20_000 }).toBe(0);
    await expect
      .poll(() => server.lines.findLast(({ operation }) => operation === 'embeddings'))
      .toMatchObject({ msg: 'not answered', error: 'client-left' });
  });
});

describe('ollama', () => {
  test('embed, and the older embeddings', async () => {
    const { data } = await openai.embeddings.create({ model: 'toy', input: ['hello', 'some words'] });
    const both = await ollama.embed({ model: 'toy:latest', input: ['hello', 'some words'] });
    expect(both).toMatchObject({ model: 'toy', prompt_eval_count: expect.any(Number) });
    expect(both.embeddings).toEqual(data.map(({ embedding }) => embedding));
    expect(both.total_duration).toBeGreaterThan(0);
    const one = await ollama.embed({ model: 'toy', input: 'hello' });
    expect(one.embeddings).toEqual([data[0]?.embedding]);
    const old = await ollama.embeddings({ model: 'toy', prompt: 'hello' });
    expect(old.embedding).toEqual(data[0]?.embedding);
  });

  test('nothing to embed only loads; too much is refused', async () => {
    expect((await ollama.embed({ model: 'toy', input: '' })).embeddings).toEqual([]);
    expect((await ollama.embeddings({ model: 'toy', prompt: '' })).embedding).toEqual([]);
    await expect(ollama.embed({ model: 'toy', input: 'word '.repeat(100) })).rejects.toMatchObject({
      status_code: 400,
      error: expect.stringContaining('at most 64 tokens'),
    });
    await expect(ollama.embed({ model: 'other', input: 'x' })).rejects.toMatchObject({ status_code: 404 });
    await expect(ollama.embed({ model: 'toy', input: 'x', dimensions: 8 })).rejects.toMatchObject({
      status_code: 400,
    });
  });
});

test('tokens are counted, and nothing of a text is logged', async () => {
  await openai.embeddings.create({ model: 'toy', input: 'unmistakable' });
  const text = await (await fetch(`${server.url}/metrics`)).text();
  expect(text).toMatch(/gen_ai_client_token_usage_sum\{[^}]*gen_ai_operation_name="embeddings"[^}]*\} [1-9]/);
  expect(server.lines.findLast(({ operation }) => operation === 'embeddings')).toMatchObject({
    msg: 'answered',
    model: 'toy',
    promptTokens: 12,
  });
  expect(JSON.stringify(server.lines)).not.toContain('unmistakable');
  expect(server.errors).toEqual([]);
});

test('the file, the configuration and the request choose the pooling, in this order', async () => {
  const toys = [{ name: 'silent' }, { name: 'last', metadata: { 'llama.pooling_type': 3 } }];
  await using both = await startTestServer({ toys });
  const client = new OpenAI({ baseURL: `${both.url}/v1`, apiKey: 'any' });
  const of = async (model: string, more: object = {}, from = client) => {
    const asked = { model, input: 'some words', ...more } as OpenAI.EmbeddingCreateParams;
    return (await from.embeddings.create(asked)).data[0]!.embedding;
  };
  // Equal weights: the seed of both is the default.
  expect(await of('last')).toEqual(await of('silent', { pooling: 'last' }));
  expect(await of('last', { pooling: 'mean' })).toEqual(await of('silent'));
  const served = both.models.status().map(({ model }) => ({ ...model, pooling: 'mean' as const }));
  await using configured = await startTestServer({ served });
  const other = new OpenAI({ baseURL: `${configured.url}/v1`, apiKey: 'any' });
  expect(await of('last', {}, other)).toEqual(await of('silent'));
  expect(await of('last', { pooling: 'last' }, other)).toEqual(await of('last'));
});

test('a file that wants what is not done is refused in a sentence, unless the request chooses', async () => {
  await using cls = await startTestServer({ toys: [{ name: 'cls', metadata: { 'llama.pooling_type': 2 } }] });
  const client = new OpenAI({ baseURL: `${cls.url}/v1`, apiKey: 'any', maxRetries: 0 });
  await expect(client.embeddings.create({ model: 'cls', input: 'x' })).rejects.toMatchObject({
    status: 400,
    message: expect.stringMatching(/llama\.pooling_type.*got 2/),
  });
  const chosen = { model: 'cls', input: 'x', pooling: 'mean' } as OpenAI.EmbeddingCreateParams;
  expect((await client.embeddings.create(chosen)).data).toHaveLength(1);
});

test('a key of other models may not, and its limits hold', async () => {
  const { key, secret } = newKey({ name: 'one', models: ['toy'], limits: { perMinute: 2 } });
  await using guarded = await startTestServer({
    keys: keyRing([key]),
    toys: [{ name: 'toy' }, { name: 'other' }],
  });
  const client = new OpenAI({ baseURL: `${guarded.url}/v1`, apiKey: secret, maxRetries: 0 });
  await expect(client.embeddings.create({ model: 'other', input: 'x' })).rejects.toMatchObject({
    status: 403,
  });
  for (let i = 0; i < 2; i++) await client.embeddings.create({ model: 'toy', input: 'x' });
  await expect(client.embeddings.create({ model: 'toy', input: 'x' })).rejects.toMatchObject({ status: 429 });
});
