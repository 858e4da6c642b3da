/** Owns: tests of who may make a file: the living wait or are told, the dead do not count. Refuses to know: files made. */
import { existsSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { alone } from './lock.node.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-lock-'));
  path = join(folder, 'f');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const refuse = () => {
  throw new Error('held');
};

/** A lock of some seconds ago. */
function left(content: string): void {
  writeFileSync(`${path}.lock`, content);
  const before = Date.now() / 1000 - 10;
  utimesSync(`${path}.lock`, before, before);
}

test('one at a time, and the lock goes with its owner', async () => {
  await alone(path, undefined, async () => {
    await expect(alone(path, undefined, async () => 1, refuse)).rejects.toThrow('held');
  });
  expect(existsSync(`${path}.lock`)).toBe(false);
  await expect(alone(path, undefined, () => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
  expect(await alone(path, undefined, async () => 2, refuse)).toBe(2);
});

test('without a word of its own the second waits', async () => {
  const order: string[] = [];
  const first = alone(path, undefined, async () => {
    await new Promise((done) => setTimeout(done, 300));
    order.push('first');
  });
  await new Promise((done) => setTimeout(done, 50));
  await alone(path, undefined, async () => void order.push('second'));
  await first;
  expect(order).toEqual(['first', 'second']);
});

test.each([
  ['a process that is gone', '999999999 5\n'],
  ['nobody', ''],
  ...(process.platform === 'linux' ? [['another process that had this number', `${process.pid} 1\n`]] : []),
])('a lock of %s is broken', async (_, content) => {
  left(content!);
  expect(await alone(path, undefined, async () => 3, refuse)).toBe(3);
});

test('a lock that says no more than a living number is held', async () => {
  left(`${process.pid}\n`);
  await expect(alone(path, undefined, async () => 4, refuse)).rejects.toThrow('held');
});
