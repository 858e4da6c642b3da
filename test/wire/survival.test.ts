/** Owns: what breaks around a server loses only what it touches: clients that go or stall, engines that are killed. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openRaw } from '../fixtures/raw-http.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

let server: TestServer;
let client: OpenAI;
beforeEach(async () => {
  server = await startTestServer({ toys: [{ name: 'toy', contextTokens: 4096, layers: 4 }] });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
});
afterEach(() => server[Symbol.asyncDispose]());

const ask = (content: string, maxTokens: number) => ({
  model: 'toy',
  messages: [{ role: 'user' as const, content }],
  max_tokens: maxTokens,
  temperature: 0,
});

const statsOf = () => server.models.peek('toy')!.engine.stats();

/** Waits for something to become true; the limit is far above what is expected. */
async function until(what: () => boolean | Promise<boolean>, most = 400): Promise<void> {
  for (let tries = 0; !(await what()); tries++) {
    if (tries > most) throw new Error('it did not come');
    await sleep(5);
  }
}

const idle = async () => {
  const { runningRequests, waitingRequests } = await statsOf();
  return runningRequests + waitingRequests === 0;
};

/** Opens a stream by hand and waits until it shows the text. */
async function rawStream(body: object, shows: string) {
  const request = {
    method: 'POST',
    target: '/v1/chat/completions',
    body: JSON.stringify({ ...body, stream: true }),
  };
  const socket = openRaw(server.url, request);
  let text = '';
  while (!text.includes(shows)) text += String((await once(socket, 'data'))[0]);
  return socket;
}

test('a client that goes while its answer is made leaves the engine idle', async () => {
  const socket = await rawStream(ask('hello', 4000), '"content"');
  socket.destroy();
  await until(idle);
  expect((await statsOf()).decodeRows).toBeLessThan(2000);
  await until(() => server.lines.some(({ msg, error }) => msg === 'not answered' && error === 'client-left'));
});

test('a client that goes in the middle of its prompt leaves the engine idle', async () => {
  const socket = await rawStream(ask('x'.repeat(3500), 10), 'prefill');
  socket.destroy();
  await until(idle);
  expect((await statsOf()).prefillRows).toBeLessThan(3000);
  const next = await client.chat.completions.create(ask('hello', 3));
  expect(next.usage?.completion_tokens).toBe(3);
});

test('a client that goes without a stream is noticed as well', async () => {
  const controller = new AbortController();
  const answer = client.chat.completions.create(ask('hello', 4000), { signal: controller.signal });
  await until(async () => server.models.peek('toy') !== undefined && !(await idle()));
  controller.abort();
  await expect(answer).rejects.toThrow(/aborted/i);
  await until(idle);
  expect((await statsOf()).decodeRows).toBeLessThan(3000);
});

test('a reader that stalls holds up nobody else', async () => {
  const socket = await rawStream(ask('hello', 3000), '"content"');
  socket.pause();
  const answers = await Promise.all([1, 2, 3].map((n) => client.chat.completions.create(ask(`${n}`, 4))));
  expect(answers.map(({ usage }) => usage?.completion_tokens)).toEqual([4, 4, 4]);
  socket.destroy();
  await until(idle);
});

test('a reader that stalls for too long is let go, and keeps its place until then', async () => {
  const patience = { headersMs: 60_000, requestMs: 60_000, stalledMs: 500 };
  await using other = await startTestServer({
    toys: [{ name: 'toy', contextTokens: 65_536, layers: 1 }],
    maxOpen: 1,
    patience,
  });
  // Megabytes go into the buffers of the system before anything stalls.
  const body = { ...ask('hello', 60_000), n: 8, logprobs: true, top_logprobs: 20, stream: true };
  const socket = openRaw(other.url, {
    method: 'POST',
    target: '/v1/chat/completions',
    body: JSON.stringify(body),
  });
  await once(socket, 'data');
  socket.pause();
  const there = new OpenAI({ baseURL: `${other.url}/v1`, apiKey: 'any', maxRetries: 0 });
  await expect(there.chat.completions.create(ask('hello', 1))).rejects.toMatchObject({ status: 429 });
  await until(() => other.lines.some(({ error }) => error === 'client-left'), 40_000);
  const next = await there.chat.completions.create(ask('hello', 3));
  expect(next.usage?.completion_tokens).toBe(3);
  socket.destroy();
});

