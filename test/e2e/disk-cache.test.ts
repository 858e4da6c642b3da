/** Owns: the cache on disk as an operator has it: off, on, found after a restart, erased with a key and by hand, a full disk. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { copyFile, mkdir, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openModel } from '../../src/runtime/open.node.ts';
import { hadal, type Running, scratchFolder, startHadal } from '../fixtures/command.ts';
import { haveProgram } from '../fixtures/needs.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'toy.gguf');
  await writeFile(toy, toyLlama({ contextTokens: 2048 }));
});
afterAll(() => folder[Symbol.asyncDispose]());

const PROMPT = 'All that is asked here begins alike. '.repeat(10);
const envOf = (home: string) => ({
  HADAL_HOME: join(folder.path, home),
  HADAL_LEASE: `hadal-e2e-${process.pid}-${home}`,
});

async function configured(home: string, config: object): Promise<string> {
  await mkdir(join(folder.path, home), { recursive: true });
  const path = join(folder.path, home, 'serve.json');
  await writeFile(
    path,
    JSON.stringify({ models: [{ source: toy, name: 'toy', pin: true }], port: 0, ...config }),
  );
  return path;
}

async function serve(home: string, config: object, under: readonly string[] = []) {
  const running = startHadal(['serve', '--config', await configured(home, config)], {
    env: envOf(home),
    under,
  });
  await running.shows('the page is at');
  return { running, url: /http:\S+/.exec(running.out())![0] };
}

async function stopped({ child, finished }: Running): Promise<{ code: number | null; err: string }> {
  child.kill('SIGTERM');
  return await finished;
}

/** Asks once; how much of the prompt was there already, and what was said. */
async function ask(url: string, apiKey = 'any') {
  const client = new OpenAI({ baseURL: url, apiKey, maxRetries: 0 });
  const { choices, usage } = await client.completions.create({
    model: 'toy',
    prompt: PROMPT,
    max_tokens: 12,
    seed: 3,
    temperature: 0.7,
  });
  return { text: choices[0]!.text, cached: usage!.prompt_tokens_details!.cached_tokens! };
}

/** What is in the folder of pages. */
function pages(home: string): string[] {
  const root = join(folder.path, home, 'pages');
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.page'))
    .map((entry) => join(entry.parentPath, entry.name));
}

test('off: nothing is written, and a restart forgets', async () => {
  for (let i = 0; i < 2; i++) {
    const { running, url } = await serve('off', {});
    expect((await ask(url)).cached).toBe(0);
    await stopped(running);
  }
  expect(pages('off')).toEqual([]);
});

test('on: found again after a restart with the same answer, and erased by hand', async () => {
  const config = { disk_cache_bytes: 1e9 };
  const first = await serve('on', config);
  const fresh = await ask(first.url);
  expect(fresh.cached).toBe(0);
  expect((await stopped(first.running)).code).toBe(0);
  expect(pages('on').length).toBeGreaterThan(5);
  for (const page of pages('on')) expect(statSync(page).mode & 0o777).toBe(0o600);

  const second = await serve('on', config);
  const found = await ask(second.url);
  expect(found.cached).toBeGreaterThan(100);
  expect(found.text).toBe(fresh.text);
  const metrics = await (await fetch(new URL('/metrics', second.url))).text();
  expect(Number(/hadal_disk_cache_pages\{[^}]*state="found"\} (\d+)/.exec(metrics)![1])).toBe(
    found.cached / 16,
  );
  await stopped(second.running);

  const listed = await hadal(['cache', 'list', '--json'], { env: envOf('on') });
  expect(JSON.parse(listed.out)).toMatchObject({ pages: pages('on').length, erased: false });
  const erased = await hadal(['cache', 'rm'], { env: envOf('on') });
  expect(erased.out).toMatch(/^erased \d+ pages, /);
  expect(pages('on')).toEqual([]);
  expect((await hadal(['cache', 'list'], { env: envOf('on') })).out).toContain('0 pages');
  expect((await hadal(['cache', 'empty'], { env: envOf('on') })).code).toBe(2);
  const third = await serve('on', config);
  expect(await ask(third.url)).toEqual({ ...fresh, cached: 0 });
  await stopped(third.running);
});

test('a changed model finds nothing', async () => {
  const config = { disk_cache_bytes: 1e9 };
  const first = await serve('changed', config);
  await ask(first.url);
  await stopped(first.running);
  await writeFile(toy, toyLlama({ contextTokens: 2048 }));
  const second = await serve('changed', config);
  expect((await ask(second.url)).cached).toBe(0);
  await stopped(second.running);
});

