/** Owns: llama.cpp's routes, asked as llama.vscode asks them, on a model that follows a script. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ScriptedModel, scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

let folder = '';
let model: ScriptedModel;
let server: TestServer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-infill-'));
  model = await scriptedModel('deepseek-v3.2', folder, [
    { text: ' * r * r', after: 'return 3.14' },
    { text: ' // seen', after: '#shapes.ts' },
  ]);
  server = await startTestServer({
    served: [{ name: 'coder', aliases: [], source: model.path, pinned: false }],
    local: { env: model.env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
  });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const post = (path: string, body: object) =>
  fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

/** What the editor sends, with the settings that it has from the start. */
const asked = {
  input_prefix: 'def area(r):\n',
  input_suffix: '\n\nprint(area(1))',
  input_extra: [],
  prompt: '    return 3.14',
  n_predict: 128,
  n_indent: 0,
  top_k: 40,
  top_p: 0.99,
  stream: false,
  samplers: ['top_k', 'top_p', 'infill'],
  cache_prompt: true,
  t_max_prompt_ms: 500,
  t_max_predict_ms: 1000,
};

test('the middle is filled in', async () => {
  const response = await post('/infill', asked);
  expect(response.headers.get('hadal-fields-without-effect')).toBe(
    'n_indent, samplers, t_max_prompt_ms, t_max_predict_ms',
  );
  expect(await response.json()).toMatchObject({
    content: ' * r * r',
    stop: true,
    stop_type: 'eos',
    model: 'coder',
    tokens_predicted: expect.any(Number),
    timings: { predicted_n: expect.any(Number) },
  });
  const streamed = await (await post('/infill', { ...asked, stream: true })).text();
  const events = [...streamed.matchAll(/^data: (.*)$/gm)].map(
    ([, json]) => JSON.parse(json!) as { content: string; stop: boolean },
  );
  expect(events.map(({ content }) => content).join('')).toBe(' * r * r');
  expect(events.map(({ stop }) => stop)).toEqual(events.map((_, i) => i === events.length - 1));
});

test('other files stand before it, and a request for no token at all warms the cache', async () => {
  const extra = { ...asked, prompt: '', input_extra: [{ filename: 'shapes.ts', text: 'export {};' }] };
  expect(await (await post('/infill', extra)).json()).toMatchObject({ content: ' // seen' });
  expect(await (await post('/infill', { ...extra, n_predict: 0 })).json()).toMatchObject({
    tokens_predicted: 1,
  });
});

test('a text is its tokens and back', async () => {
  const content = 'Grüße <｜User｜>';
  const { tokens } = (await (await post('/tokenize', { content })).json()) as { tokens: number[] };
  expect(tokens).toEqual([...model.tokenizer.encode(content, { special: true })]);
  expect(await (await post('/detokenize', { tokens })).json()).toEqual({ content });
  const pieces = (await (
    await post('/tokenize', { content, with_pieces: true, parse_special: false })
  ).json()) as {
    tokens: { id: number; piece: string | number[] }[];
  };
  expect(pieces.tokens.map(({ id }) => id)).toEqual([...model.tokenizer.encode(content)]);
  expect((await post('/detokenize', { tokens: [10_000_000] })).status).toBe(400);
});

test('what is known of the model', async () => {
  const props = await (await fetch(`${server.url}/props`)).json();
  expect(props).toMatchObject({ default_generation_settings: { n_ctx: 8192 }, model_alias: 'coder' });
  expect((await fetch(`${server.url}/props?model=other`)).status).toBe(404);
});
