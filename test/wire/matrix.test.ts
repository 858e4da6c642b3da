/** Owns: every registered route against everything a caller can get wrong: the status, the shape, and that others go on. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { protocolOf } from '../../src/server/protocol.ts';
import { type RawRequest, type RawResponse, rawRequest } from '../fixtures/raw-http.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const { key, secret } = newKey({ name: 'test', models: ['*'], limits: {} });
const bearer = `authorization: Bearer ${secret}`;
const few = newKey({ name: 'few', models: ['to*'], limits: {} });
const fewBearer = `authorization: Bearer ${few.secret}`;
const HIDDEN = 'hidden';
const wrong = `hdl_${'x'.repeat(43)}`;
const OPEN = ['/healthz', '/readyz'];

const SETTINGS = ['model', 'max_tokens', 'temperature', 'stop', 'n', 'stream', 'logit_bias', 'seed'];
/** A right body for each POST route, and fields of it to be spoiled. A new route needs a line here. */
const GOOD: readonly (readonly [path: RegExp, body: object, fields: readonly string[]])[] = [
  [
    /\/chat\/completions$/,
    { model: 'toy', max_tokens: 1, messages: [{ role: 'user', content: 'hi' }] },
    ['messages', 'tools', 'tool_choice', 'response_format', 'thinking', 'reasoning_effort', ...SETTINGS],
  ],
  [
    /\/completions$/,
    { model: 'toy', max_tokens: 1, prompt: 'hi' },
    ['prompt', 'suffix', 'echo', ...SETTINGS],
  ],
  [
    /^\/infill$/,
    { model: 'toy', n_predict: 1, input_prefix: 'a', input_suffix: 'b' },
    ['model', 'input_prefix', 'input_suffix', 'input_extra', 'prompt', 'stream', 'temperature', 'stop'],
  ],
  [/^\/tokenize$/, { model: 'toy', content: 'a' }, ['model', 'content', 'add_special']],
  [/^\/detokenize$/, { model: 'toy', tokens: [1] }, ['model', 'tokens']],
  [
    /^\/api\/chat$/,
    { model: 'toy', stream: false, options: { num_predict: 1 }, messages: [{ role: 'user', content: 'hi' }] },
    ['model', 'messages', 'tools', 'stream', 'think'],
  ],
  [
    /^\/api\/generate$/,
    { model: 'toy', stream: false, options: { num_predict: 1 }, prompt: 'hi' },
    ['model', 'prompt', 'suffix', 'system', 'stream', 'think'],
  ],
  [/^\/api\/embeddings$/, { model: 'toy', prompt: 'hi' }, ['model', 'prompt', 'pooling']],
  [
    /\/embeddings$/,
    { model: 'toy', input: 'hi' },
    ['model', 'input', 'encoding_format', 'dimensions', 'pooling'],
  ],
  [/^\/api\/embed$/, { model: 'toy', input: 'hi' }, ['model', 'input', 'dimensions', 'pooling']],
  [/^\/api\/(show|pull|delete)$/, { model: 'toy' }, ['model']],
  [/\/models\/(load|unload)$/, { model: 'toy' }, ['model']],
  [/\/models\/pin$/, { model: 'toy', pinned: false }, ['model', 'pinned']],
  [
    /\/responses$/,
    { model: 'toy', max_output_tokens: 1, input: 'hi' },
    [
      ...['model', 'input', 'instructions', 'max_output_tokens', 'tools', 'tool_choice'],
      ...['stream', 'temperature', 'top_p', 'previous_response_id', 'background'],
    ],
  ],
  [
    /\/messages$/,
    { model: 'toy', max_tokens: 1, messages: [{ role: 'user', content: 'hi' }] },
    [
      ...['model', 'messages', 'max_tokens', 'system', 'tools', 'tool_choice', 'thinking'],
      ...['stop_sequences', 'stream', 'temperature', 'top_p', 'top_k'],
    ],
  ],
  [
    /\/messages\/count_tokens$/,
    { model: 'toy', messages: [{ role: 'user', content: 'hi' }] },
    ['model', 'messages', 'system', 'tools', 'tool_choice', 'thinking'],
  ],
];

