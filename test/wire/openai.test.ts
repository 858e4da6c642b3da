/** Owns: OpenAI's own client against a running server, as an application would use it. */
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { WITHOUT_EFFECT_HEADER } from '../../src/server/respond.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';
import { TOY_VOCAB } from '../fixtures/toy-model.ts';
import { formatTokens, publishedTemplate } from '../golden/chat-prompts/golden.ts';

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

test.each([
  [{ prompt: 5 }, 'prompt: expected a text, token ids, or a list of either'],
  [{ prompt: 5 }, ', got 5; correct the request'],
  [{}, ', got nothing; correct the request'],
  [{ prompt: 'x', model: 3 }, 'model: expected string, got 3; correct the request'],
  [{ prompt: 'x', top_p: 7 }, 'top_p: expected number to be <=1, got 7; correct the request'],
  [{ prompt: ['x', ['y']] }, 'prompt: expected a text, token ids, or a list of either'],
  [{ prompt: 'x', stop: [5] }, 'stop[0]: expected string, got 5; correct the request'],
])('%j is refused with where, what and what instead', async (body, words) => {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'toy', ...body }),
  });
  expect(response.status).toBe(400);
  expect(((await response.json()) as { error: { message: string } }).error.message).toContain(words);
});

describe('completions', () => {
  const asked = { model: 'toy', prompt: 'hello', max_tokens: 6, temperature: 0 };

  test('text and ids of it are continued alike; the prompt comes first if it is to', async () => {
    const text = await client.completions.create(asked);
    const [choice] = text.choices;
    expect(choice).toMatchObject({ index: 0, finish_reason: 'length', logprobs: null });
    const ids = await client.completions.create({ ...asked, prompt: [259] });
    expect(ids.choices[0]?.text).toBe(choice?.text);
    expect(ids.usage?.prompt_tokens).toBe(1);
    const echoed = await client.completions.create({ ...asked, prompt: [259], echo: true });
    expect(echoed.choices[0]?.text).toBe(`hello${choice?.text}`);
  });

  test('several prompts, several answers to each: numbered in order, prompts counted once', async () => {
    const { choices, usage } = await client.completions.create({
      ...asked,
      prompt: ['hello', 'hell'],
      n: 2,
      temperature: 1,
      seed: 5,
    });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(choices[0]?.text).not.toBe(choices[1]?.text);
    expect(usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 24 });
    const again = await client.completions.create({ ...asked, temperature: 1, seed: 5 });
    expect(again.choices[0]?.text).toBe(choices[0]?.text);
  });

  test('log-probabilities go with the tokens, whole and streamed', async () => {
    const whole = await client.completions.create({ ...asked, logprobs: 3 });
    const logprobs = whole.choices[0]!.logprobs!;
    expect(logprobs.tokens?.join('')).toBe(whole.choices[0]?.text);
    expect(logprobs.text_offset).toEqual([0, 1, 2, 3, 4, 5]);
    for (const [i, top] of logprobs.top_logprobs!.entries()) {
      expect(Object.keys(top)).toHaveLength(3);
      // At temperature 0 the likeliest is taken.
      expect(Math.max(...Object.values(top))).toBe(logprobs.token_logprobs![i]);
    }
    const streamed: number[] = [];
    for await (const { choices } of await client.completions.create({ ...asked, logprobs: 3, stream: true }))
      streamed.push(...(choices[0]?.logprobs?.token_logprobs ?? []));
    expect(streamed).toEqual(logprobs.token_logprobs);
  });

  test('log-probabilities of the prompt: of text and ids, alone and in lists, whole and streamed', async () => {
    const said = (await client.completions.create({ ...asked, logprobs: 3 })).choices[0]!;
    const prompt = `hello w${said.text}`;
    const scores = { ...asked, prompt, echo: true, logprobs: 2, max_tokens: 0 };
    const alone = await client.completions.create(scores);
    expect(alone.choices[0]).toMatchObject({ text: prompt, finish_reason: 'length' });
    expect(alone.usage).toMatchObject({ completion_tokens: 0, prompt_tokens: 8 });
    const { tokens, token_logprobs, top_logprobs, text_offset } = alone.choices[0]!.logprobs!;
    expect(tokens?.slice(0, 2)).toEqual(['hello', ' w']);
    expect(text_offset).toEqual([0, 5, 7, 8, 9, 10, 11, 12]);
    expect([token_logprobs![0], top_logprobs![0]]).toEqual([null, null]);
    for (const [i, top] of top_logprobs!.entries()) {
      if (i > 0) expect(top[tokens![i]!]).toBe(token_logprobs![i]);
    }
    // As another prompt's answer, the same tokens have the log-probabilities that they have as a prompt.
    const answered = await client.completions.create({
      ...asked,
      prompt: 'hello w',
      echo: true,
      logprobs: 2,
    });
    const all = answered.choices[0]!;
    expect(all.logprobs!.tokens!.join('')).toBe(all.text);
    expect(all.logprobs!.tokens).toHaveLength(8);
    const read = await client.completions.create({ ...scores, prompt: all.text, max_tokens: 1 });
    for (const [i, logprob] of read.choices[0]!.logprobs!.token_logprobs!.slice(1, 8).entries()) {
      expect(logprob).toBeCloseTo(all.logprobs!.token_logprobs![i + 1]!, 3);
    }
    const many = await client.completions.create({ ...scores, prompt: [[259, 260], [259]], n: 2 });
    expect(many.choices.map(({ text }) => text)).toEqual(['hello w', 'hello w', 'hello', 'hello']);
    expect(many.choices.map((choice) => choice.logprobs!.token_logprobs!.slice(0, 2))).toEqual([
      token_logprobs!.slice(0, 2),
      token_logprobs!.slice(0, 2),
      [null],
      [null],
    ]);
    let text = '';
    const streamed: number[] = [];
    for await (const { choices } of await client.completions.create({ ...scores, stream: true })) {
      text += choices[0]?.text ?? '';
      streamed.push(...(choices[0]?.logprobs?.token_logprobs ?? []));
    }
    expect(text).toBe(prompt);
    expect(streamed).toEqual(token_logprobs);
  });

  test('tokens that are parts of characters are named by their bytes, at the place of their character', async () => {
    const scores = { ...asked, prompt: 'é€h', echo: true, logprobs: 0, max_tokens: 0 };
    const { tokens, text_offset, top_logprobs } = (await client.completions.create(scores)).choices[0]!
      .logprobs!;
    expect(tokens).toEqual(['bytes:\\xc3', 'bytes:\\xa9', 'bytes:\\xe2', 'bytes:\\x82', 'bytes:\\xac', 'h']);
    expect(text_offset).toEqual([0, 0, 1, 1, 1, 2]);
    expect(Object.keys(top_logprobs![4]!)).toEqual(['bytes:\\xac']);
  });

  test('the token that ends an answer is no text, and has its log-probability', async () => {
    const ends = { ...asked, prompt: 'hello w', logit_bias: { 263: 100 }, echo: true, logprobs: 1 };
    const { choices, usage } = await client.completions.create(ends);
    expect(choices[0]).toMatchObject({ text: 'hello w', finish_reason: 'stop' });
    expect(choices[0]!.logprobs!.tokens).toEqual(['hello', ' w', '<|im_end|>']);
    expect(choices[0]!.logprobs!.text_offset).toEqual([0, 5, 7]);
    // The token's own, before any bias.
    expect(choices[0]!.logprobs!.token_logprobs![2]).toBeLessThan(-1);
    expect(usage?.completion_tokens).toBe(1);
  });

  test('no answer is asked for only where something is said of the prompt', async () => {
    const nothing = client.completions.create({ ...asked, max_tokens: 0, echo: true });
    await expect(nothing).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('max_tokens'),
    });
    const endless = { ...asked, prompt: Array(4).fill('x'.repeat(20_000)), echo: true, logprobs: 20 };
    await expect(client.completions.create(endless)).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('at most 1048576'),
    });
  });

  test('a banned token is not said', async () => {
    const first = (await client.completions.create({ ...asked, max_tokens: 1 })).choices[0]!.text;
    const banned = { [first.charCodeAt(0)]: -100 };
    const other = await client.completions.create({ ...asked, max_tokens: 1, logit_bias: banned });
    expect(other.choices[0]?.text).not.toBe(first);
  });
});

