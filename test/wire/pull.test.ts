/** Owns: pulling and deleting through Ollama's own client, out of a hub on loopback. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ollama, type ProgressResponse } from 'ollama';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { type LyingHub, type Misdeed, repoHub } from '../fixtures/lying-hub.ts';
import { startTestServer, type TestServer, type TestServerOptions } from '../fixtures/server.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

const REPO = 'owner/Toy-GGUF';
const NAME = `${REPO}:Q8_0`;
const file = Buffer.from(toyLlama({ name: 'pulled' }));

let root = '';
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'hadal-wire-pull-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const hubOf = (misdeeds: readonly Misdeed[] = []) =>
  repoHub(
    { repo: REPO, commit: 'c'.repeat(40), files: { 'Toy-Q8_0.gguf': file, 'Toy-Q4_0.gguf': file } },
    misdeeds,
  );

/** A server with a disk of its own that fetches from `hub`. */
async function serverOf(
  hub: LyingHub,
  more: TestServerOptions = {},
): Promise<{ server: TestServer; home: string }> {
  const home = await mkdtemp(join(root, 'home-'));
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: home,
    HF_HOME: join(home, 'hf'),
    HADAL_HOME: join(home, 'hadal'),
    HF_ENDPOINT: hub.url,
    HADAL_BACKEND: 'reference',
  };
  const local = { env, leaseName: `hadal-test-${process.pid}`, onAnnounce() {}, onWarning() {} };
  return { home, server: await startTestServer({ local, ...more }) };
}

async function statuses(stream: AsyncIterable<ProgressResponse>): Promise<ProgressResponse[]> {
  const list: ProgressResponse[] = [];
  for await (const step of stream) list.push(step);
  return list;
}

test('a model is pulled with its steps, answers, is listed, and deleted again', async () => {
  await using hub = await hubOf();
  const { server, home } = await serverOf(hub);
  await using _ = server;
  const client = new Ollama({ host: server.url });
  const steps = await statuses(await client.pull({ model: `hf.co/${NAME}`, stream: true }));
  expect(steps[0]).toEqual({ status: 'pulling manifest' });
  const layers = steps.filter(({ digest }) => digest !== undefined);
  expect(layers.length).toBeGreaterThan(0);
  expect(layers.at(-1)).toEqual({
    status: expect.stringMatching(/^pulling [0-9a-f]{12}$/),
    digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
    total: file.length,
    completed: file.length,
  });
  expect(steps.at(-1)).toEqual({ status: 'success' });
  for (const model of [NAME, `hf.co/${NAME}`]) {
    const { message } = await client.chat({
      model,
      messages: [{ role: 'user', content: 'hello' }],
      options: { num_predict: 4, temperature: 0 },
    });
    expect(message.content).toHaveLength(4);
  }
  expect((await client.list()).models.map(({ name }) => name)).toEqual(['toy', NAME]);
  const asked = hub.requests.length;
  // As Open WebUI asks for it.
  expect(await client.pull({ model: NAME, stream: false, insecure: true })).toEqual({ status: 'success' });
  expect(hub.requests).toHaveLength(asked);

  await expect.poll(() => server.models.status().at(-1)?.inUse).toBe(0);
  await client.delete({ model: NAME });
  expect((await client.list()).models.map(({ name }) => name)).toEqual(['toy']);
  expect(existsSync(join(home, 'hf', 'hub', 'models--owner--Toy-GGUF', 'blobs'))).toBe(false);
  await expect(client.delete({ model: NAME })).rejects.toMatchObject({ status_code: 404 });
  expect(server.lines.filter(({ msg }) => msg === 'deleted')).toMatchObject([{ freedBytes: file.length }]);
  expect(server.errors).toEqual([]);
});