let server: TestServer;
let host = '';
/** Every route of the server, as its own document lists them. */
let routes: { method: string; path: string }[] = [];
beforeAll(async () => {
  server = await startTestServer({ keys: keyRing([key]) });
  host = new URL(server.url).host;
  const response = await rawRequest(server.url, {
    target: '/openapi.json',
    headers: [`host: ${host}`, bearer],
  });
  const document = JSON.parse(response.body) as { paths: Record<string, Record<string, unknown>> };
  routes = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({
      method: method.toUpperCase(),
      path: path.replace('{model}', 'toy'),
    })),
  );
});
afterAll(() => server[Symbol.asyncDispose]());

/** Sends it, and looks at what every response has to be. */
async function send(
  request: RawRequest,
  more: readonly string[] = [bearer],
  url = server.url,
): Promise<RawResponse> {
  const response = await rawRequest(url, { headers: [`host: ${new URL(url).host}`, ...more], ...request });
  expect(response.body).not.toMatch(/\n\s+at |node:|\.ts:|\.js:|\/src\/|\/dist\//);
  if (response.status >= 400) {
    const path = request.target.split('?')[0] ?? '';
    const resolved = /^\/(?!\/)/.test(path) ? new URL(path, 'http://localhost').pathname : path;
    const shape = protocolOf(resolved).error({ status: 1, code: 'c', message: 'm' });
    const body = JSON.parse(response.body) as object;
    expect(keysOf(body)).toEqual(keysOf(shape));
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  }
  return response;
}

/** Names of fields at every level, without values. */
function keysOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return true;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, keysOf(inner)]));
}

const closed = () => routes.filter(({ path }) => !OPEN.includes(path));
const posts = () => routes.filter(({ method }) => hasBody(method));
const hasBody = (method: string) => method === 'POST' || method === 'DELETE';
const bodyOf = (method: string) => (hasBody(method) ? { body: '{}' } : {});

/** Runs a case on each route; the server is asked for its health after every one. */
async function each(
  list: readonly { method: string; path: string }[],
  work: (route: { method: string; path: string }) => Promise<void>,
): Promise<void> {
  expect(list.length).toBeGreaterThan(0);
  for (const route of list) {
    await work(route);
    expect((await rawRequest(server.url, { target: '/healthz' })).status).toBe(200);
  }
}

test('the document lists what is registered', () => {
  const list = routes.map(({ method, path }) => `${method} ${path}`);
  for (const base of ['/v1', '', '/beta']) {
    expect(list).toContain(`POST ${base}/chat/completions`);
    expect(list).toContain(`POST ${base}/completions`);
    expect(list).toContain(`GET ${base}/models`);
  }
  expect(list).toContain('GET /metrics');
});

describe('keys', () => {
  test('none: 401', () =>
    each(closed(), async ({ method, path: target }) => {
      const response = await send({ method, target, ...bodyOf(method) }, []);
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toContain('Bearer');
    }));

  test('a wrong one in any header: 401', () =>
    each(closed(), async ({ method, path: target }) => {
      for (const header of [
        `authorization: Bearer ${wrong}`,
        `x-api-key: ${wrong}`,
        `api-key: ${wrong}`,
        'authorization: Basic eDp5',
      ])
        expect((await send({ method, target, ...bodyOf(method) }, [header])).status).toBe(401);
    }));

  test('the right one in any header opens, and counts as the same', () =>
    each(closed(), async ({ method, path: target }) => {
      const forms = [
        bearer,
        `AUTHORIZATION: bearer  ${secret}`,
        `x-api-key: ${secret}`,
        `Api-Key: ${secret}`,
      ];
      for (const header of [...forms, `${bearer}\r\nx-api-key: ${secret}`]) {
        const { status } = await send({ method, target, ...bodyOf(method) }, [header]);
        expect(status).toBe(hasBody(method) ? 400 : 200);
      }
    }));

  test('two that disagree: 400', () =>
    each(closed(), async ({ method, path: target }) => {
      const response = await send({ method, target, ...bodyOf(method) }, [bearer, `x-api-key: ${wrong}`]);
      expect(response.status).toBe(400);
    }));

  test('the open routes say yes or no and nothing else', () =>
    each(
      routes.filter(({ path }) => OPEN.includes(path)),
      async ({ path: target }) => {
        const response = await send({ target }, []);
        expect(response).toMatchObject({ status: 200, body: '{"status":"ok"}' });
      },
    ));
});

