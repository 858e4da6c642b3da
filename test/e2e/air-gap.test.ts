/**
 * Owns: the proof that nothing goes out: a bundle, installed, served and talked to where there is no network, and attempts to
 * get out that are each caught.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hadal, MAIN } from '../fixtures/command.ts';
import { describeWith, testModelPath } from '../fixtures/needs.ts';

const HANG_MS = 600_000;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-air-gap-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Happened {
  readonly outside: Record<string, { code?: string }>;
  readonly verified: string;
  readonly chat: { done?: string };
  readonly page: { done?: string };
  readonly metrics: string;
  readonly planted: Record<string, { free: string; offline: string }>;
  readonly missing: string;
  readonly exitCode: number;
  readonly complained: string;
}

describeWith(['weights', 'namespace'], 'a machine without a network', () => {
  let happened: Happened;
  beforeAll(() => {
    const bundle = join(folder, 'bundle');
    const packed = spawnSync(process.execPath, [MAIN, 'bundle', bundle, '--model', testModelPath()!]);
    expect(packed.status).toBe(0);
    const script = fileURLToPath(new URL('../fixtures/air-gap.mjs', import.meta.url));
    const inside = 'ip link set lo up && exec "$@"';
    const { HADAL_BACKEND: _backend, HF_ENDPOINT: _endpoint, ...env } = process.env;
    const words = [process.execPath, script, bundle, join(folder, 'home'), basename(testModelPath()!)];
    const { stdout, stderr, status } = spawnSync('unshare', ['-rn', 'sh', '-c', inside, 'sh', ...words], {
      encoding: 'utf8',
      env,
      timeout: HANG_MS,
    });
    if (status !== 0) throw new Error(stderr);
    happened = JSON.parse(stdout) as Happened;
  }, HANG_MS);

  test('there is none: nothing outside is reached', () => {
    expect(happened.outside.fetch?.code).toMatch(/ENETUNREACH|UND_ERR|TIMEOUT|ABORT/i);
    expect(happened.outside.lookup?.code).toMatch(/EAI_AGAIN|ENOTFOUND/);
  });

  test('the bundle is whole, serves the page, and its model answers over loopback', () => {
    expect(happened.verified).toContain('as it was packed');
    expect(happened.chat.done).toMatch(/gravity/i);
    expect(happened.page.done).toBe('true');
    expect(happened.exitCode).toBe(0);
  });

  test('it was the model on this machine that was called', () => {
    expect(happened.metrics).toMatch(/^gen_ai_client_token_usage\w*_sum\{[^}]*output[^}]*\} 8$/m);
    expect(happened.complained).toContain('"msg":"answered"');
  });

  test('each planted violation is caught, and could have been done without', () => {
    const codes = { program: /^offline-program$/, lookup: /^offline-lookup$/, other: /^offline-connection$/ };
    for (const [name, { free, offline }] of Object.entries(happened.planted)) {
      const kind = /program|shell/.test(name) ? 'program' : /lookup|resolve/.test(name) ? 'lookup' : 'other';
      expect([name, offline]).toEqual([name, expect.stringMatching(codes[kind])]);
      // Names cannot be looked up here in any case; the rest works until it is refused.
      if (kind !== 'lookup') expect([name, free]).toEqual([name, expect.stringMatching(/^done/)]);
    }
    expect(Object.keys(happened.planted).length).toBe(11);
  });

  test('a model that would have to be fetched is refused at the start, by name', () => {
    expect(JSON.parse(happened.missing)).toMatchObject({ error: { code: 'offline-model' } });
  });
});

test('a bundle takes all shards of a model, and never two models for one', async () => {
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
    return join(folder, path);
  };
  const second = put('sharded/m-00002-of-00003.gguf', 'two');
  put('sharded/m-00001-of-00003.gguf', 'one');
  const bundle = (name: string) => join(folder, name);
  const packed = async (name: string, ...models: string[]) => {
    const flags = models.flatMap((model) => ['--model', model]);
    const { code, out } = await hadal(['bundle', bundle(name), ...flags, '--json']);
    return code === 0 ? 'packed' : JSON.parse(out).error.code;
  };
  expect(await packed('a', second)).toBe('gguf-shards');
  put('sharded/m-00003-of-00003.gguf', 'three');
  const [one, other] = [put('x/model.gguf', 'one'), put('y/Model.gguf', 'other')];
  expect(await packed('b', one, other)).toBe('bundle-collision');
  expect(await packed('c', join(folder, 'x'), put('z/x', 'other'))).toBe('bundle-collision');
  execFileSync('mkfifo', [join(folder, 'y', 'pipe')]);
  expect(await packed('d', join(folder, 'y'))).toBe('file-not-regular');
  expect(readdirSync(folder).filter((name) => /^[abcd]$/.test(name))).toEqual([]);
  expect(await packed('whole', second, join(folder, 'sharded/m-00001-of-00003.gguf'), one, one)).toBe(
    'packed',
  );
  expect(readdirSync(join(bundle('whole'), 'models')).sort()).toEqual([
    'm-00001-of-00003.gguf',
    'm-00002-of-00003.gguf',
    'm-00003-of-00003.gguf',
    'model.gguf',
  ]);
  const verified = async () => {
    const { code, out } = await hadal(['verify', bundle('whole'), '--json']);
    return code === 0 ? 'whole' : JSON.parse(out).error.code;
  };
  expect(await verified()).toBe('whole');
  const kept = join(bundle('whole'), 'models', 'model.gguf');
  rmSync(kept);
  execFileSync('mkfifo', [kept]);
  expect(await verified()).toBe('bundle-differs');
  rmSync(kept);
  symlinkSync(one, kept);
  expect(await verified()).toBe('bundle-differs');
  rmSync(kept);
  cpSync(one, kept);
  // A list that leaves a shard out is no list of a whole model, though every file of it is there.
  const list = join(bundle('whole'), 'bundle.json');
  const manifest = JSON.parse(readFileSync(list, 'utf8')) as { files: Record<string, unknown> };
  delete manifest.files['models/m-00003-of-00003.gguf'];
  writeFileSync(list, JSON.stringify(manifest));
  rmSync(join(bundle('whole'), 'models', 'm-00003-of-00003.gguf'));
  expect(await verified()).toBe('bundle-broken');
}, 180_000);

test(
  'a bundle that changed on its way is refused, whatever changed',
  async () => {
    const bundle = join(folder, 'small');
    const model = join(folder, 'model.gguf');
    writeFileSync(model, 'GGUF');
    const packed = JSON.parse((await hadal(['bundle', bundle, '--model', model, '--json'])).out);
    expect(packed.files).toBeGreaterThan(200);
    const verify = async (...flags: string[]) => {
      const { code, out } = await hadal(['verify', bundle, '--json', ...flags]);
      return code === 0 ? 'whole' : JSON.parse(out).error.code;
    };
    expect(await verify('--digest', packed.sha256)).toBe('whole');
    expect(await verify('--digest', '0'.repeat(64))).toBe('bundle-differs');
    appendFileSync(join(bundle, 'models', 'model.gguf'), 'x');
    expect(await verify()).toBe('bundle-differs');
    cpSync(model, join(bundle, 'models', 'model.gguf'));
    expect(await verify()).toBe('whole');
    writeFileSync(join(bundle, 'program', 'more.js'), '');
    expect(await verify()).toBe('bundle-differs');
    rmSync(join(bundle, 'program', 'more.js'));
    rmSync(join(bundle, 'hadal'));
    expect(await verify()).toBe('bundle-differs');
    expect((await hadal(['bundle', bundle])).code).toBe(1);
  },
  HANG_MS,
);