test('what a caller may not have fetched or removed is refused in a sentence', async () => {
  await using hub = await hubOf();
  const { server } = await serverOf(hub);
  await using _ = server;
  const client = new Ollama({ host: server.url });
  const refused = async (model: string, sentence: RegExp) =>
    expect(client.pull({ model, stream: false })).rejects.toMatchObject({
      status_code: 400,
      error: expect.stringMatching(sentence),
    });
  for (const address of [
    `${hub.url}/x.gguf#sha256=${'a'.repeat(64)}`,
    'http://127.0.0.1:1/x',
    'pypi:llm',
    'npm:x',
  ])
    await refused(address, /got an address or a package/);
  for (const name of ['/etc/passwd', '../../etc/passwd', './toy.gguf', 'no-such-name'])
    await refused(name, /expected a known name, or USER\/REPO/);
  await refused(`${REPO}:Q3_K`, /there are Q4_0, Q8_0/);
  await refused('owner/none:Q8_0', /owner\/none/);
  // What goes wrong after the first line is told in the stream.
  await expect(statuses(await client.pull({ model: 'owner/none:Q8_0', stream: true }))).rejects.toThrow(
    /owner\/none/,
  );
  await expect(client.delete({ model: 'toy' })).rejects.toMatchObject({
    status_code: 409,
    error: expect.stringContaining('a file of whoever runs this server'),
  });
  expect((await client.list()).models.map(({ name }) => name)).toEqual(['toy']);
  expect(hub.requests.filter(({ path }) => !path.startsWith('/api/models/owner/none/'))).toEqual([]);
});

test('a file that is not what the hub said is not served, and not kept', async () => {
  const misdeeds: Misdeed[] = Array.from({ length: 8 }, () => ({ kind: 'other-bytes' }));
  await using hub = await hubOf(misdeeds);
  const { server } = await serverOf(hub);
  await using _ = server;
  const client = new Ollama({ host: server.url });
  await expect(statuses(await client.pull({ model: NAME, stream: true }))).rejects.toThrow();
  expect((await client.list()).models.map(({ name }) => name)).toEqual(['toy']);
  expect(server.lines.findLast(({ msg }) => msg === 'not pulled')).toMatchObject({ model: NAME });
});

test('a client that leaves ends its pull; the next one goes on', async () => {
  await using hub = await hubOf([{ kind: 'stall', afterBytes: 1000 }]);
  const { server } = await serverOf(hub);
  await using _ = server;
  const client = new Ollama({ host: server.url });
  const stream = await client.pull({ model: NAME, stream: true });
  await expect(
    (async () => {
      for await (const __ of stream) {
        await expect.poll(() => hub.requests.length, { timeout: 20_000 }).toBe(1);
        stream.abort();
      }
    })(),
  ).rejects.toThrow(/abort/i);
  await expect
    .poll(() => server.lines.findLast(({ msg }) => msg === 'not pulled'), { timeout: 20_000 })
    .toMatchObject({ error: expect.stringContaining('the client left') });
  expect(await client.pull({ model: NAME, stream: false })).toEqual({ status: 'success' });
});

test('a key for some models neither pulls nor deletes', async () => {
  const some = newKey({ name: 'some', models: ['toy'], limits: {} });
  const all = newKey({ name: 'all', models: ['*'], limits: {} });
  await using hub = await hubOf();
  const { server } = await serverOf(hub, { keys: keyRing([some.key, all.key]) });
  await using _ = server;
  const as = (secret: string) =>
    new Ollama({ host: server.url, headers: { authorization: `Bearer ${secret}` } });
  await expect(as(some.secret).pull({ model: NAME, stream: false })).rejects.toMatchObject({
    status_code: 403,
  });
  await expect(as(some.secret).delete({ model: 'toy' })).rejects.toMatchObject({ status_code: 403 });
  expect(hub.requests).toEqual([]);
  expect(await as(all.secret).pull({ model: NAME, stream: false })).toEqual({ status: 'success' });
  await expect(as(some.secret).delete({ model: NAME })).rejects.toMatchObject({ status_code: 403 });
  await as(all.secret).delete({ model: NAME });
});
