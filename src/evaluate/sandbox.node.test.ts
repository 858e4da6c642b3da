/** Owns: tests of what a program in the sandbox can and cannot do. Refuses to know: tasks. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeWith } from '../../test/fixtures/needs.ts';
import { demandSandbox, runProgram } from './sandbox.node.ts';

const LIMITS = { timeoutMs: 60_000 };
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-secret-'));
  writeFileSync(join(folder, 'secret'), 'mine');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describeWith(['python', 'namespace'], 'the sandbox', () => {
  test('tells programs that end well from those that do not', async () => {
    await demandSandbox(LIMITS);
    expect(await runProgram('import math, json, re\nassert math.gcd(4, 6) == 2', LIMITS)).toMatchObject({
      passed: true,
    });
    const failed = await runProgram('assert 1 == 2, "no"', LIMITS);
    expect(failed).toMatchObject({ passed: false, reason: 1 });
    expect(failed.words).toContain('AssertionError: no');
    expect(await runProgram('def broken(', LIMITS)).toMatchObject({ passed: false });
  });

  test.each(['raise SystemExit(0)', 'exit()', 'import os\nos._exit(0)'])(
    'a program that leaves early has not passed: %s',
    async (leaving) => {
      const program = `def f():\n    ${leaving.replace('\n', '\n    ')}\nf()\nassert False`;
      for (const isolation of ['namespaces', 'none'] as const) {
        const ended = await runProgram(program, { ...LIMITS, isolation });
        expect(ended).toMatchObject({ passed: false, reason: 'ended early' });
      }
    },
  );

  test.each([
    ['reads files of the machine', () => `open(${JSON.stringify(join(folder, 'secret'))}).read()`],
    ['reads who has an account', () => 'open("/etc/passwd").read()'],
    ['writes beside what it may read', () => 'open("/usr/written", "w").write("x")'],
    [
      'mounts',
      () =>
        'import ctypes, os\nif ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) != 0: raise SystemExit(1)',
    ],
  ])('no program %s', async (_, program) => {
    expect((await runProgram(program(), LIMITS)).passed).toBe(false);
  });

  test('no program reaches the network, its own machine included', async () => {
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    await new Promise((up) => server.once('listening', up));
    const { port } = server.address() as { port: number };
    const program = `import socket\nsocket.create_connection(("127.0.0.1", ${port}), 2)`;
    expect((await runProgram(program, LIMITS)).passed).toBe(false);
    expect((await runProgram(program, { ...LIMITS, isolation: 'none' })).passed).toBe(true);
    server.close();
  });

  test('what it writes is gone with it', async () => {
    const path = join(tmpdir(), `hadal-written-${process.pid}`);
    const program = `open("/tmp/x", "w").write("x")\nimport os\nos.makedirs("${tmpdir()}", exist_ok=True)\nopen("${path}", "w").write("x")`;
    await runProgram(program, LIMITS);
    expect(existsSync(path)).toBe(false);
    const again = await runProgram('import os\nassert os.listdir("/tmp") == ["program.py"]', LIMITS);
    expect(again).toMatchObject({ passed: true });
  });

  test('time and memory end', async () => {
    const slow = await runProgram('while True: pass', { timeoutMs: 3_000 });
    expect(slow).toMatchObject({ passed: false, reason: 'timeout' });
    const forks = 'import os, time\nif os.fork() == 0: time.sleep(600)\ntime.sleep(600)';
    expect(await runProgram(forks, { timeoutMs: 3_000 })).toMatchObject({ passed: false, reason: 'timeout' });
    const large = await runProgram('b = bytearray(3 << 30)', LIMITS);
    expect(large.words).toContain('MemoryError');
  });
});

test('without Python the sentence says what to do', async () => {
  const missing = runProgram('1', { ...LIMITS, python: 'no-such-python' });
  await expect(missing).rejects.toMatchObject({
    code: 'sandbox-unavailable',
    message: expect.stringContaining('--unsafe-code'),
  });
});
