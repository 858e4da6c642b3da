/** Owns: `hadal launch` as a person runs it: settings written, shown, undone, the program started; nothing of theirs lost. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CLIENTS } from '../../src/cli/clients/clients.ts';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { hadal } from '../fixtures/command.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const root = mkdtempSync(join(tmpdir(), 'hadal-launch-'));
let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

let home = '';
beforeEach(() => {
  home = mkdtempSync(join(root, 'home-'));
});

const launch = (args: readonly string[], env: Record<string, string> = {}) =>
  hadal(['launch', ...args], { env: { HOME: home, PATH: `${home}/bin`, ...env } });
const at = (args: readonly string[], env: Record<string, string> = {}) =>
  launch(['--url', server.url, ...args], env);
const fileOf = (name: string) => CLIENTS.find((client) => client.name === name)!.file({ HOME: home }).path;
const put = (name: string, text: string, mode = 0o644) => {
  mkdirSync(dirname(fileOf(name)), { recursive: true });
  writeFileSync(fileOf(name), text, { mode });
  chmodSync(fileOf(name), mode);
};

/** A program that says how it was started. */
function program(name: string, code = 0): void {
  mkdirSync(join(home, 'bin'), { recursive: true });
  const script = `#!${process.execPath}\nconsole.log(JSON.stringify([process.argv.slice(2), process.env.HADAL_KEY ?? null]));process.exit(${code})\n`;
  writeFileSync(join(home, 'bin', name), script, { mode: 0o755 });
}

describe.each(CLIENTS.map(({ name }) => name))('%s', (name) => {
  test('is pointed at the only model served, and undone, byte for byte', async () => {
    const made = await at([name, '--no-start']);
    expect(made).toMatchObject({ code: 0, out: '' });
    expect(made.err).toContain(`hadal launch ${name} --undo`);
    const text = readFileSync(fileOf(name), 'utf8');
    expect(text).toContain('toy');
    expect(text).toContain(server.url);
    expect(statSync(fileOf(name)).mode & 0o777).toBe(0o600);
    expect((await at([name, '--no-start'])).err).toContain('already');
    expect((await launch([name, '--undo'])).err).toContain('is as it was');
    expect(existsSync(fileOf(name))).toBe(false);
    expect((await launch([name, '--undo'])).err).toContain('nothing to undo');
  });

  test('--print shows the settings and writes nothing', async () => {
    const { out, err, code } = await launch([name, '--print', '--model', 'some-model']);
    expect(code).toBe(0);
    expect(out).toContain('some-model');
    expect(err).toContain(fileOf(name));
    expect(existsSync(fileOf(name))).toBe(false);
    expect(existsSync(join(home, '.config', 'hadal'))).toBe(false);
  });

  test('a file that does not parse is refused and left as it is', async () => {
    put(name, '{ "a": [ = broken');
    const { code, err } = await at([name, '--no-start']);
    expect(code).toBe(1);
    expect(err).toContain(fileOf(name));
    expect(err).toContain('it was left as it is');
    expect(readFileSync(fileOf(name), 'utf8')).toBe('{ "a": [ = broken');
    expect(existsSync(join(home, '.config', 'hadal'))).toBe(false);
  });
});

test('what was there, its mode and a link are kept; undo brings back every byte', async () => {
  const mine = '# mine\r\ndark-mode:   true # keep\r\nmodel: sonnet\r\n';
  const real = join(home, 'dotfiles.yml');
  writeFileSync(real, mine, { mode: 0o640 });
  chmodSync(real, 0o640);
  symlinkSync(real, fileOf('aider'));
  await at(['aider', '--no-start']);
  const text = readFileSync(real, 'utf8');
  expect(text).toContain('# keep');
  expect(text).toContain('model: openai/toy');
  expect(lstatSync(fileOf('aider')).isSymbolicLink()).toBe(true);
  expect(statSync(real).mode & 0o777).toBe(0o640);
  // Another model later: the way back still leads to the beginning.
  await at(['aider', '--no-start', '--model', 'other']);
  expect(readFileSync(real, 'utf8')).toContain('model: openai/other');
  const record = join(home, '.config', 'hadal', 'launch', 'aider.json');
  expect(statSync(record).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(record, 'utf8')).before).toBe(mine);
  await launch(['aider', '--undo']);
  expect(readFileSync(real, 'utf8')).toBe(mine);
  expect(existsSync(record)).toBe(false);
});

test('what was changed after it stays when it is undone', async () => {
  put('claude-code', '{ "model": "sonnet" }');
  await at(['claude-code', '--no-start']);
  const now = JSON.parse(readFileSync(fileOf('claude-code'), 'utf8'));
  writeFileSync(
    fileOf('claude-code'),
    JSON.stringify({ ...now, theme: 'dark', env: { ...now.env, ANTHROPIC_MODEL: 'mine', FOO: '1' } }),
  );
  const { err } = await launch(['claude-code', '--undo']);
  expect(err).toContain('changed meanwhile: env.ANTHROPIC_MODEL');
  expect(err).not.toContain('is as it was');
  expect(JSON.parse(readFileSync(fileOf('claude-code'), 'utf8'))).toEqual({
    model: 'sonnet',
    theme: 'dark',
    env: { ANTHROPIC_MODEL: 'mine', FOO: '1' },
  });
});

