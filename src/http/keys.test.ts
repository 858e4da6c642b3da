import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { HadalError } from '../error.ts';
import { changeKeys, keyRing, keysPath, mayUse, newKey, readKeys, watchedKeys, writeKeys } from './keys.ts';

let folder = '';
let path = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-keys-'));
  path = join(folder, 'deep', 'keys.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const ada = newKey({ name: 'ada', models: ['*'], limits: {} });
const ci = newKey({ name: 'ci', models: ['smollm2*'], limits: { concurrent: 2, perMinute: 60 } });

test('written for its owner alone, without the secret, and read back', async () => {
  await writeKeys(path, [ada.key, ci.key]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readKeys(path)).toEqual([ada.key, ci.key]);
  expect(readFileSync(path, 'utf8')).not.toContain(ada.secret.slice(4));
  expect(readdirSync(join(folder, 'deep'))).toEqual(['keys.json']);
});

test('of many who change the file at once none is lost', async () => {
  const all = Array.from({ length: 8 }, (_, i) => newKey({ name: `k${i}`, models: ['*'], limits: {} }).key);
  await Promise.all(all.map((key) => changeKeys(path, (keys) => [...keys, key])));
  expect(
    readKeys(path)
      .map(({ name }) => name)
      .toSorted(),
  ).toEqual(all.map(({ name }) => name));
  const refused = changeKeys(path, () => {
    throw new HadalError('usage', { what: 'left as it is' });
  });
  await expect(refused).rejects.toMatchObject({ code: 'usage' });
  expect(readKeys(path)).toHaveLength(8);
  expect(readdirSync(join(folder, 'deep'))).toEqual(['keys.json']);
});

test('secrets are long and never the same', () => {
  expect(ada.secret).toMatch(/^hdl_[\w-]{43}$/);
  expect(newKey({ name: 'ada', models: ['*'], limits: {} }).secret).not.toBe(ada.secret);
  expect(() => newKey({ name: 'a b', models: ['*'], limits: {} })).toThrow('letters, digits');
});

test('a secret finds its key and nothing else does', () => {
  const ring = keyRing([ada.key, ci.key]);
  expect(ring.find(ci.secret)?.name).toBe('ci');
  for (const other of ['', 'hdl_', ada.secret.slice(0, -1), `${ada.secret}x`, ada.key.sha256])
    expect(ring.find(other)).toBeUndefined();
});

test('a file that others may read is refused', async () => {
  await writeKeys(path, [ada.key]);
  chmodSync(path, 0o640);
  expect(() => readKeys(path)).toThrow(/expected a file that only its owner may read.*got 0640.*chmod 600/);
});

test.each([
  ['no JSON', '{'],
  ['another version', '{"version": 2, "keys": []}'],
  ['a field too many', '{"version": 1, "keys": [], "more": 1}'],
  ['a name twice', JSON.stringify({ version: 1, keys: [ada.key, ada.key] })],
  ['a key without its hash', JSON.stringify({ version: 1, keys: [{ ...ada.key, sha256: 'x' }] })],
])('%s is refused', (_, text) => {
  const broken = join(folder, 'keys.json');
  writeFileSync(broken, text, { mode: 0o600 });
  expect(() => readKeys(broken)).toThrow(expect.objectContaining({ code: 'keys-broken' }));
});

test('where nothing can be written the old file stays and the error says so', async () => {
  await writeKeys(path, [ada.key]);
  await expect(writeKeys(join(path, 'below'), [ci.key])).rejects.toMatchObject({ code: 'keys-unwritable' });
  expect(readKeys(path)).toEqual([ada.key]);
});

describe('a file that is watched', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  test('is read again after a second; one that breaks changes nothing', async () => {
    await writeKeys(path, [ada.key]);
    const troubles: unknown[] = [];
    const ring = watchedKeys(path, { onTrouble: (error) => troubles.push(error) });
    await writeKeys(path, [ci.key]);
    expect(ring.find(ada.secret)?.name).toBe('ada');
    vi.advanceTimersByTime(1000);
    expect([ring.find(ada.secret), ring.find(ci.secret)?.name]).toEqual([undefined, 'ci']);
    rmSync(path);
    vi.advanceTimersByTime(1000);
    expect(ring.find(ci.secret)?.name).toBe('ci');
    expect(troubles).toHaveLength(1);
  });

  test('may appear later: nobody needs a key until then, and everybody from then on', async () => {
    const ring = watchedKeys(path, { onTrouble: () => expect.unreachable(), mayBeMissing: true });
    expect([ring.required, ring.find(ada.secret)]).toEqual([false, undefined]);
    await writeKeys(path, [ada.key]);
    vi.advanceTimersByTime(1000);
    expect([ring.required, ring.find(ada.secret)?.name]).toEqual([true, 'ada']);
    expect(() => watchedKeys(join(folder, 'none.json'), { onTrouble() {} })).toThrow('hadal keys add');
  });
});

test('allow-lists: names, beginnings, everything', () => {
  expect(mayUse({ models: ['*'] }, 'anything')).toBe(true);
  expect(mayUse({ models: ['a', 'smol*'] }, 'smollm2-135m')).toBe(true);
  for (const model of ['b', 'ab', 'A', 'xsmol'])
    expect(mayUse({ models: ['a', 'smol*'] }, model)).toBe(false);
});

test('where they are', () => {
  expect(keysPath({ HADAL_HOME: '/srv/hadal' })).toBe('/srv/hadal/keys.json');
  expect(keysPath({ XDG_CONFIG_HOME: '/c' })).toBe('/c/hadal/keys.json');
});
