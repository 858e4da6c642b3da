import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { removeModel, storedModel, storedModels } from './inventory.node.ts';
import type { FetchProgress } from './progress.ts';
import { type PullOptions, pull } from './pull.node.ts';

const root = mkdtempSync(join(tmpdir(), 'hadal-folder-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let homes = 0;
const homeOf = () => ({ HADAL_HOME: join(root, `home-${homes++}`), HF_HOME: join(root, 'hf') });
const bytes = (length: number, seed: number) =>
  Buffer.from(Array.from({ length }, (_, i) => (i * seed) & 0xff));

function source(name: string, files: Record<string, Buffer | string>): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  for (const [path, content] of Object.entries(files)) writeFileSync(join(folder, path), content);
  return folder;
}
const from = (path: string, env: Record<string, string>, more: Partial<PullOptions> = {}) =>
  pull({ kind: 'folder', path }, { env, ...more });

test('a folder of safetensors comes whole, without its code, is listed, and goes', async () => {
  const files = { 'config.json': '{}', 'tokenizer.json': '{}', 'model.safetensors': bytes(90_000, 3) };
  const folder = source('V2-Lite', { ...files, 'modeling.py': 'raise' });
  const env = homeOf();
  const progress: FetchProgress[] = [];
  const titles: string[] = [];
  const pulled = await from(folder, env, {
    onAnnounce: ({ title }) => titles.push(title),
    onProgress: (step) => progress.push(step),
  });
  const path = join(env.HADAL_HOME, 'models', 'folders', 'V2-Lite');
  expect(pulled).toEqual({ path, bytes: 90_004, fetchedBytes: 90_004 });
  expect(readdirSync(path).sort()).toEqual(Object.keys(files).sort());
  expect(readFileSync(join(path, 'model.safetensors'))).toEqual(files['model.safetensors']);
  expect(titles).toEqual(['V2-Lite (3 files)']);
  expect(progress.at(-1)).toEqual({ stage: 'fetch', doneBytes: 90_004, totalBytes: 90_004 });
  expect(await from(folder, env)).toEqual({ path, bytes: 90_004, fetchedBytes: 0 });
  expect((await storedModels(env)).map(({ name }) => name)).toEqual([path]);
  expect(await removeModel(await storedModel(path, env), env)).toBe(90_004);
  expect(existsSync(path)).toBe(false);
});

test('of several quantizations one is named; a file brings its shards', async () => {
  const shards = ['M-Q4_K_M-00001-of-00002.gguf', 'M-Q4_K_M-00002-of-00002.gguf'];
  const folder = source('several', {
    [shards[0]!]: bytes(5_000, 5),
    [shards[1]!]: bytes(6_000, 7),
    'M-Q8_0.gguf': bytes(9_000, 9),
    'N-Q6_K.gguf': bytes(10, 1),
  });
  const env = homeOf();
  const there = join(env.HADAL_HOME, 'models', 'folders', 'several');
  expect((await from(`${folder}:q8_0`, env)).path).toBe(join(there, 'M-Q8_0.gguf'));
  expect(await from(join(folder, shards[1]!), env)).toMatchObject({
    path: join(there, shards[0]!),
    bytes: 11_000,
  });
  expect((await storedModels(env)).map(({ path }) => path)).toEqual([
    join(there, shards[0]!),
    join(there, 'M-Q8_0.gguf'),
  ]);
  await expect(from(`${folder}:Q2_K`, env)).rejects.toMatchObject({ code: 'file-missing' });
});

test('what a list of digests says is what must arrive', async () => {
  const right = bytes(40_000, 11);
  const folder = source('listed', { 'M-Q8_0.gguf': right });
  const sums = execFileSync('sha256sum', ['M-Q8_0.gguf'], { cwd: folder, encoding: 'utf8' });
  writeFileSync(join(folder, 'SHA256SUMS'), sums);
  const env = homeOf();
  expect((await from(folder, env)).fetchedBytes).toBe(40_000);
  writeFileSync(join(folder, 'M-Q8_0.gguf'), bytes(40_000, 13));
  const other = homeOf();
  await expect(from(folder, other)).rejects.toMatchObject({ code: 'digest-mismatch' });
  expect(await storedModels(other)).toEqual([]);
});

test('another model of the same name is not overwritten; a path to nothing is said', async () => {
  const env = homeOf();
  const { path } = await from(source('a/same', { 'M-Q8_0.gguf': bytes(100, 3) }), env);
  const before = createHash('sha256').update(readFileSync(path)).digest('hex');
  const other = source('b/same', { 'M-Q8_0.gguf': bytes(100, 5) });
  await expect(from(other, env)).rejects.toMatchObject({
    code: 'name-taken',
    message: expect.stringContaining(`hadal rm ${path}`),
  });
  expect(createHash('sha256').update(readFileSync(path)).digest('hex')).toBe(before);
  await expect(from(join(root, 'nowhere'), env)).rejects.toMatchObject({ code: 'folder-missing' });
});

test('a copy that was broken off goes on, and what is damaged meanwhile is found', async () => {
  const content = bytes(9_000_000, 17);
  const folder = source('broken', { 'M-Q8_0.gguf': content });
  const env = homeOf();
  const stop = new AbortController();
  const broken = from(folder, env, {
    signal: stop.signal,
    onProgress: ({ stage }) => stage === 'fetch' && stop.abort(new Error('enough')),
  });
  await expect(broken).rejects.toThrow('enough');
  const half = join(env.HADAL_HOME, 'models', 'folders', 'broken', 'M-Q8_0.gguf.incomplete');
  const held = readFileSync(half);
  expect(held.length).toBeLessThan(content.length);
  held[5] = held[5]! ^ 1;
  writeFileSync(half, held);
  await expect(from(folder, env)).rejects.toMatchObject({ code: 'digest-mismatch' });
  const { path } = await from(folder, env);
  expect(readFileSync(path).equals(content)).toBe(true);
});

test('two at once from folders of one name: the second finds the name taken, and nothing is mixed', async () => {
  const env = homeOf();
  const contents = [bytes(3_000_000, 3), bytes(3_000_000, 5)];
  const folders = contents.map((content, i) => source(`at-once-${i}/twin`, { 'M-Q8_0.gguf': content }));
  const outcomes = await Promise.allSettled(folders.map((folder) => from(folder, env)));
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  const won = outcomes.findIndex(({ status }) => status === 'fulfilled');
  expect(outcomes[1 - won]).toMatchObject({ reason: { code: 'name-taken' } });
  const path = join(env.HADAL_HOME, 'models', 'folders', 'twin', 'M-Q8_0.gguf');
  expect(readFileSync(path).equals(contents[won]!)).toBe(true);
});

test('two at once from the same folder both get it', async () => {
  const folder = source('shared', { 'M-Q8_0.gguf': bytes(3_000_000, 7) });
  const env = homeOf();
  const pulls = await Promise.all([from(folder, env), from(folder, env)]);
  expect(pulls.map(({ fetchedBytes }) => fetchedBytes).sort()).toEqual([0, 3_000_000]);
});

test('what may not be read of the source is not blamed on the store', async () => {
  const folder = source('closed', { 'M-Q8_0.gguf': bytes(100, 3) });
  const env = homeOf();
  mkdirSync(env.HADAL_HOME, { mode: 0o777 });
  chmodSync(env.HADAL_HOME, 0o777);
  chmodSync(root, 0o755);
  chmodSync(join(folder, 'M-Q8_0.gguf'), 0o000);
  const isRoot = process.geteuid?.() === 0;
  // Root may read everything.
  if (isRoot) process.seteuid?.(65_534);
  try {
    const refused = { code: 'source-unreadable', message: expect.stringContaining('EACCES; ') };
    await expect(from(folder, env)).rejects.toMatchObject(refused);
    await expect(from(join(folder, 'M-Q8_0.gguf'), env)).rejects.toMatchObject(refused);
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test('a source that becomes shorter meanwhile is said with what to do', async () => {
  const folder = source('shrinking', { 'M-Q8_0.gguf': bytes(9_000_000, 3) });
  const path = join(folder, 'M-Q8_0.gguf');
  writeFileSync(
    join(folder, 'SHA256SUMS'),
    execFileSync('sha256sum', ['M-Q8_0.gguf'], { cwd: folder, encoding: 'utf8' }),
  );
  const shrunk = from(folder, homeOf(), { onAnnounce: () => truncateSync(path, 5_000_000) });
  await expect(shrunk).rejects.toMatchObject({
    code: 'source-changed',
    message: expect.stringMatching(
      /expected 9000000 bytes to its end, got 5000000; .*run the same command again/,
    ),
  });
});

test('what a list of digests leaves out is refused; a digest of its own speaks of its file alone', async () => {
  const listed = source('left-out', {
    'M-00001-of-00002.gguf': bytes(500, 3),
    'M-00002-of-00002.gguf': bytes(500, 5),
  });
  const sums = execFileSync('sha256sum', ['M-00001-of-00002.gguf'], { cwd: listed, encoding: 'utf8' });
  writeFileSync(join(listed, 'SHA256SUMS'), sums);
  await expect(from(listed, homeOf())).rejects.toMatchObject({
    code: 'digest-missing',
    message: expect.stringContaining('sha256sum M-00002-of-00002.gguf >> SHA256SUMS'),
  });
  const single = source('single', { 'M-Q8_0.gguf': bytes(500, 3), 'N-Q6_K.gguf': bytes(500, 5) });
  const digest = createHash('sha256').update(bytes(500, 3)).digest('hex');
  writeFileSync(join(single, 'M-Q8_0.gguf.sha256'), `${digest}\n`);
  const env = homeOf();
  expect((await from(`${single}:Q8_0`, env)).fetchedBytes).toBe(500);
  expect((await from(`${single}:Q6_K`, env)).fetchedBytes).toBe(500);
});

test('a list beside a file in a folder of the folder is heard, in either notation; one that says nothing of it is refused', async () => {
  const folder = source('nested', {});
  const [right, wrong] = [bytes(500, 3), bytes(500, 5)];
  const digest = createHash('sha256').update(right).digest('hex');
  source('nested/Q8_0', { 'M-Q8_0.gguf': right, SHA256SUMS: `SHA256 (M-Q8_0.gguf) = ${digest}\n` });
  source('nested/Q6_K', { 'M-Q6_K.gguf': wrong, 'M-Q6_K.gguf.sha256': `${digest}  M-Q6_K.gguf\n` });
  source('nested/Q4_K_M', { 'M-Q4_K_M.gguf': right, 'M-Q4_K_M.gguf.sha256': `${digest}  /build/M.gguf\n` });
  source('nested/Q2_K', { 'M-Q2_K.gguf': right });
  const env = homeOf();
  expect((await from(`${folder}:Q8_0`, env)).fetchedBytes).toBe(500);
  expect((await from(`${folder}:Q2_K`, env)).fetchedBytes).toBe(500);
  await expect(from(`${folder}:Q6_K`, env)).rejects.toMatchObject({ code: 'digest-mismatch' });
  const command = `cd ${join(folder, 'Q4_K_M')} && sha256sum M-Q4_K_M.gguf >> M-Q4_K_M.gguf.sha256`;
  await expect(from(`${folder}:Q4_K_M`, env)).rejects.toMatchObject({
    code: 'digest-missing',
    message: expect.stringContaining(command),
  });
  writeFileSync(join(folder, 'Q8_0', 'M-Q8_0.gguf'), wrong);
  await expect(from(`${folder}:Q8_0`, homeOf())).rejects.toMatchObject({ code: 'digest-mismatch' });
});

test('lists of digests that contradict each other are refused', async () => {
  const folder = source('contradicting', { 'M-Q8_0.gguf': bytes(500, 3) });
  const digest = createHash('sha256').update(bytes(500, 3)).digest('hex');
  writeFileSync(join(folder, 'SHA256SUMS'), `${digest}  M-Q8_0.gguf\n`);
  writeFileSync(join(folder, 'M-Q8_0.gguf.sha256'), `${'0'.repeat(64)}\n`);
  await expect(from(folder, homeOf())).rejects.toMatchObject({
    code: 'digest-conflict',
    message: expect.stringMatching(/M-Q8_0.gguf.sha256.*SHA256SUMS|SHA256SUMS.*M-Q8_0.gguf.sha256/),
  });
});

test('an abort is heard while the source is read for its digest', async () => {
  const folder = source('long', { 'M-Q8_0.gguf': bytes(6_000_000, 3) });
  const stop = new AbortController();
  const steps: number[] = [];
  const stopped = from(folder, homeOf(), {
    signal: stop.signal,
    onProgress: ({ doneBytes }) => {
      steps.push(doneBytes);
      stop.abort(new Error('enough'));
    },
  });
  await expect(stopped).rejects.toThrow('enough');
  expect(steps).toEqual([1 << 20]);
});

test('a link out of the folder is not followed, one inside it or into the cache of a hub is', async () => {
  const secret = join(root, 'secret.json');
  writeFileSync(secret, '{"key":1}');
  const folder = source('linked', { 'config.json': '{}', 'one.bin': bytes(900, 3) });
  symlinkSync('one.bin', join(folder, 'model.safetensors'));
  expect((await from(folder, homeOf())).fetchedBytes).toBe(902);
  symlinkSync(secret, join(folder, 'tokenizer.json'));
  await expect(from(folder, homeOf())).rejects.toMatchObject({
    code: 'link-outside',
    message: expect.stringContaining(`hadal pull ${secret}`),
  });
  const cached = source('hub/models--o--M/snapshots/c0ffee', {});
  source('hub/models--o--M/blobs', { abc: bytes(700, 3) });
  symlinkSync('../../blobs/abc', join(cached, 'M-Q8_0.gguf'));
  expect((await from(cached, homeOf())).fetchedBytes).toBe(700);
});