test('undone, it says what is so: put back, gone meanwhile, or changed meanwhile', async () => {
  const undone = async (meanwhile: (path: string) => void, mine: string | null = '{ "model": "sonnet" }') => {
    if (mine === null) rmSync(fileOf('claude-code'), { force: true });
    else put('claude-code', mine);
    await at(['claude-code', '--no-start']);
    meanwhile(fileOf('claude-code'));
    return JSON.parse((await launch(['claude-code', '--undo', '--json'])).out);
  };
  expect(await undone(() => {})).toMatchObject({ outcome: 'restored', kept: [] });
  expect(await undone((path) => rmSync(path))).toMatchObject({ outcome: 'missing' });
  expect(existsSync(fileOf('claude-code'))).toBe(false);
  expect(await undone((path) => rmSync(path), null)).toMatchObject({ outcome: 'restored' });
  const added = (path: string) =>
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), theme: 'dark' }));
  expect(await undone(added)).toMatchObject({ outcome: 'taken-out', kept: [] });
  expect(JSON.parse(readFileSync(fileOf('claude-code'), 'utf8'))).toEqual({ model: 'sonnet', theme: 'dark' });
  await at(['claude-code', '--no-start']);
  added(fileOf('claude-code'));
  rmSync(fileOf('claude-code'));
  expect((await launch(['claude-code', '--undo'])).err).toMatch(/was removed meanwhile/);
});

test('a key that is written where others may read it is said so', async () => {
  const withKey = { HADAL_KEY: 'hdl_secret' };
  put('aider', 'dark-mode: true\n', 0o644);
  const open = await at(['aider', '--no-start'], withKey);
  expect(open.err).toContain(`chmod 600 ${fileOf('aider')}`);
  expect(statSync(fileOf('aider')).mode & 0o777).toBe(0o644);
  // As long as it is so.
  expect((await at(['aider', '--no-start'], withKey)).err).toContain('chmod 600');
  expect(JSON.parse((await at(['aider', '--json'], withKey)).out)).toMatchObject({ exposed: true });
  chmodSync(fileOf('aider'), 0o600);
  expect((await at(['aider', '--no-start'], withKey)).err).not.toContain('chmod');
  // No key, or one that is in the environment only, is none to be seen.
  put('continue', '', 0o644);
  expect((await at(['continue', '--no-start'])).err).not.toContain('chmod');
  put('codex', '', 0o644);
  expect((await at(['codex', '--no-start'], withKey)).err).not.toContain('chmod');
});

test('the program is started with what follows, its end is ours', async () => {
  program('aider');
  const started = await at(['aider', '--', '--message', 'hello there']);
  expect(started).toMatchObject({ code: 0, out: '[["--message","hello there"],null]\n' });
  program('codex', 3);
  const failed = await at(['codex', '--', '--json']);
  expect(failed).toMatchObject({ code: 1, out: '[["--json"],null]\n' });
  expect(failed.err).toContain('codex ended with 3');
  const missing = await at(['opencode']);
  expect(missing).toMatchObject({ code: 0 });
  expect(missing.err).toContain('npm install -g opencode-ai');
});

test('a server with keys: told which variable, then written where the client wants it', async () => {
  const { key, secret } = newKey({ name: 'me', models: ['*'], limits: {} });
  await using guarded = await startTestServer({ keys: keyRing([key]) });
  const refused = await launch(['aider', '--no-start', '--url', guarded.url]);
  expect(refused.code).toBe(1);
  expect(refused.err).toContain('HADAL_KEY');
  const withKey = { HADAL_KEY: secret };
  await launch(['aider', '--no-start', '--url', `${guarded.url}/v1`], withKey);
  expect(readFileSync(fileOf('aider'), 'utf8')).toContain(secret);
  expect(readFileSync(fileOf('aider'), 'utf8')).toContain(`openai-api-base: ${guarded.url}/v1\n`);
  program('codex');
  const { out } = await launch(['codex', '--url', guarded.url], withKey);
  expect(JSON.parse(out)).toEqual([[], secret]);
  expect(readFileSync(fileOf('codex'), 'utf8')).toContain('env_key = "HADAL_KEY"');
  expect(readFileSync(fileOf('codex'), 'utf8')).not.toContain(secret);
});

test('mistakes are sentences, and write nothing', async () => {
  await using two = await startTestServer({ toys: [{ name: 'one' }, { name: 'two' }] });
  const cases: readonly (readonly [args: readonly string[], code: number, says: RegExp])[] = [
    [['claude'], 2, /did you mean claude-code/],
    [['aider', '--url', 'not an address'], 2, /--url: expected an address like/],
    [['aider', '--url', 'http://127.0.0.1:9'], 1, /hadal serve MODEL/],
    [['aider', '--url', two.url], 2, /--model: expected one of one, two/],
    [['aider', '--nonsense'], 2, /--nonsense is not a flag/],
  ];
  for (const [args, code, says] of cases) {
    const { code: got, err } = await launch(args);
    expect(got).toBe(code);
    expect(err).toMatch(says);
  }
  expect(existsSync(fileOf('aider'))).toBe(false);
});

test('the list, for people and programs', async () => {
  program('aider');
  await at(['aider', '--no-start']);
  const { out } = await launch([]);
  expect(out).toMatch(/aider +installed +pointed here/);
  expect(out).toMatch(/codex +not found/);
  const { clients } = JSON.parse((await launch(['--json'])).out);
  expect(clients.map(({ client }: { client: string }) => client)).toEqual(CLIENTS.map(({ name }) => name));
  const done = JSON.parse((await at(['codex', '--json'])).out);
  expect(done).toMatchObject({ client: 'codex', changed: true, model: 'toy', file: fileOf('codex') });
});
