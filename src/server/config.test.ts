import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { configJsonSchema, configPath, configSchema, readConfig } from './config.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-config-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function written(text: string): string {
  const path = join(folder, 'serve.json');
  writeFileSync(path, text);
  return path;
}

const FULL = {
  $schema: './serve.schema.json',
  host: '0.0.0.0',
  port: 8080,
  models: ['smollm2-135m', { source: '/m/a.gguf', name: 'a', aliases: ['deepseek-chat'], pin: true }],
  memory_bytes: 16e9,
  keep_alive_seconds: -1,
  keys: '/etc/hadal/keys.json',
  hosts: ['llm.example.org'],
};

/** Documents, and the field that is wrong in them; none where nothing is. */
const CASES: readonly (readonly [document: unknown, field: string | undefined])[] = [
  [FULL, undefined],
  [{}, undefined],
  [{ port: 65_536 }, 'port'],
  [{ port: '80' }, 'port'],
  [{ models: [{ name: 'a' }] }, 'models.0'],
  [{ models: [''] }, 'models.0'],
  [{ parallel: 0 }, 'parallel'],
  [{ prompt_ms: 0 }, 'prompt_ms'],
  [{ prot: 80 }, 'prot'],
  [[], 'the document'],
];

describe.each(CASES)('%j', (document, field) => {
  test('is read, or refused with the field', () => {
    const path = written(JSON.stringify(document));
    if (field === undefined) expect(readConfig(path)).toEqual(document);
    else expect(() => readConfig(path)).toThrow(field);
  });

  test('the schema for editors says the same', () => {
    const check = new Ajv2020({ strict: false, allowUnionTypes: true }).compile(configJsonSchema());
    expect(check(document)).toBe(field === undefined);
  });
});

test('files are meant from where the configuration is', () => {
  writeFileSync(join(folder, 'own.gguf'), '');
  const document = {
    models: ['own.gguf', { source: './own.gguf', pin: true }, 'smollm2-135m', '/m/a.gguf'],
    keys: 'keys.json',
    policy: '../policy.json',
  };
  const own = join(folder, 'own.gguf');
  expect(readConfig(written(JSON.stringify(document)))).toEqual({
    models: [own, { source: own, pin: true }, 'smollm2-135m', '/m/a.gguf'],
    keys: join(folder, 'keys.json'),
    policy: join(folder, '..', 'policy.json'),
  });
});

test('no JSON, no file', () => {
  expect(() => readConfig(written('{"port": 1,}'))).toThrow(
    expect.objectContaining({ code: 'config-broken' }),
  );
  expect(() => readConfig(join(folder, 'none.json'))).toThrow('check the path');
});

test('where it is looked for', () => {
  expect(configPath({ XDG_CONFIG_HOME: '/c' })).toBe('/c/hadal/serve.json');
});

test('the guide has every field', () => {
  const guide = readFileSync(new URL('../../docs/guide/serve.md', import.meta.url), 'utf8');
  for (const field of Object.keys(configSchema.shape))
    expect(guide).toMatch(field === '$schema' ? '"$schema"' : `\`${field}\``);
});