test('ids that only fill up the matrices of a model have no text, wherever they come', async () => {
  await using padded = await startTestServer({ toys: [{ name: 'toy', padding: 8 }] });
  const there = new OpenAI({ baseURL: `${padded.url}/v1`, apiKey: 'any', maxRetries: 0 });
  const forced = { ...hello, max_tokens: 2, logit_bias: { [TOY_VOCAB]: 100 } };
  const chat = await there.chat.completions.create({ ...forced, logprobs: true, top_logprobs: 20 });
  expect(chat.choices[0]).toMatchObject({ finish_reason: 'length', message: { content: '' } });
  const prompt = [259, TOY_VOCAB + 7, 260];
  const scores = { model: 'toy', prompt, echo: true, logprobs: 20, max_tokens: 1 };
  const { choices } = await there.completions.create({ ...scores, logit_bias: forced.logit_bias });
  expect(choices[0]).toMatchObject({ text: 'hello w', finish_reason: 'length' });
  expect(choices[0]!.logprobs!.tokens).toEqual(['hello', '', ' w', '']);
  const between = there.completions.create({ model: 'toy', prompt, suffix: 'x' });
  await expect(between).rejects.toMatchObject({ status: 400 });
  expect(padded.errors).toEqual([]);
});

test('chat: choices, seeds, stop texts and log-probabilities', async () => {
  const asked = { ...hello, n: 3, seed: 1, temperature: 1, logprobs: true, top_logprobs: 2 };
  const one = await client.chat.completions.create(asked);
  expect(one.choices.map(({ index }) => index)).toEqual([0, 1, 2]);
  const texts = one.choices.map(({ message }) => message.content);
  expect(new Set(texts).size).toBe(3);
  const two = await client.chat.completions.create(asked);
  expect(two.choices.map(({ message }) => message.content)).toEqual(texts);
  // The same prompt three times and again: computed once.
  expect(two.usage?.prompt_tokens_details?.cached_tokens).toBeGreaterThan(0);
  const content = one.choices[0]!.logprobs!.content!;
  expect(content.map(({ token }) => token).join('')).toBe(texts[0]);
  expect(content[0]).toMatchObject({ bytes: [texts[0]!.charCodeAt(0)], top_logprobs: [{}, {}] });
  const stop = texts[0]!.slice(4, 6);
  const stopped = await client.chat.completions.create({ ...asked, n: 1, stop: [stop] });
  expect(stopped.choices[0]).toMatchObject({
    finish_reason: 'stop',
    message: { content: texts[0]!.slice(0, texts[0]!.indexOf(stop)) },
  });
  // A token is a letter here: those up to the stop text count, however far the engine came meanwhile.
  const long = { ...asked, n: 1, max_tokens: 60, stop: [stop] };
  for (let tries = 0; tries < 8; tries++) {
    const { usage } = await client.chat.completions.create(long);
    expect(usage?.completion_tokens).toBe(texts[0]!.indexOf(stop) + 2);
  }
});

