/** Owns: mistakes that other servers of models made, tried on ours over real connections: docs/internals/attacks.md. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { type RawRequest, type RawResponse, rawRequest } from '../fixtures/raw-http.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const all = newKey({ name: 'all', models: ['*'], limits: {} });
const some = newKey({ name: 'some', models: ['other'], limits: {} });

interface Described {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}
interface Operation {
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } };
}
/** What of a schema is looked at here. */
interface Schema {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
}

let server: TestServer;
let document: Described;
beforeAll(async () => {
  server = await startTestServer({
    toys: [{ name: 'toy' }, { name: 'other' }],
    keys: keyRing([all.key, some.key]),
  });
  document = JSON.parse((await send({ target: '/openapi.json' })).body) as Described;
});
afterAll(() => server[Symbol.asyncDispose]());

function send(request: RawRequest, secret = all.secret, more: readonly string[] = []): Promise<RawResponse> {
  const host = `host: ${new URL(server.url).host}`;
  return rawRequest(server.url, { headers: [host, `authorization: Bearer ${secret}`, ...more], ...request });
}

const post = (target: string, body: object, secret?: string) =>
  send({ method: 'POST', target, body: JSON.stringify(body) }, secret);

/** Every POST and DELETE with a body, and the fields of it. */
const bodies = () =>
  Object.entries(document.paths).flatMap(([target, methods]) =>
    Object.entries(methods).flatMap(([method, { requestBody }]) => {
      const schema = requestBody?.content['application/json'].schema;
      return schema ? [{ method: method.toUpperCase(), target, fields: schema.properties ?? {} }] : [];
    }),
  );

/** What each kind of route cannot do without. */
const NEEDED: Readonly<Record<string, unknown>> = {
  model: 'toy',
  messages: [{ role: 'user', content: 'hi' }],
  prompt: 'hi',
  input: 'hi',
  input_prefix: 'a',
  input_suffix: 'b',
  content: 'a',
  tokens: [1],
  max_tokens: 1,
  max_output_tokens: 1,
  n_predict: 1,
  options: { num_predict: 1 },
  pinned: false,
  stream: false,
};
const goodBody = (fields: object) =>
  Object.fromEntries(Object.entries(NEEDED).filter(([name]) => Object.hasOwn(fields, name)));

/** Paths of fields that may be numbers, one object deep. */
function numbersIn(fields: Readonly<Record<string, Schema>>): (readonly string[])[] {
  return Object.entries(fields).flatMap(([name, schema]) => {
    const inner = [schema, ...(schema.anyOf ?? [])].flatMap((one) => Object.entries(one.properties ?? {}));
    const below = inner.filter(([, one]) => isNumber(one)).map(([field]) => [name, field]);
    return isNumber(schema) ? [[name], ...below] : below;
  });
}

const isNumber = ({ type = '', anyOf = [] }: Schema): boolean =>
  [type].flat().some((one) => one === 'integer' || one === 'number') || anyOf.some(isNumber);

describe('numbers of every field of every route (llama.cpp CVE-2026-21869)', () => {
  const NUMBERS = [-1, -(2 ** 31), 2 ** 31, 2 ** 53, 1e308, 0.5, 5e-324];

  /** Routes that are another's under a second base. */
  const AGAIN = /^\/(beta|anthropic|chat|completions|responses|embeddings)/;

  test('are taken or refused: none of them is a fault', async () => {
    let tried = 0;
    for (const { method, target, fields } of bodies().filter((route) => !AGAIN.test(route.target))) {
      for (const path of numbersIn(fields)) {
        const [field = '', inner] = path;
        const statuses = NUMBERS.map(async (value) => {
          const own = inner === undefined ? value : { num_predict: 1, [inner]: value };
          const body = JSON.stringify({ ...goodBody(fields), [field]: own });
          return (await send({ method, target, body })).status;
        });
        const faults = (await Promise.all(statuses)).filter((status) => status >= 500);
        expect([target, path, faults]).toEqual([target, path, []]);
        tried += NUMBERS.length;
      }
    }
    expect(tried).toBeGreaterThan(300);
    expect(server.errors).toEqual([]);
  });

  test('of fields that others have and we do not, nothing comes', async () => {
    for (const field of ['n_discard', 'n_keep', 'prompt_embeds', 'lora', 'grammar', 'trust_remote_code']) {
      const response = await post('/v1/completions', {
        model: 'toy',
        prompt: 'hi',
        max_tokens: 1,
        [field]: -1,
      });
      expect([field, response.status]).toEqual([field, 200]);
      expect(response.headers.get('hadal-fields-without-effect')).toBe(field);
    }
  });
});

