/** Owns: Anthropic's own client against a model that thinks and calls tools, following a script. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const CALL =
  '\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n' +
  '<｜DSML｜parameter name="city" string="true">Köln</｜DSML｜parameter>\n' +
  '</｜DSML｜invoke>\n</｜DSML｜function_calls>';

let folder = '';
let server: TestServer;
let client: Anthropic;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-anthropic-'));
  const { path, env } = await scriptedModel('deepseek-v3.2', folder, [
    { text: `It may rain.</think>I look.${CALL}`, after: 'raining' },
    { text: 'It does.</think>Yes, it rains.', after: 'wet and grey' },
    { text: 'Simple.</think>Forty-two.', after: 'six times seven' },
    { text: 'No thoughts.', after: 'without thinking' },
    { text: ' world', after: 'Hello' },
    { text: 'One.</think>', after: 'on and on', open: true },
  ]);
  server = await startTestServer({
    served: [{ name: 'v3.2', aliases: ['claude-sonnet'], source: path, pinned: false }],
    local: { env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
  });
  client = new Anthropic({ baseURL: server.url, apiKey: 'any', maxRetries: 0 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const TOOLS: Anthropic.Tool[] = [
  {
    name: 'weather',
    description: 'Weather of a city',
    input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
];
const asked = (content: string): Anthropic.MessageCreateParamsNonStreaming => ({
  model: 'v3.2',
  max_tokens: 400,
  messages: [{ role: 'user', content }],
});

test.each(['', '/anthropic'])('thinking and text are blocks, under the base "%s"', async (base) => {
  const there = client.withOptions({ baseURL: `${server.url}${base}` });
  const message = await there.messages.create({ ...asked('six times seven'), system: 'Be brief.' });
  expect(message).toMatchObject({
    type: 'message',
    role: 'assistant',
    model: 'v3.2',
    stop_reason: 'end_turn',
    stop_sequence: null,
    content: [
      { type: 'thinking', thinking: 'Simple.', signature: expect.stringMatching(/./) },
      { type: 'text', text: 'Forty-two.' },
    ],
  });
  expect(message._request_id).toMatch(/[0-9a-f-]{36}/);
  const { input_tokens: fresh, cache_read_input_tokens: cached, output_tokens: out } = message.usage;
  expect(fresh + cached!).toBeGreaterThan(10);
  expect(out).toBeGreaterThan(5);
});

test('streamed, the same, and asked again it is read from the cache', async () => {
  const params = asked('six times seven, with a long tail of words behind it so that pages are full');
  const whole = await client.messages.create(params);
  const stream = client.messages.stream(params);
  const types = new Set<string>();
  for await (const event of stream) types.add(event.type);
  const message = await stream.finalMessage();
  const bare = (content: Anthropic.ContentBlock[]) =>
    content.map((block) =>
      block.type === 'thinking' ? block.thinking : block.type === 'text' && block.text,
    );
  expect(bare(message.content)).toEqual(bare(whole.content));
  expect(message.stop_reason).toBe(whole.stop_reason);
  const sum = ({ usage }: Anthropic.Message) => usage.input_tokens + usage.cache_read_input_tokens!;
  expect(sum(message)).toBe(sum(whole));
  expect(message.usage.cache_read_input_tokens).toBeGreaterThan(0);
  expect(types).toContain('content_block_stop');
});

test('a tool is used, its result read, and the thinking given back as it came', async () => {
  const first = await client.messages
    .stream({ ...asked('Is it raining in Köln?'), tools: TOOLS })
    .finalMessage();
  expect(first).toMatchObject({
    stop_reason: 'tool_use',
    content: [
      { type: 'thinking', thinking: 'It may rain.' },
      { type: 'text', text: 'I look.' },
      { type: 'tool_use', name: 'weather', input: { city: 'Köln' } },
    ],
  });
  const use = first.content[2] as Anthropic.ToolUseBlock;
  const second = await client.messages.create({
    ...asked(''),
    tools: TOOLS,
    messages: [
      { role: 'user', content: 'Is it raining in Köln?' },
      { role: 'assistant', content: first.content },
      {
        role: 'user',
        content: [{ type: 'tool_result', tool_use_id: use.id, content: 'wet and grey', is_error: false }],
      },
    ],
  });
  expect(second).toMatchObject({
    stop_reason: 'end_turn',
    content: [
      { type: 'thinking', thinking: 'It does.' },
      { type: 'text', text: 'Yes, it rains.' },
    ],
  });
});

test('thinking is turned off, an answer is begun, a stop sequence ends it', async () => {
  const off = await client.messages.create({ ...asked('without thinking'), thinking: { type: 'disabled' } });
  expect(off.content).toMatchObject([{ type: 'text', text: 'No thoughts.' }]);
  const begun = await client.messages.create({
    ...asked('greet'),
    thinking: { type: 'disabled' },
    messages: [
      { role: 'user', content: 'greet' },
      { role: 'assistant', content: 'Hello' },
    ],
  });
  expect(begun.content).toMatchObject([{ type: 'text', text: ' world' }]);
  const stopped = await client.messages.create({ ...asked('six times seven'), stop_sequences: ['-two'] });
  expect(stopped).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: '-two' });
  const cut = await client.messages.create({ ...asked('six times seven'), max_tokens: 2 });
  expect(cut.stop_reason).toBe('max_tokens');
});

test('tokens are counted as they are used', async () => {
  const params = { ...asked('six times seven'), tools: TOOLS, system: 'Be brief.' };
  const { max_tokens: _, ...conversation } = params;
  const { input_tokens: counted } = await client.messages.countTokens(conversation);
  const { usage } = await client.messages.create(params);
  expect(usage.input_tokens + usage.cache_read_input_tokens!).toBe(counted);
});

test('what fails has its shape, status and words', async () => {
  await expect(client.messages.create({ ...asked('x'), model: 'claude' })).rejects.toMatchObject({
    status: 404,
    error: { type: 'error', error: { type: 'not_found_error', message: expect.stringContaining('claude') } },
  });
  await expect(client.messages.create(asked('long '.repeat(9000)))).rejects.toMatchObject({
    status: 400,
    error: {
      error: { type: 'invalid_request_error', message: expect.stringMatching(/^prompt is too long/) },
    },
  });
  const image = { type: 'image', source: { type: 'url', url: 'http://x' } } as const;
  await expect(
    client.messages.create({ ...asked(''), messages: [{ role: 'user', content: [image] }] }),
  ).rejects.toBeInstanceOf(Anthropic.BadRequestError);
  const { response } = await client.messages
    .create({ ...asked('six times seven'), metadata: { user_id: 'u' } })
    .withResponse();
  expect(response.headers.get('hadal-fields-without-effect')).toBe('metadata');
});

test('an abort ends the answer', async () => {
  const stream = client.messages.stream({ ...asked('on and on'), max_tokens: 4000 });
  await expect(
    (async () => {
      for await (const event of stream) if (event.type === 'content_block_delta') stream.abort();
    })(),
  ).rejects.toThrow(/abort/i);
  const stats = () => server.models.peek('v3.2')!.engine.stats();
  await expect.poll(async () => (await stats()).runningRequests).toBe(0);
});