test('as many choices as may be asked for, and no warning of it', async () => {
  const warnings: Error[] = [];
  const note = (warning: Error) => warnings.push(warning);
  process.on('warning', note);
  const { choices } = await client.chat.completions.create({ ...hello, n: 16, max_tokens: 2 });
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', note);
  expect(choices).toHaveLength(16);
  expect(warnings).toEqual([]);
});

describe('response_format', () => {
  const schema = {
    type: 'object',
    properties: {
      name: { type: 'string', maxLength: 6 },
      sizes: { type: 'array', items: { type: 'integer', minimum: 1, maximum: 99 }, maxItems: 2 },
      colour: { enum: ['red', 'green'] },
    },
    required: ['name', 'sizes', 'colour'],
    additionalProperties: false,
  };
  const asked = (wanted: Record<string, unknown>) =>
    ({ type: 'json_schema', json_schema: { name: 'thing', schema: wanted, strict: true } }) as const;

  test.each([0, 1.5])('a schema is obeyed at temperature %s, whole and streamed', async (temperature) => {
    const request = {
      ...hello,
      max_tokens: 200,
      temperature,
      seed: 7,
      response_format: asked(schema),
    };
    const whole = await client.chat.completions.create(request);
    expect(whole.choices[0]?.finish_reason).toBe('stop');
    const said = whole.choices[0]?.message.content ?? '';
    expect(JSON.parse(said)).toEqual({
      name: expect.any(String),
      sizes: expect.any(Array),
      colour: expect.stringMatching(/^(red|green)$/),
    });
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true }))
      text += chunk.choices[0]?.delta.content ?? '';
    expect(text).toBe(said);
  });

  test('a JSON object, as far as it comes', async () => {
    const response = await client.chat.completions.create({
      ...hello,
      max_tokens: 30,
      response_format: { type: 'json_object' },
    });
    expect(response.choices[0]?.message.content).toMatch(/^\{/);
  });

  test('what cannot be enforced is refused by name; what takes too much, too', async () => {
    const refused = (wanted: Record<string, unknown>) =>
      client.chat.completions.create({ ...hello, response_format: asked(wanted) });
    await expect(refused({ type: 'array', uniqueItems: true })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('uniqueItems'),
    });
    await expect(refused({ type: 'string', pattern: '(a{1000}){1000}' })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('steps to compile'),
    });
    await expect(refused({ type: 'integer', minimum: 2, maximum: 1 })).rejects.toMatchObject({ status: 400 });
    expect(server.errors).toEqual([]);
  });
});