describe('a key of some models', () => {
  /** Beside the model that the key may use there is one that it may not know of. */
  let two: TestServer;
  beforeAll(async () => {
    two = await startTestServer({ keys: keyRing([few.key]), toys: [{ name: 'toy' }, { name: HIDDEN }] });
  });
  afterAll(() => two[Symbol.asyncDispose]());
  /** What concerns all models, or the disk. */
  const RULED = /^\/metrics$|\/models\/(unload|pin)$|^\/api\/(pull|delete)$/;
  const goodOf = (target: string) => GOOD.find(([pattern]) => pattern.test(target))![1];
  /** Why the key was refused; Ollama's errors have no codes. */
  const refusalOf = ({ body }: RawResponse) => /a key for all models|a key that may use it/.exec(body)?.[0];

  test('opens what is of those models, and nothing that concerns all: 403', () =>
    each(closed(), async ({ method, path: target }) => {
      const body = hasBody(method) ? { body: JSON.stringify(goodOf(target)) } : {};
      const response = await send({ method, target, ...body }, [fewBearer], two.url);
      if (RULED.test(target)) {
        expect([response.status, refusalOf(response)]).toEqual([403, 'a key for all models']);
        return;
      }
      // The toy has no chat format, and no piece that fills in a middle.
      expect([target, response.status, refusalOf(response)]).toEqual([
        target,
        expect.toSatisfy((status) => status === 200 || status === 400),
        undefined,
      ]);
      expect(response.body).not.toContain(HIDDEN);
    }));

  test('another model: refused by name, 403 on every route', () =>
    each(closed(), async ({ method, path }) => {
      if (hasBody(method)) {
        const body = JSON.stringify({ ...goodOf(path), model: HIDDEN });
        const response = await send({ method, target: path, body }, [fewBearer], two.url);
        expect([path, response.status, refusalOf(response)]).toEqual([
          path,
          403,
          expect.stringMatching(/^a key/),
        ]);
        return;
      }
      const target = path === '/props' ? `/props?model=${HIDDEN}` : path.replace('/toy', `/${HIDDEN}`);
      if (target === path) return;
      expect([target, (await send({ target }, [fewBearer], two.url)).status]).toEqual([target, 403]);
    }));

  test('an unknown model: the names of others are not told', () =>
    each(posts(), async ({ method, path: target }) => {
      const body = JSON.stringify({ ...goodOf(target), model: 'nobody' });
      const response = await send({ method, target, body }, [fewBearer], two.url);
      expect(RULED.test(target) ? [403, 404] : [404]).toContain(response.status);
      expect(response.body).not.toContain(HIDDEN);
    }));
});

