/** The built command in a terminal, in pipes and under signals. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandOptions, hadal, MAIN, scratchFolder, startHadal } from '../fixtures/command.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
/** Answers for minutes. */
let endless = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'toy.gguf');
  endless = join(folder.path, 'endless.gguf');
  await writeFile(toy, toyLlama());
  await writeFile(endless, toyLlama({ contextTokens: 1_000_000 }));
});
afterAll(() => folder[Symbol.asyncDispose]());

describe('signals and pipes', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s stops an answer with exit code %d, and what was said stays', async (signal, code) => {
    const running = startHadal(['run', endless, 'hello', '-t', '0']);
    await running.shows(/[ -~]{3}/);
    running.child.kill(signal);
    const { out, err, ...end } = await running.finished;
    expect(end).toEqual({ code, signal: null });
    expect(out.length).toBeGreaterThanOrEqual(3);
    expect(err).toContain('stopped');
    expect(err).not.toContain('hadal:');
  });

  test('an interrupted --json is still one document', async () => {
    const running = startHadal(['run', endless, 'hello', '-t', '0', '--json']);
    setTimeout(() => running.child.kill('SIGINT'), 1_500);
    const { out, code } = await running.finished;
    expect(code).toBe(130);
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'interrupted' } });
  });

  test('a reader that goes away ends the program with 0', async () => {
    const running = startHadal(['run', endless, 'hello', '-t', '0']);
    await running.shows(/[ -~]/);
    running.child.stdout.destroy();
    const { code, err } = await running.finished;
    expect({ code, err }).toEqual({ code: 0, err: '' });
  });

  test('head -1 gets its line', () => {
    const script = `set -o pipefail; "$0" "$1" inspect "$2" --tensors | head -1; echo "\${PIPESTATUS[*]}"`;
    const piped = spawnSync('bash', ['-c', script, process.execPath, MAIN, toy], { encoding: 'utf8' });
    expect(piped.stderr).toBe('');
    expect(piped.stdout).toMatch(/^file .*toy\.gguf\n0 0\n$/);
  });

  test.skipIf(!existsSync('/dev/full'))('a full disk is one sentence', () => {
    const full = spawnSync('bash', ['-c', '"$0" "$1" --help > /dev/full', process.execPath, MAIN], {
      encoding: 'utf8',
    });
    expect(full.status).toBe(1);
    expect(full.stderr).toBe('hadal: standard output: expected it to take the text, got ENOSPC\n');
  });

  test('no colours and no progress in a pipe', async () => {
    const { out, err } = await hadal(['run', toy, 'hello', '-n', '2', '--temperature', '0']);
    expect(out + err).not.toContain('\u001b');
  });
});

const python = spawnSync('python3', ['-c', 'import pty']).status === 0;
/** Gives the program a terminal; what it writes comes back on standard output. */
const PTY = `
import os, pty, sys
status = pty.spawn(sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(status))
`;
const inTerminal = (env: Record<string, string> = {}): CommandOptions => ({
  under: ['python3', '-c', PTY],
  input: null,
  env: { TERM: 'xterm', XDG_STATE_HOME: join(folder.path, 'state'), ...env },
});