describe('tools of DeepSeek-V3.1', () => {
  const tool = (name: string, properties: Record<string, object>, strict: boolean) => ({
    type: 'function' as const,
    function: {
      name,
      strict,
      parameters: {
        type: 'object',
        properties,
        required: Object.keys(properties),
        additionalProperties: false,
      },
    },
  });
  const tools = [
    tool('light', { on: { type: 'boolean' }, room: { enum: ['kitchen', 'hall'] } }, true),
    tool('wait', { seconds: { type: 'integer', minimum: 1, maximum: 60 } }, true),
  ];
  const format = 'deepseek-v3.1';
  let server: TestServer;
  let client: OpenAI;
  beforeAll(async () => {
    const chatTemplate = publishedTemplate(format) ?? null;
    server = await startTestServer({
      toys: [{ name: 'v3.1', contextTokens: 4096, chatTemplate, more: formatTokens(format) }],
    });
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any' });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test.each(['light', 'wait'])('a strict one that has to be called gets its arguments: %s', async (name) => {
    const answer = await client.chat.completions.create({
      model: 'v3.1',
      messages: [{ role: 'user', content: 'Do it.' }],
      tools,
      tool_choice: { type: 'function', function: { name } },
      max_tokens: 400,
    });
    const [choice] = answer.choices;
    expect(choice).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } });
    const [call] = choice?.message.tool_calls ?? [];
    if (call?.type !== 'function') throw new Error('no call');
    expect(call.function.name).toBe(name);
    const given: unknown = JSON.parse(call.function.arguments);
    if (name === 'light')
      expect(given).toEqual({ on: expect.any(Boolean), room: expect.stringMatching(/^(kitchen|hall)$/) });
    else expect(given).toEqual({ seconds: expect.any(Number) });
    expect(server.errors).toEqual([]);
  });
});

test('fields without effect are named, refused ones refused', async () => {
  const { response } = await client.chat.completions
    .create({ ...hello, user: 'u', store: false, metadata: { a: 'b' }, made_up: 1 } as typeof hello)
    .withResponse();
  expect(response.headers.get(WITHOUT_EFFECT_HEADER)).toBe('user, metadata, made_up');
  const inside = {
    messages: [
      { role: 'system', content: 'x', name: 'boss', refusal: null },
      {
        role: 'user',
        content: [{ type: 'text', text: 'hi', cache_control: { type: 'ephemeral' } }],
        name: 'me',
      },
      { role: 'assistant', content: 'x', annotations: [], weight: 0 },
      { role: 'user', content: 'y' },
    ],
    thinking: { type: 'disabled', budget_tokens: 5 },
    stream_options: { include_usage: true, include_obfuscation: false },
    response_format: {
      type: 'json_schema',
      json_schema: { name: 'a', schema: { type: 'object', title: 'T' } },
    },
    logit_bias: { 1: 0 },
  };
  const asked = client.chat.completions.create({ ...hello, ...inside } as typeof hello).withResponse();
  expect((await asked).response.headers.get(WITHOUT_EFFECT_HEADER)).toBe(
    'messages[].name, messages[].content[].cache_control, messages[].weight, thinking.budget_tokens, stream_options.include_obfuscation',
  );
  const refused: object[] = [
    { functions: [{ name: 'f' }] },
    { chat_template: '{{ x }}' },
    { modalities: ['audio'] },
    {
      messages: [
        { role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://127.0.0.1/x' } }] },
      ],
    },
  ];
  for (const fields of refused) {
    const answer = client.chat.completions.create({ ...hello, ...fields } as typeof hello);
    await expect(answer).rejects.toMatchObject({ status: 400 });
  }
});

test('a stream tells of its prompt in comments, and the id of the request is that of the answer', async () => {
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...hello, stream: true }),
  });
  const text = await response.text();
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  expect(text).toMatch(/^: prefill \d+\/\d+\n\n/);
  expect(text).toMatch(/data: \[DONE\]\n\n$/);
  expect(text).toContain(`"chatcmpl-${response.headers.get('x-request-id')}"`);
});

