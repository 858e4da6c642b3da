/** Owns: tests of who may make a file: the living wait or are told, the dead do not count. Refuses to know: files made. */
import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
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

const linux = process.platform === 'linux';
const boot = linux ? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() : '';
/** A living number of this process, in a container beside it or on another machine. */
const ELSEWHERE = [
  ['a container', `${process.pid} 1 ${hostname()} ${boot} pid:[1]\n`],
  ['another machine', `${process.pid} 1 elsewhere 00000000-0000-0000-0000-000000000000 pid:[1]\n`],
] as const;

describe.runIf(linux)('a lock of elsewhere', () => {
  test.each(ELSEWHERE)('of %s is broken when nobody touches it', async (_, content) => {
    left(content);
    expect(await alone(path, undefined, async () => 6, undefined, 1_000)).toBe(6);
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  test('holds while it is touched', async () => {
    left(ELSEWHERE[1][1]);
    let touches = 0;
    const touching = setInterval(() => {
      touches++;
      const before = Date.now() / 1000 - 1000 + touches;
      utimesSync(`${path}.lock`, before, before);
    }, 50);
    const order: string[] = [];
    const work = alone(path, undefined, async () => void order.push('work'), undefined, 4_000);
    await expect.poll(() => touches, { timeout: 60_000 }).toBeGreaterThan(100);
    order.push('released');
    clearInterval(touching);
    await work;
    expect(order).toEqual(['released', 'work']);
  });

  test('from before this machine was started again is broken at once', async () => {
    left(`${process.pid} 1 ${hostname()} 00000000-0000-0000-0000-000000000000 pid:[1]\n`);
    expect(await alone(path, undefined, async () => 5, refuse)).toBe(5);
  });

  test('that another one took meanwhile stays', async () => {
    await alone(path, undefined, async () => writeFileSync(`${path}.lock`, ELSEWHERE[1][1]));
    expect(existsSync(`${path}.lock`)).toBe(true);
  });
});