describe('where it goes', () => {
  test('another Host: 403, whatever the key', () =>
    each(routes, async ({ method, path: target }) => {
      for (const other of ['evil.example', `evil.example:${host.split(':')[1]}`, '127.0.0.1.evil.example'])
        expect(
          (await send({ method, target, headers: [`host: ${other}`, bearer], ...bodyOf(method) })).status,
        ).toBe(403);
    }));

  test('no Host, two, one that is no name, a whole URL as the target: 400', () =>
    each(routes, async ({ method, path }) => {
      const cases: RawRequest[] = [
        { target: path, headers: [bearer] },
        { target: path, headers: [`host: ${host}`, `host: ${host}`, bearer] },
        { target: path, headers: ['host:', bearer] },
        { target: path, headers: ['host: a b', bearer] },
        { target: path, headers: [`host: ${host}@evil.example`, bearer] },
        { target: path, headers: [`host: ${host}/evil`, bearer] },
        { target: `http://${host}${path}`, headers: [`host: ${host}`, bearer] },
        { target: `http://evil.example${path}`, headers: [`host: ${host}`, bearer] },
      ];
      for (const one of cases) expect((await send({ method, ...one, ...bodyOf(method) })).status).toBe(400);
    }));

  test('another Origin: 403; the own one passes', () =>
    each(closed(), async ({ method, path: target }) => {
      for (const origin of ['https://evil.example', 'null', `http://${host}.evil.example`, 'file://'])
        expect(
          (await send({ method, target, ...bodyOf(method) }, [bearer, `origin: ${origin}`])).status,
        ).toBe(403);
      const own = await send({ method, target, ...bodyOf(method) }, [bearer, `origin: http://${host}`]);
      expect(own.status).toBe(hasBody(method) ? 400 : 200);
      expect(own.headers.get('access-control-allow-origin')).toBeUndefined();
    }));

  test('other spellings of a path are other paths: closed without a key, unknown with one', () =>
    each(closed(), async ({ method, path }) => {
      const second = path.indexOf('/', 1);
      const spellings = [
        `/${path}`,
        `${path};x=1`,
        `${path}%2f`,
        `${path}%00`,
        `/healthz;${path}`,
        `/healthz%2f..${path}`,
        ...(second > 0 ? [`${path.slice(0, second)}%2f${path.slice(second + 1)}`] : []),
        path.toUpperCase(),
      ];
      for (const target of spellings) {
        expect((await send({ method, target, ...bodyOf(method) }, [])).status).toBe(401);
        // One that is a parameter of another route is that route's.
        expect([404, 405]).toContain((await send({ method, target, ...bodyOf(method) })).status);
      }
    }));

  test('dots are resolved before anybody looks at the path', () =>
    each(closed(), async ({ method, path }) => {
      const target = `/healthz/..${path}`;
      expect((await send({ method, target, ...bodyOf(method) }, [])).status).toBe(401);
      expect((await send({ method, target, ...bodyOf(method) })).status).toBe(hasBody(method) ? 400 : 200);
    }));

  test('another method: 405', () =>
    each(routes, async ({ method, path: target }) => {
      for (const other of [
        'PUT',
        'DELETE',
        'PATCH',
        method === 'POST' ? 'GET' : 'POST',
        'TRACE',
        'PROPFIND',
      ]) {
        if (routes.some((route) => route.path === target && route.method === other)) continue;
        // With a body and without one, whose length nobody says then.
        const type = 'content-type: application/json';
        for (const request of [{ body: '{}' }, { headers: [`host: ${host}`, bearer, type] }]) {
          const { status, headers } = await send({ method: other, target, ...request });
          // `/models/{model}` is a GET that a POST to another route may look like.
          expect([404, 405]).toContain(status);
          if (status === 405) expect(headers.get('allow')?.split(', ')).toContain(method);
        }
      }
    }));

  test('CONNECT asks for another server: 400', () =>
    each(routes, async ({ path: target }) => {
      expect((await send({ method: 'CONNECT', target })).status).toBe(400);
    }));
});