describe('keys', () => {
  const busy = newKey({ name: 'busy', models: ['*'], limits: { concurrent: 1 } });
  const slow = newKey({ name: 'slow', models: ['*'], limits: { perMinute: 1 } });
  const other = newKey({ name: 'other', models: ['gpt*'], limits: {} });
  let closed: TestServer;
  beforeAll(async () => {
    closed = await startTestServer({ keys: keyRing([busy.key, slow.key, other.key]) });
  });
  afterAll(() => closed[Symbol.asyncDispose]());
  const as = (apiKey: string, maxRetries: number) =>
    new OpenAI({ baseURL: `${closed.url}/v1`, apiKey, maxRetries });

  test('a key may use and see its models only', async () => {
    const stranger = as(other.secret, 0);
    await expect(stranger.chat.completions.create(hello)).rejects.toMatchObject({ status: 403 });
    expect((await stranger.models.list()).data).toEqual([]);
    await expect(stranger.models.retrieve('toy')).rejects.toMatchObject({ status: 403 });
    await expect(as('wrong', 0).models.list()).rejects.toMatchObject({
      status: 401,
      code: 'invalid_api_key',
    });
  });

  test('one request too many at once is told when to try again, and the client does', async () => {
    // Greedy: a drawn answer may end before its last token.
    const long = { ...hello, temperature: 0, max_tokens: 200 };
    const impatient = as(busy.secret, 0);
    const both = await Promise.allSettled([1, 2].map(() => impatient.chat.completions.create(long)));
    const failed = both.find((one) => one.status === 'rejected');
    expect(failed?.reason).toBeInstanceOf(OpenAI.RateLimitError);
    expect(Number(failed?.reason.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    const patient = as(busy.secret, 5);
    const answers = await Promise.all([1, 2].map(() => patient.chat.completions.create(long)));
    expect(answers.map(({ usage }) => usage?.completion_tokens)).toEqual([200, 200]);
  });

  test('a rate is kept', async () => {
    const one = as(slow.secret, 0);
    await one.chat.completions.create(hello);
    await expect(one.chat.completions.create(hello)).rejects.toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
    });
  });

  test('what one key asked is not in the cache for another', async () => {
    const content = 'x'.repeat(100);
    const third = newKey({ name: 'third', models: ['*'], limits: {} });
    await using own = await startTestServer({ keys: keyRing([busy.key, third.key]) });
    const asked = async (secret: string) => {
      const there = new OpenAI({ baseURL: `${own.url}/v1`, apiKey: secret });
      const answer = await there.chat.completions.create({ ...hello, messages: [{ role: 'user', content }] });
      return answer.usage?.prompt_tokens_details?.cached_tokens;
    };
    expect(await asked(busy.secret)).toBe(0);
    expect(await asked(third.secret)).toBe(0);
    expect(await asked(busy.secret)).toBeGreaterThan(64);
  });
});

test('metrics count what was answered', async () => {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const value = (line: RegExp) => Number(line.exec(text)?.[1]);
  expect(
    value(
      /^gen_ai_server_time_to_first_token_seconds_count\{gen_ai_operation_name="chat",gen_ai_request_model="toy"\} (\d+)$/m,
    ),
  ).toBeGreaterThan(2);
  expect(value(/^hadal_prefix_cache_hit_tokens_total\{gen_ai_request_model="toy"\} (\d+)$/m)).toBeGreaterThan(
    0,
  );
  expect(value(/^hadal_engine_rows\{gen_ai_request_model="toy",class="decode"\} (\d+)$/m)).toBeGreaterThan(
    20,
  );
  expect(value(/^hadal_open_requests (\d+)$/m)).toBe(0);
});