test('keys share nothing; what was kept goes with its key, also where the server still has it in memory', async () => {
  const env = envOf('keys');
  const add = async (name: string) => (await hadal(['keys', 'add', name], { env })).out.trim();
  const [ada, bob] = [await add('ada'), await add('bob')];
  const config = { disk_cache_bytes: 1e9 };
  const first = await serve('keys', config);
  await ask(first.url, ada);
  expect((await ask(first.url, bob)).cached).toBe(0);
  await stopped(first.running);
  const both = pages('keys').length;
  const second = await serve('keys', config);
  expect((await ask(second.url, ada)).cached).toBeGreaterThan(100);
  await hadal(['keys', 'rm', 'ada'], { env });
  expect(pages('keys')).toHaveLength(both / 2);
  await stopped(second.running);
  expect(pages('keys')).toHaveLength(both / 2);
  // A new key of that name is another.
  const again = await add('ada');
  const third = await serve('keys', config);
  expect((await ask(third.url, again)).cached).toBe(0);
  expect((await ask(third.url, bob)).cached).toBeGreaterThan(100);
  await stopped(third.running);
});

test('a key that goes while the folder is not there yet leaves nothing', async () => {
  const env = envOf('early');
  const ada = (await hadal(['keys', 'add', 'ada'], { env })).out.trim();
  // Another key stays, so that the server still asks for one.
  await hadal(['keys', 'add', 'bob'], { env });
  const { running, url } = await serve('early', { disk_cache_bytes: 1e9 });
  await ask(url, ada);
  expect(pages('early')).toEqual([]);
  await hadal(['keys', 'rm', 'ada'], { env });
  await stopped(running);
  expect(pages('early')).toEqual([]);
});

test('what is too old goes while a server runs, also where no model is loaded', async () => {
  const config = { disk_cache_bytes: 1e9 };
  const first = await serve('old', config);
  await ask(first.url);
  await stopped(first.running);
  expect(pages('old').length).toBeGreaterThan(5);
  const models = [{ source: toy, name: 'toy', pin: false }];
  const later = await serve('old', { ...config, models, disk_cache_hours: 3 / 3600 });
  await until(() => pages('old').length === 0);
  await stopped(later.running);
});

test('a model is told by the file that is open, whatever lies at its path meanwhile', async () => {
  const path = join(folder.path, 'swapped.gguf');
  await copyFile(toy, path);
  const swap = async () => {
    await copyFile(toy, `${path}.new`);
    await utimes(`${path}.new`, 1, 1);
    await rename(`${path}.new`, path);
  };
  const cached = async (admit: () => Promise<void>) => {
    await using model = await openModel(path, {
      env: { ...envOf('swapped'), HADAL_BACKEND: 'reference' },
      host: 'process',
      admit,
      diskCache: { folder: join(folder.path, 'swapped'), maxBytes: 1e9, ttlMs: 1e6, version: '1' },
    });
    const ends = [];
    for await (const delta of model.answerer.complete(PROMPT, { maxTokens: 1 }))
      if (delta.type === 'end') ends.push(delta.usage.cachedTokens);
    return ends[0];
  };
  expect(await cached(async () => {})).toBe(0);
  // What was admitted is what is computed with, and so whose pages are found.
  expect(await cached(swap)).toBeGreaterThan(100);
  expect(await cached(async () => {})).toBe(0);
});

test('turned off, what is there stays, and the log says so', async () => {
  const first = await serve('left', { disk_cache_bytes: 1e9 });
  await ask(first.url);
  await stopped(first.running);
  const before = pages('left');
  const second = await serve('left', {});
  expect((await ask(second.url)).cached).toBe(0);
  expect((await stopped(second.running)).err).toMatch(/"pages":\d+.*hadal cache rm/);
  expect(pages('left')).toEqual(before);
});

/** Waits until something is so. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 100));
}

test.skipIf(!haveProgram('prlimit'))(
  'where no file can grow, only the cache is lost [needs prlimit]',
  async () => {
    const config = { disk_cache_bytes: 1e9 };
    const { running, url } = await serve('full', config, ['prlimit', '--fsize=4096']);
    const { text } = await ask(url);
    expect(text).toHaveLength(12);
    const { code, err } = await stopped(running);
    expect(code).toBe(0);
    expect(err.match(/takes no more pages/g)).toHaveLength(1);
    expect(pages('full')).toEqual([]);
  },
);
