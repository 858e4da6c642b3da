/** Owns: this project's own routes: the machine's figures, loading, unloading and pinning, who may do it. */
import { afterEach, expect, test } from 'vitest';
import type { ExpertsDocument, MachineDocument } from '../../src/api/hadal/machine.ts';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { startTestServer, type TestServer, type TestServerOptions } from '../fixtures/server.ts';

let server: TestServer | undefined;
afterEach(() => server?.[Symbol.asyncDispose]());

async function started(options: TestServerOptions = {}) {
  server = await startTestServer(options);
  const { url } = server;
  const headers = (secret?: string) => ({
    'content-type': 'application/json',
    ...(secret === undefined ? {} : { authorization: `Bearer ${secret}` }),
  });
  return {
    events: server.events,
    async machine(secret?: string): Promise<MachineDocument> {
      const response = await fetch(`${url}/hadal/v1/machine`, { headers: headers(secret) });
      return (await response.json()) as MachineDocument;
    },
    async experts(): Promise<ExpertsDocument> {
      return (await (await fetch(`${url}/hadal/v1/models/toy/experts`)).json()) as ExpertsDocument;
    },
    post: (path: string, body: object, secret?: string) =>
      fetch(`${url}${path}`, { method: 'POST', headers: headers(secret), body: JSON.stringify(body) }),
  };
}

const chat = (more: object = {}) => ({
  model: 'toy',
  max_tokens: 3,
  messages: [{ role: 'user', content: 'hi' }],
  ...more,
});

test('a model is loaded, pinned, unpinned and put out, and the machine tells', async () => {
  const { machine, post, events } = await started();
  expect((await machine()).models[0]).toMatchObject({ name: 'toy', state: 'absent', engine: null });
  expect((await post('/hadal/v1/models/load', { model: 'toy-alias' })).status).toBe(200);
  const ready = await machine();
  expect(ready.models[0]).toMatchObject({
    state: 'ready',
    pinned: false,
    loading: null,
    in_use: 0,
    architecture: 'llama',
    engine: { running: 0, waiting: 0, decode_rows: 0, counts_experts: false },
  });
  expect(ready.models[0]?.expires_at_ms).toBeGreaterThan(Date.now());
  expect(ready.memory.total_bytes).toBeGreaterThan(ready.memory.available_bytes);
  await post('/hadal/v1/models/pin', { model: 'toy', pinned: true });
  expect((await machine()).models[0]).toMatchObject({ pinned: true, expires_at_ms: null });
  const pinned = await post('/hadal/v1/models/unload', { model: 'toy' });
  expect(pinned.status).toBe(409);
  expect(await pinned.json()).toMatchObject({ error: { code: 'model-pinned' } });
  await post('/hadal/v1/models/pin', { model: 'toy', pinned: false });
  expect((await post('/hadal/v1/models/unload', { model: 'toy' })).status).toBe(200);
  expect((await machine()).models[0]).toMatchObject({ state: 'absent' });
  expect(events).toEqual(['loading toy', 'loaded toy', 'unloaded toy']);
});

test('rows, steps and pages are counted; a busy model is not put out', async () => {
  // An answer that is not over before it is asked whether the model is busy.
  const contextTokens = 16_384;
  const { machine, post } = await started({ toys: [{ name: 'toy', contextTokens }] });
  expect((await post('/v1/chat/completions', chat())).status).toBe(200);
  const { engine } = (await machine()).models[0]!;
  expect(engine!.prefill_rows).toBeGreaterThan(0);
  expect(engine!.decode_rows).toBeGreaterThan(0);
  expect(engine!.pages.total).toBeGreaterThan(0);
  const running = await post(
    '/v1/chat/completions',
    chat({ max_tokens: contextTokens - 1000, stream: true, ignore_eos: true }),
  );
  const reader = running.body!.getReader();
  await reader.read();
  const busy = await post('/hadal/v1/models/unload', { model: 'toy' });
  expect([busy.status, await busy.json()]).toMatchObject([409, { error: { code: 'model-busy' } }]);
  await reader.cancel();
});

test('a model without experts has none to tell of', async () => {
  const { experts, post } = await started();
  await post('/hadal/v1/models/load', { model: 'toy' });
  expect(await experts()).toEqual({ object: 'experts', model: 'toy', layers: [] });
});

test('a key sees and loads what it may use; taking away needs a key for all', async () => {
  const some = newKey({ name: 'some', models: ['toy'], limits: {} });
  const all = newKey({ name: 'all', models: ['*'], limits: {} });
  const { machine, post } = await started({
    toys: [{ name: 'toy' }, { name: 'other' }],
    keys: keyRing([some.key, all.key]),
  });
  expect((await machine(some.secret)).models.map(({ name }) => name)).toEqual(['toy']);
  expect((await machine(all.secret)).models.map(({ name }) => name)).toEqual(['toy', 'other']);
  const as = async (path: string, body: object, secret: string) => (await post(path, body, secret)).status;
  expect(await as('/hadal/v1/models/load', { model: 'other' }, some.secret)).toBe(403);
  expect(await as('/hadal/v1/models/load', { model: 'toy' }, some.secret)).toBe(200);
  expect(await as('/hadal/v1/models/pin', { model: 'toy', pinned: true }, some.secret)).toBe(403);
  expect(await as('/hadal/v1/models/unload', { model: 'toy' }, some.secret)).toBe(403);
  expect(await as('/hadal/v1/models/unload', { model: 'toy' }, all.secret)).toBe(200);
});

test('loading counts as a request of its key, and a server that closes loads nothing', async () => {
  const one = newKey({ name: 'one', models: ['*'], limits: { perMinute: 1 } });
  const two = newKey({ name: 'two', models: ['*'], limits: {} });
  const { post, events } = await started({ keys: keyRing([one.key, two.key]) });
  const load = (secret: string) => post('/hadal/v1/models/load', { model: 'toy' }, secret);
  expect((await load(one.secret)).status).toBe(200);
  const again = await load(one.secret);
  expect(again.status).toBe(429);
  expect(again.headers.get('retry-after')).toMatch(/^\d+$/);
  await post('/hadal/v1/models/unload', { model: 'toy' }, two.secret);
  const before = events.length;
  const closed = server!.close(0);
  const late = await load(two.secret).then(
    ({ status }) => status,
    () => 'closed',
  );
  expect([503, 'closed']).toContain(late);
  await closed;
  expect(events.slice(before)).toEqual([]);
});