test('nothing is fetched for a request: not for answers, nor for counting or embedding (CVE-2025-6242)', async () => {
  let connections = 0;
  const trap = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve));
  const address = trap.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/x.png`;
  const openai = [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }];
  const anthropic = [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url } }] }];
  const documents = [{ role: 'user', content: [{ type: 'document', source: { type: 'url', url } }] }];
  const items = [{ role: 'user', content: [{ type: 'input_image', image_url: url }] }];
  const asked: [string, object][] = [
    ['/v1/chat/completions', { messages: openai }],
    ['/v1/messages', { messages: anthropic, max_tokens: 1 }],
    ['/v1/messages', { messages: documents, max_tokens: 1 }],
    ['/v1/messages/count_tokens', { messages: anthropic }],
    [
      '/v1/messages',
      { messages: NEEDED.messages, max_tokens: 1, mcp_servers: [{ type: 'url', url, name: 'x' }] },
    ],
    ['/v1/responses', { input: items }],
    ['/v1/responses', { input: 'hi', tools: [{ type: 'mcp', server_url: url, server_label: 'x' }] }],
    ['/api/chat', { messages: [{ role: 'user', content: 'hi', images: [url] }], stream: false }],
    ['/api/generate', { prompt: 'hi', images: [url], stream: false }],
    ['/v1/embeddings', { input: [{ image: url }] }],
    ['/api/embed', { input: [{ image: url }] }],
    ['/api/pull', { model: url, stream: false }],
    ['/v1/chat/completions', { messages: NEEDED.messages, api_base: url, base_url: url, max_tokens: 1 }],
  ];
  const statuses: number[] = [];
  for (const [target, body] of asked) statuses.push((await post(target, { model: 'toy', ...body })).status);
  // What is passed over changes nothing; everything else is refused.
  expect(statuses.slice(0, -1).filter((status) => status !== 400 && status !== 200)).toEqual([]);
  expect(statuses.filter((status) => status === 400).length).toBeGreaterThanOrEqual(10);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(connections).toBe(0);
  trap.close();
});

test('a template of a request is never run, under any name (CVE-2024-34359)', async () => {
  const template = "{{ ''.__class__.__mro__ }}{{ 7 * 191 }}";
  for (const [target, field] of [
    ['/v1/chat/completions', 'chat_template'],
    ['/v1/chat/completions', 'chat_template_kwargs'],
    ['/api/generate', 'template'],
  ] as const) {
    const value = field === 'chat_template_kwargs' ? { chat_template: template } : template;
    const body = { model: 'toy', messages: NEEDED.messages, prompt: 'hi', [field]: value };
    const { status, body: text } = await post(target, body);
    expect([target, field, status]).toEqual([target, field, 400]);
    expect(text).not.toContain('1337');
  }
});

test('a limit holds whatever header the key is in, and on every protocol (Open WebUI CVE-2026-45339)', async () => {
  const limited = newKey({ name: 'limited', models: ['*'], limits: { perMinute: 3 } });
  await using own = await startTestServer({ keys: keyRing([limited.key]) });
  const host = `host: ${new URL(own.url).host}`;
  const messages = [{ role: 'user', content: 'hi' }];
  const asked: [string, string, object][] = [
    [`authorization: Bearer ${limited.secret}`, '/v1/chat/completions', { messages, max_tokens: 1 }],
    [`x-api-key: ${limited.secret}`, '/v1/messages', { messages, max_tokens: 1 }],
    [`api-key: ${limited.secret}`, '/api/chat', { messages, stream: false, options: { num_predict: 1 } }],
    [`authorization: bearer  ${limited.secret}`, '/v1/embeddings', { input: 'hi' }],
    [`X-API-KEY: ${limited.secret}`, '/v1/responses', { input: 'hi', max_output_tokens: 1 }],
    [`Api-Key: ${limited.secret}`, '/tokenize', { content: 'hi' }],
    [`x-api-key: ${limited.secret}`, '/v1/messages/count_tokens', { messages }],
    [`x-api-key: ${limited.secret}`, '/v1/completions', { prompt: 'hi', max_tokens: 1 }],
  ];
  const answers: RawResponse[] = [];
  for (const [header, target, body] of asked) {
    const whole = JSON.stringify({ model: 'toy', ...body });
    answers.push(await rawRequest(own.url, { method: 'POST', target, headers: [host, header], body: whole }));
  }
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429, 429, 429, 429, 429]);
  for (const { status, headers } of answers)
    if (status === 429) expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
});

test('several headers of one name are no way around a key', async () => {
  const wrong = `hdl_${'x'.repeat(43)}`;
  const host = `host: ${new URL(server.url).host}`;
  for (const [first, second] of [
    [all.secret, wrong],
    [wrong, all.secret],
    ['', wrong],
  ]) {
    for (const form of ['authorization: Bearer ', 'x-api-key: ', 'api-key: ']) {
      const headers = [host, `${form}${first}`, `${form}${second}`];
      const { status } = await rawRequest(server.url, { target: '/v1/models', headers });
      expect([400, 401]).toContain(status);
    }
  }
});

test('a key reaches no model but its own, on any route (Open WebUI CVE-2026-45349)', async () => {
  let tried = 0;
  for (const { method, target, fields } of bodies()) {
    if (!Object.hasOwn(fields, 'model')) continue;
    for (const model of ['toy', 'toy-alias', 'TOY']) {
      const body = JSON.stringify({ ...goodBody(fields), model });
      const { status } = await send({ method, target, body }, some.secret);
      expect([method, target, model, status]).toEqual([method, target, model, 403]);
      tried++;
    }
  }
  expect(tried).toBeGreaterThan(60);
  for (const [target, methods] of Object.entries(document.paths)) {
    if (!('get' in methods)) continue;
    const { status, body } = await send({ target: target.replace('{model}', 'toy') }, some.secret);
    if (target.includes('{model}')) expect([target, [403, 404].includes(status)]).toEqual([target, true]);
    else if (!['/metrics', '/openapi.json'].includes(target))
      expect([target, body.includes('"toy')]).toEqual([target, false]);
  }
  // Where a model may be left out, the only one of the key is meant.
  const tokens = await post('/tokenize', { content: 'hi' }, some.secret);
  expect(tokens.status).toBe(200);
});

test('no key comes into the log or into an answer, wherever it was put (LiteLLM)', async () => {
  const host = `host: ${new URL(server.url).host}`;
  const lost = `hdl_${'q'.repeat(43)}`;
  const requests: RawRequest[] = [
    { target: `/v1/models?api_key=${lost}`, headers: [host] },
    { target: `/v1/${lost}`, headers: [host, `authorization: Bearer ${all.secret}`] },
    { target: '/v1/models', headers: [host, `authorization: ${lost}`] },
    { target: '/v1/models', headers: [host, `authorization: Basic ${lost}`] },
    { target: '/v1/models', headers: [host, `x-api-key: ${lost}`] },
    { target: '/v1/models', headers: [host, `x-api-key: ${lost}`, `api-key: ${all.secret}`] },
    {
      method: 'POST',
      target: '/v1/completions',
      headers: [host, `authorization: Bearer ${all.secret}`],
      body: JSON.stringify({ model: 'toy', api_key: lost, prompt: 1 }),
    },
  ];
  for (const [i, request] of requests.entries()) {
    const { body } = await rawRequest(server.url, request);
    // A path that is unknown is said back to whoever sent it.
    if (i !== 1) expect(body).not.toContain(lost);
    expect(body).not.toContain(all.secret);
  }
  expect(JSON.stringify(server.lines)).not.toContain(lost);
  expect(JSON.stringify(server.lines)).not.toContain(all.secret);
});

describe('a server that listens beyond this machine (Ollama CVE-2024-28224)', () => {
  let open: TestServer;
  let port = '';
  beforeAll(async () => {
    open = await startTestServer({ host: '0.0.0.0', keys: keyRing([all.key]), hosts: ['models.example'] });
    port = new URL(open.url).port;
  });
  afterAll(() => open[Symbol.asyncDispose]());

  test.each(['evil.example', 'evil.example:80', '10.1.2.3', '0.0.0.0', '127.0.0.1.nip.io', 'localhost.'])(
    'refuses the Host %s, with the right key and without',
    async (host) => {
      const url = `http://127.0.0.1:${port}`;
      for (const key of [`authorization: Bearer ${all.secret}`, 'x-nothing: 1']) {
        const { status } = await rawRequest(url, { target: '/v1/models', headers: [`host: ${host}`, key] });
        expect(status).toBe(403);
      }
    },
  );

  test('answers to its own names and addresses, by key', async () => {
    const own = Object.values(networkInterfaces())
      .flatMap((each) => each ?? [])
      .filter(({ family }) => family === 'IPv4');
    for (const name of [
      ...own.map(({ address }) => address),
      'localhost',
      'models.example',
      'MODELS.EXAMPLE',
    ]) {
      const asked = (key: string) =>
        rawRequest(`http://127.0.0.1:${port}`, {
          target: '/v1/models',
          headers: [`host: ${name}:${port}`, key],
        });
      expect([name, (await asked(`x-api-key: ${all.secret}`)).status]).toEqual([name, 200]);
      expect([name, (await asked('x-nothing: 1')).status]).toEqual([name, 401]);
    }
  });

  test('refuses pages of others, and gives no page leave to read', async () => {
    for (const origin of ['https://evil.example', 'null', `http://evil.example:${port}`]) {
      const headers = [`host: localhost:${port}`, `x-api-key: ${all.secret}`, `origin: ${origin}`];
      const answer = await rawRequest(`http://127.0.0.1:${port}`, { target: '/v1/models', headers });
      expect(answer.status).toBe(403);
      const asked = { method: 'OPTIONS', target: '/v1/chat/completions', headers };
      const preflight = await rawRequest(`http://127.0.0.1:${port}`, asked);
      expect(preflight.headers.get('access-control-allow-origin')).toBeUndefined();
    }
  });
});

test('the page of attacks names tests that are there', () => {
  const root = join(import.meta.dirname, '..', '..');
  const page = readFileSync(join(root, 'docs', 'internals', 'attacks.md'), 'utf8');
  const rows = page.split('\n').filter((line) => /^\| (?!elsewhere)[^-]/.test(line));
  expect(rows.length).toBeGreaterThan(20);
  for (const row of rows) {
    const named = row.match(/`(src|test)\/[\w./-]+\.test\.ts`/g) ?? [];
    expect([row, named.length > 0]).toEqual([row, true]);
    for (const path of named) expect([path, existsSync(join(root, path.slice(1, -1)))]).toEqual([path, true]);
  }
});
