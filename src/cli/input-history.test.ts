import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openHistory } from './input-history.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-history-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('lines are kept newest last, for their owner alone, and come back newest first', async () => {
  const env = { XDG_STATE_HOME: join(folder, 'state') };
  expect(openHistory(env).lines).toEqual([]);
  openHistory(env).save(['newest', 'older']);
  const path = join(folder, 'state', 'hadal', 'history');
  expect(await readFile(path, 'utf8')).toBe('older\nnewest\n');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(openHistory(env).lines).toEqual(['newest', 'older']);
});

test('a history that anybody could read is closed when it is written', async () => {
  const path = join(folder, 'state', 'hadal', 'history');
  await chmod(path, 0o644);
  openHistory({ XDG_STATE_HOME: join(folder, 'state') }).save(['secret']);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('at most a thousand lines', () => {
  const env = { XDG_STATE_HOME: join(folder, 'long') };
  openHistory(env).save(Array.from({ length: 1500 }, (_, i) => `line ${i}`));
  const { lines } = openHistory(env);
  expect(lines).toHaveLength(1000);
  expect(lines[0]).toBe('line 0');
});

test('a folder that cannot be written is no failure', async () => {
  await writeFile(join(folder, 'file'), '');
  const env = { XDG_STATE_HOME: join(folder, 'file') };
  openHistory(env).save(['x']);
  expect(openHistory(env).lines).toEqual([]);
});