describe.skipIf(!python || process.platform !== 'linux')('in a terminal', () => {
  test('a chat: Ctrl-C stops the answer and not the program', async () => {
    const running = startHadal(['run', endless, '--temperature', '0'], inTerminal());
    const { stdin } = running.child;
    let at = await running.shows('/help');
    at = await running.shows('> ', at);
    stdin.write('hello\r');
    at = await running.shows(/hello[\r\n]+/, at);
    at = await running.shows(/[ -~]{3}/, at);
    stdin.write('\u0003');
    at = await running.shows('stopped', at);
    at = await running.shows('> ', at);
    stdin.write('/system\r');
    at = await running.shows("You are a toy. (the model's own)", at);
    at = await running.shows('> ', at);
    stdin.write('/sytem\r');
    at = await running.shows('did you mean /system?', at);
    at = await running.shows('> ', at);
    stdin.write(`/save ${join(folder.path, 'talk.json')}\r`);
    at = await running.shows('saved 2 messages', at);
    at = await running.shows('> ', at);
    stdin.write('\u0003');
    at = await running.shows('Ctrl-C again', at);
    await running.shows('> ', at);
    stdin.write('\u0003');
    expect(await running.finished).toMatchObject({ code: 0, signal: null });
    const [question, answer] = JSON.parse(readFileSync(join(folder.path, 'talk.json'), 'utf8'));
    expect(question).toEqual({ role: 'user', content: 'hello' });
    expect(answer).toEqual({ role: 'assistant', content: expect.stringMatching(/^[ -~]{3,}$/) });
    const history = readFileSync(join(folder.path, 'state', 'hadal', 'history'), 'utf8').split('\n');
    expect(history.slice(0, 2)).toEqual(['hello', '/system']);
  });

  test('a chat remembers, and reads again only what is new', async () => {
    const running = startHadal(['run', toy, '-n', '4', '-t', '0'], inTerminal());
    const { stdin } = running.child;
    let at = await running.shows('> ');
    stdin.write('hello\r');
    at = await running.shows(/# .*\d+ in, 4 out/, at);
    at = await running.shows('> ', at);
    stdin.write('one\\\rtwo\r');
    at = await running.shows(/\d+ in \(\d+ known\), 4 out/, at);
    at = await running.shows('> ', at);
    stdin.write(`${'x'.repeat(600)}\r`);
    at = await running.shows('the conversation: expected at most 512 tokens', at);
    at = await running.shows('> ', at);
    stdin.write('\u0004');
    expect(await running.finished).toMatchObject({ code: 0, signal: null });
  });

  test('an answer ends where the context does, and the chat goes on once it is cleared', async () => {
    const running = startHadal(['run', toy, '-t', '0', '--context', '96'], inTerminal());
    const { stdin } = running.child;
    let at = await running.shows('> ');
    stdin.write('hello\r');
    at = await running.shows('0 of 96 tokens left · cut at the limit', at);
    at = await running.shows('> ', at);
    stdin.write('and now\r');
    at = await running.shows('the conversation: expected at most 96 tokens', at);
    at = await running.shows('> ', at);
    stdin.write('/clear\r');
    at = await running.shows('forgotten', at);
    at = await running.shows('> ', at);
    stdin.write('hello\r');
    at = await running.shows('0 of 96 tokens left · cut at the limit', at);
    at = await running.shows('> ', at);
    stdin.write('\u0004');
    expect(await running.finished).toMatchObject({ code: 0, signal: null });
  });

  test('SIGTERM at the prompt ends the chat at once, with the terminal given back', async () => {
    const running = startHadal(['run', toy], inTerminal());
    await running.shows('> ');
    const children = readFileSync(`/proc/${running.child.pid}/task/${running.child.pid}/children`, 'utf8');
    process.kill(Number(children.trim()), 'SIGTERM');
    const { code, out } = await running.finished;
    expect(code).toBe(143);
    expect(out.trimEnd().endsWith('\u001b[?2004l')).toBe(true);
  });

  test('figures are dimmed, unless NO_COLOR says otherwise', async () => {
    const args = ['run', toy, 'hello', '-n', '2'];
    const coloured = await hadal(args, inTerminal());
    expect(coloured.out).toContain('\u001b[2m# ');
    const plain = await hadal(args, inTerminal({ NO_COLOR: '1' }));
    expect(plain.out).toContain('# ');
    expect(plain.out).not.toContain('\u001b[');
  });

  test('a chat refuses what it cannot do in a pipe', async () => {
    const refused = await hadal(['run', toy, '--json'], inTerminal());
    expect(refused.code).toBe(2);
    expect(refused.out).toContain('the chat');
  });
});