test('who is silent only because it waits for us is not let go', async () => {
  const patience = { headersMs: 60_000, requestMs: 60_000, stalledMs: 5 };
  await using other = await startTestServer({
    toys: [{ name: 'toy', contextTokens: 4096, layers: 4 }],
    patience,
  });
  const there = new OpenAI({ baseURL: `${other.url}/v1`, apiKey: 'any', maxRetries: 0 });
  const answer = await there.chat.completions.create(ask('hello', 300));
  expect(answer.usage?.completion_tokens).toBe(300);
});

test('headers and bodies that never end are not waited for', async () => {
  const patience = { headersMs: 300, requestMs: 600, stalledMs: 60_000 };
  await using other = await startTestServer({ patience });
  const host = `host: ${new URL(other.url).host}`;
  const slow = [
    '',
    'POST /v1/completions HTTP/1.1\r\n',
    `POST /v1/completions HTTP/1.1\r\n${host}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`,
  ];
  const heard = await Promise.all(
    slow.map(async (text) => {
      const socket = connect(Number(new URL(other.url).port), '127.0.0.1');
      let answer = '';
      socket.write(text);
      socket.on('data', (part) => {
        answer += part;
      });
      await once(socket, 'close');
      return answer;
    }),
  );
  for (const answer of heard) expect(answer).toMatch(/^HTTP\/1.1 408 .*"request-too-slow"/s);
  expect((await fetch(`${other.url}/healthz`)).status).toBe(200);
});

test('a client that goes before its request is whole is no fault of the server', async () => {
  const host = `host: ${new URL(server.url).host}`;
  const head = `POST /v1/completions HTTP/1.1\r\n${host}\r\ncontent-type: application/json`;
  for (const part of ['content-length: 100\r\n\r\n{', 'transfer-encoding: chunked\r\n\r\n2\r\n{"\r\n']) {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
    socket.write(`${head}\r\n${part}`);
    await sleep(50);
    socket.destroy();
  }
  await until(() => server.lines.filter(({ status }) => status === 499).length === 2);
  expect(server.errors).toEqual([]);
});

test('a killed engine loses its requests, is started again, and says so', async () => {
  const stream = await client.chat.completions.create({ ...ask('hello', 4000), stream: true });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();
  const { pid } = server.models.peek('toy')!.engine;
  process.kill(pid!, 'SIGKILL');
  const rest = async () => {
    while (!(await chunks.next()).done);
  };
  await expect(rest()).rejects.toMatchObject({
    code: 'engine-died',
    message: expect.stringContaining('ask again'),
  });
  const next = await client.chat.completions.create(ask('hello', 3));
  expect(next.usage?.completion_tokens).toBe(3);
  expect(server.models.peek('toy')!.engine.pid).not.toBe(pid);
  expect(server.events).toEqual(['loading toy', 'loaded toy', 'died toy', 'loading toy', 'loaded toy']);
  expect(server.errors.map(({ msg }) => msg)).toEqual(['engine died; its requests are lost']);
});

test('a request that comes while the engine lies dead is answered all the same', async () => {
  await client.chat.completions.create(ask('hello', 1));
  process.kill(server.models.peek('toy')!.engine.pid!, 'SIGKILL');
  const patient = client.withOptions({ maxRetries: 3 });
  expect((await patient.chat.completions.create(ask('hello', 3))).usage?.completion_tokens).toBe(3);
});

test('closing finishes what runs and takes nothing new', async () => {
  await using other = await startTestServer({ toys: [{ name: 'toy', contextTokens: 4096 }] });
  const there = new OpenAI({ baseURL: `${other.url}/v1`, apiKey: 'any', maxRetries: 0 });
  const stream = await there.chat.completions.create({ ...ask('hello', 200), stream: true });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();
  const closed = other.close(20_000);
  await expect(there.models.list()).rejects.toThrow(/connection/i);
  let finish: string | null | undefined;
  for (let step = await chunks.next(); !step.done; step = await chunks.next()) {
    finish = step.value.choices[0]?.finish_reason ?? finish;
  }
  expect(finish).toBe('length');
  await closed;
});

test('closing without patience ends answers with a reason', async () => {
  await using other = await startTestServer({ toys: [{ name: 'toy', contextTokens: 4096 }] });
  const there = new OpenAI({ baseURL: `${other.url}/v1`, apiKey: 'any', maxRetries: 0 });
  const stream = await there.chat.completions.create({ ...ask('hello', 4000), stream: true });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();
  const closed = other.close(0);
  let finish: string | null | undefined;
  for (let step = await chunks.next(); !step.done; step = await chunks.next()) {
    finish = step.value.choices[0]?.finish_reason ?? finish;
  }
  expect(finish).toBe('insufficient_system_resource');
  await closed;
});