describe('what it says', () => {
  test('no JSON, or not as JSON: 400 and 415', () =>
    each(posts(), async ({ method, path: target }) => {
      for (const body of ['', '{', '{"model": "toy",}', 'null', '[]', '"text"', '42', '\u0000'])
        expect((await send({ method, target, body })).status).toBe(400);
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'])
        expect((await send({ method, target, body: '{}' }, [bearer, `content-type: ${type}`])).status).toBe(
          415,
        );
    }));

  test('compressed: 415, unread', () =>
    each(posts(), async ({ method, path: target }) => {
      for (const encoding of ['gzip', 'br', 'gzip, gzip'])
        expect(
          (await send({ method, target, body: '{}' }, [bearer, `content-encoding: ${encoding}`])).status,
        ).toBe(415);
    }));

  test('what comes in chunks is read like what says its length; without either there is nothing', () =>
    each(posts(), async ({ method, path: target }) => {
      const good = JSON.stringify(GOOD.find(([pattern]) => pattern.test(target))![1]);
      const whole = await send({ method, target, body: good });
      const head = [`host: ${host}`, bearer, 'content-type: application/json'];
      const chunks = [good.slice(0, 3), good.slice(3)];
      const chunked = await send({ method, target, headers: head, chunks });
      expect([target, chunked.status]).toEqual([target, whole.status]);
      expect((await send({ method, target, headers: head })).status).toBe(400);
    }));

  test('10 MB, with its length or in chunks: 413', () =>
    each(posts(), async ({ method, path }) => {
      const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/json' };
      const body = JSON.stringify({ model: 'toy', prompt: 'x'.repeat(10 << 20) });
      const whole = await fetch(`${server.url}${path}`, { method, headers, body });
      expect(whole.status).toBe(413);
      const stream = new Blob([body]).stream();
      const chunked = await fetch(`${server.url}${path}`, {
        method,
        headers,
        body: stream,
        duplex: 'half',
      } as RequestInit);
      expect(chunked.status).toBe(413);
    }));

  test('deep nesting: 400', () =>
    each(posts(), async ({ method, path: target }) => {
      for (const deep of [
        '['.repeat(10_000) + ']'.repeat(10_000),
        `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`,
        '['.repeat(500_000),
      ]) {
        const body = `{"model":"toy","messages":${deep}}`;
        expect((await send({ method, target, body })).status).toBe(400);
      }
    }));

  test('wrong types in every known field: 400, naming the field', () =>
    each(posts(), async ({ method, path: target }) => {
      const [, good, fields] = GOOD.find(([pattern]) => pattern.test(target))!;
      for (const field of fields) {
        for (const value of [{ a: { b: [] } }, -1.5, [[{}]], Number.POSITIVE_INFINITY]) {
          // JSON has no infinity, but a number that is read as one.
          const body = JSON.stringify({ ...good, [field]: value }).replace('null', '1e309');
          const response = await send({ method, target, body });
          expect([field, response.status, response.body]).toEqual([
            field,
            400,
            expect.stringContaining(field),
          ]);
        }
      }
    }));

  test('more fields than anybody has: 400', () =>
    each(posts(), async ({ method, path: target }) => {
      const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`f${i}`, i]));
      const body = JSON.stringify({ ...GOOD.find(([pattern]) => pattern.test(target))![1], ...many });
      const response = await send({ method, target, body });
      expect([target, response.status, response.body]).toEqual([
        target,
        400,
        expect.stringContaining('at most 1024 fields'),
      ]);
    }));

  test('__proto__ and constructor change nothing', () =>
    each(posts(), async ({ method, path: target }) => {
      // There a model alone is a whole request, and what is unknown has no effect.
      const statuses = [
        400,
        404,
        ...(/^\/api\/(show|generate|embed|embeddings|pull)$/.test(target) ? [200] : []),
        // A model that nobody pulled stays.
        ...(target === '/api/delete' ? [409] : []),
      ];
      for (const name of ['__proto__', 'constructor', 'prototype']) {
        for (const body of [
          `{"${name}":{"polluted":1}}`,
          `{"model":"toy","messages":[{"${name}":{"polluted":1}}]}`,
          `{"model":"${name}","prompt":"x","messages":[{"role":"user","content":"x"}]}`,
        ]) {
          expect(statuses).toContain((await send({ method, target, body })).status);
        }
      }
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    }));

  test('headers without end: 431, what is no HTTP: 400, each in the shape of its route', () =>
    each(routes, async ({ method, path: target }) => {
      const endless = [`host: ${host}`, `x-a: ${'a'.repeat(20_000)}`];
      expect((await send({ method, target, headers: endless })).status).toBe(431);
      for (const headers of [['host'], [`host: ${host}`, 'content-length: x']])
        expect((await send({ method, target, headers })).status).toBe(400);
      expect((await send({ method, target: `\\\\evil${target}` })).status).toBe(400);
      expect((await rawRequest(server.url, { method, target: `/\\evil${target}` })).status).toBe(400);
      for (const name of ['localhost:99999', '127.1', '256.1.1.1', '[::::]'])
        expect((await send({ method, target, headers: [`host: ${name}`, bearer] })).status).toBe(400);
    }));
});

test('nothing of all that was a fault of the server', () => {
  expect(server.errors).toEqual([]);
  // What callers wrote is in no log.
  expect(JSON.stringify(server.lines)).not.toContain(secret);
});
