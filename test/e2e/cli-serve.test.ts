/** The built server as an operator runs it: keys, configuration, a full disk under its log, signals while it answers. */
import { statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hadal, type Running, scratchFolder, startHadal } from '../fixtures/command.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'toy.gguf');
  await writeFile(toy, toyLlama({ contextTokens: 2048 }));
});
afterAll(() => folder[Symbol.asyncDispose]());

/** Starts it on a free port with a home of its own; with where it listens. */
async function serve(home: string, args: readonly string[], under: readonly string[] = []) {
  const env = { HADAL_HOME: join(folder.path, home), HADAL_LEASE: `hadal-e2e-${process.pid}-${home}` };
  const running = startHadal(['serve', ...args, '--port', '0'], { env, under });
  await running.shows('the page is at');
  return { running, env, url: /http:\S+/.exec(running.out())![0] };
}

const clientOf = (baseURL: string, apiKey = 'any') => new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = (tokens: number) => ({ model: 'toy', prompt: 'hello', max_tokens: tokens, temperature: 0 });

/** Asks it to end; its exit code. */
async function stopped({ child, finished }: Running): Promise<number | null> {
  child.kill('SIGTERM');
  return (await finished).code;
}

test('keys: made, listed, refused when they are not theirs, taken away while the server runs', async () => {
  const { running, env, url } = await serve('keys', [toy]);
  expect((await clientOf(url).completions.create(ask(1))).usage?.completion_tokens).toBe(1);

  const added = await hadal(['keys', 'add', 'ada'], { env });
  const secret = added.out.trim();
  expect(secret).toMatch(/^hdl_[\w-]{43}$/);
  expect(statSync(join(env.HADAL_HOME, 'keys.json')).mode & 0o777).toBe(0o600);
  const more = ['--models', 'other*', '--concurrent', '2', '--per-minute', '60', '--json'];
  const { key } = JSON.parse((await hadal(['keys', 'add', 'ci', ...more], { env })).out) as { key: string };
  const listed = await hadal(['keys', 'list'], { env });
  expect(listed.out).toMatch(/ada +\* +none/);
  expect(listed.out).toMatch(/ci +other\* +2 at once, 60 a minute/);
  expect(listed.out).not.toContain(secret.slice(4));
  const twice = await hadal(['keys', 'add', 'ada'], { env });
  expect([twice.code, twice.err]).toEqual([2, expect.stringContaining('hadal keys rm ada')]);

  // The server looks at the file once a second.
  await expect
    .poll(
      () =>
        clientOf(url, 'wrong')
          .models.list()
          .then(
            () => 200,
            ({ status }) => status,
          ),
      { timeout: 120_000 },
    )
    .toBe(401);
  expect((await clientOf(url, secret).completions.create(ask(1))).usage?.completion_tokens).toBe(1);
  await expect(clientOf(url, key).completions.create(ask(1))).rejects.toMatchObject({ status: 403 });
  expect((await clientOf(url, key).models.list()).data).toEqual([]);

  expect((await hadal(['keys', 'rm', 'ada'], { env })).code).toBe(0);
  await expect
    .poll(
      () =>
        clientOf(url, secret)
          .models.list()
          .then(
            () => 200,
            ({ status }) => status,
          ),
      { timeout: 120_000 },
    )
    .toBe(401);
  expect(await stopped(running)).toBe(0);
});

test('a configuration: models on demand by another name, its schema on request', async () => {
  const path = join(folder.path, 'serve.json');
  const models = [{ source: toy, name: 'deepseek-chat', aliases: ['toy'] }];
  await writeFile(path, JSON.stringify({ models, context_tokens: 128, keep_alive_seconds: 0 }));
  const { running, url } = await serve('config', ['--config', path]);
  const client = clientOf(url);
  expect((await client.models.retrieve('toy')).id).toBe('deepseek-chat');
  expect((await client.completions.create(ask(500))).usage?.total_tokens).toBe(128);
  const { out } = await hadal(['serve', '--schema']);
  expect(JSON.parse(out)).toMatchObject({ type: 'object', additionalProperties: false });
  expect(await stopped(running)).toBe(0);
  await writeFile(path, '{"prot": 1}');
  const refused = await hadal(['serve', '--config', path]);
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('prot')]);
});

test('what cannot be served is said at once, with why', async () => {
  for (const [args, words] of [
    [[join(folder.path, 'none.gguf')], 'none.gguf: expected a model file, got nothing there; check the path'],
    [['smolm2'], 'smolm2: expected a model file or a known name, got neither; did you mean smollm2?'],
    [
      ['--config', join(folder.path, 'none.json')],
      'none.json: expected a configuration file, got nothing there',
    ],
  ] as const) {
    const { code, err } = await hadal(['serve', ...args, '--port', '0']);
    expect(code).toBe(1);
    expect(err.trim().split('\n').at(-1)).toContain(words);
  }
});

test('beyond this machine only with keys', async () => {
  const env = { HADAL_HOME: join(folder.path, 'open') };
  const refused = await hadal(['serve', toy, '--host', '0.0.0.0', '--port', '0'], { env });
  expect(refused.code).not.toBe(0);
  expect(refused.err).toContain('hadal keys add NAME');
});

test('a full disk under the log costs log lines and nothing else', async () => {
  const full = ['sh', '-c', 'exec "$@" 2>/dev/full', 'sh'];
  const { running, url } = await serve('full', [toy], full);
  for (let i = 0; i < 3; i++)
    expect((await clientOf(url).completions.create(ask(3))).usage?.completion_tokens).toBe(3);
  await expect(clientOf(url).completions.create({ ...ask(1), model: 'x' })).rejects.toMatchObject({
    status: 404,
  });
  expect(await stopped(running)).toBe(0);
});

test('a signal lets what runs come to its end; a second one does not wait', async () => {
  // A terminal sends Ctrl-C to every process of the group, the engine's too.
  const { running, url } = await serve('signals', [toy], ['setsid']);
  const stream = await clientOf(url).completions.create({ ...ask(300), stream: true });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();
  process.kill(-running.child.pid!, 'SIGINT');
  let finish: string | null | undefined;
  for (let step = await chunks.next(); !step.done; step = await chunks.next())
    finish = step.value.choices[0]?.finish_reason ?? finish;
  expect(finish).toBe('length');
  expect((await running.finished).code).toBe(0);

  const other = await serve('signals', [toy]);
  const lost = await clientOf(other.url).completions.create({ ...ask(2000), stream: true });
  await lost[Symbol.asyncIterator]().next();
  other.running.child.kill('SIGTERM');
  await expect
    .poll(
      () =>
        fetch(other.url).then(
          () => 'open',
          () => 'closed',
        ),
      { timeout: 120_000 },
    )
    .toBe('closed');
  other.running.child.kill('SIGTERM');
  expect((await other.running.finished).code).toBe(143);
});
