/** `hadal up` from nothing to an answer: a hub on loopback, a toy behind a known name, a browser that only notes its address. */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OFFERED } from '../../src/planner/plan.ts';
import { hadal, scratchFolder, startHadal } from '../fixtures/command.ts';
import { repoHub } from '../fixtures/lying-hub.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
beforeAll(async () => {
  folder = await scratchFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

const NAME = 'r1-distill-qwen-1.5b';
/** Which of them is chosen is a matter of the machine. */
const fileOf = (quantization: string) => `DeepSeek-R1-Distill-Qwen-1.5B-${quantization}.gguf`;
const COMMIT = 'e'.repeat(40);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('five steps, each with the command that repeats it, then a page and an answer, then the end', async () => {
  const data = Buffer.from(toyLlama({ contextTokens: 131_072 }));
  const files = Object.fromEntries(OFFERED.map((quantization) => [fileOf(quantization), data]));
  const repo = 'unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF';
  await using hub = await repoHub({ repo, commit: COMMIT, files });
  const opened = join(folder.path, 'opened');
  const browser = join(folder.path, 'browser');
  await writeFile(browser, `#!/bin/sh\necho "$1" > ${opened}\n`);
  await chmod(browser, 0o755);
  const env = {
    HADAL_HOME: join(folder.path, 'home'),
    HF_HOME: join(folder.path, 'hf'),
    HF_ENDPOINT: hub.url,
    HADAL_LEASE: `hadal-up-${process.pid}`,
    BROWSER: browser,
  };
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const running = startHadal(['up', NAME, '--port', String(port)], { env });
  await running.shows('the page is at');

  const quantization = /hadal plan \S+:(\S+)/.exec(running.out())?.[1] ?? '';
  const path = join(
    env.HF_HOME,
    'hub',
    `models--${repo.replace('/', '--')}`,
    'snapshots',
    COMMIT,
    fileOf(quantization),
  );
  const steps = [...running.out().matchAll(/^(\w+) +(.+)\n +again by hand: (.+)$/gm)].map(
    ([, ...step]) => step,
  );
  const model = `${NAME}:${quantization}`;
  expect(steps.map(([step, , again]) => [step, again])).toEqual([
    ['assess', 'hadal plan'],
    ['choose', `hadal plan ${model}`],
    ['fetch', `hadal pull ${model}`],
    ['configure', `hadal serve ${model} --context 32768`],
    ['serve', `hadal serve ${model} --context 32768 --port ${port}`],
  ]);
  expect(steps[2]?.[1]).toBe(path);
  expect(hub.requests).toHaveLength(1);
  await expect.poll(() => readFile(opened, 'utf8').catch(() => '')).toBe(`${url}\n`);
  const page = await fetch(url);
  expect([page.status, page.headers.get('content-type')]).toEqual([
    200,
    expect.stringContaining('text/html'),
  ]);

  // The port is taken now: nothing is fetched for a second one.
  const second = await hadal(['up', 'r1-distill-qwen-7b', '--port', String(port)], { env });
  expect(second).toMatchObject({ code: 1, err: expect.stringContaining('expected a free port') });
  expect(second.out).not.toMatch(/^fetch /m);
  expect(hub.requests).toHaveLength(1);

  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any', maxRetries: 0 });
  const [served] = (await client.models.list()).data;
  const answer = await client.chat.completions.create({
    model: served!.id,
    messages: [{ role: 'user', content: 'hello' }],
    max_tokens: 3,
    temperature: 0,
  });
  expect(answer.usage?.completion_tokens).toBe(3);
  expect(answer.choices[0]?.message.content).toMatch(/^[ -~]+$/);

  running.child.kill('SIGTERM');
  expect(await running.finished).toMatchObject({ code: 0 });

  // What nobody is known to publish quantized is taken as published.
  const plain = await hadal(['up', 'deepseek-coder-1.3b-base', '--json'], { env });
  expect(JSON.parse(plain.out)).toMatchObject({ model: 'deepseek-coder-1.3b-base:native' });

  // The commands of the first steps do what they say; the third finds everything there.
  expect(await hadal(['plan', model], { env })).toMatchObject({
    code: 0,
    out: expect.stringContaining(quantization),
  });
  expect(await hadal(['pull', model], { env })).toMatchObject({ code: 0, out: `${path}\n` });
  expect(hub.requests).toHaveLength(1);
});
