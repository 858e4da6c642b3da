import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { openTerminal, slowProgress } from './terminal.ts';

/** A process that is only its streams. */
function fakeProcess({ isTTY = true, env = {} }: { isTTY?: boolean; env?: Record<string, string> } = {}) {
  const stream = () => {
    const pass = Object.assign(new PassThrough(), { isTTY, columns: 20 });
    let text = '';
    pass.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    return Object.assign(pass, { text: () => text });
  };
  const [stdout, stderr] = [stream(), stream()];
  const exits: number[] = [];
  const fake = { stdout, stderr, stdin: { isTTY }, env, exit: (code: number) => exits.push(code) };
  return { stdout, stderr, exits, terminal: openTerminal(fake as unknown as NodeJS.Process) };
}

test('colours only where a person sees standard error and wants them', () => {
  expect(fakeProcess().terminal.dim('x')).toBe('\u001b[2mx\u001b[22m');
  expect(fakeProcess().terminal.bold('x')).toBe('\u001b[1mx\u001b[22m');
  for (const plain of [
    fakeProcess({ isTTY: false }),
    fakeProcess({ env: { NO_COLOR: '1' } }),
    fakeProcess({ env: { TERM: 'dumb' } }),
  ]) {
    expect(plain.terminal.dim('x')).toBe('x');
    expect(plain.terminal.bold('x')).toBe('x');
  }
  // The rule of no-color.org: an empty value does not count.
  expect(fakeProcess({ env: { NO_COLOR: '' } }).terminal.dim('x')).not.toBe('x');
});

test('a document keeps every digit and every typed number', () => {
  const { terminal, stdout } = fakeProcess();
  terminal.json({ big: 2n ** 60n, bigs: BigInt64Array.of(-(2n ** 60n)), floats: Float32Array.of(0.5, 2) });
  expect(JSON.parse(stdout.text())).toEqual({
    big: '1152921504606846976',
    bigs: ['-1152921504606846976'],
    floats: [0.5, 2],
  });
  expect(stdout.text().endsWith('}\n')).toBe(true);
});

test('progress fits one line and is gone before anything else is written', () => {
  const { terminal, stderr } = fakeProcess();
  terminal.progress('a text that is longer than the line');
  terminal.err('done\n');
  expect(stderr.text()).toBe('\r\u001b[2Ka text that is long\r\u001b[2Kdone\n');
});

test('no progress where nobody looks', () => {
  const { terminal, stderr } = fakeProcess({ isTTY: false });
  terminal.progress('x');
  terminal.progress('');
  expect(stderr.text()).toBe('');
});

test('a reader that goes away ends the process with 0', () => {
  const { stdout, exits } = fakeProcess();
  stdout.emit('error', Object.assign(new Error('gone'), { code: 'EPIPE' }));
  expect(exits).toEqual([0]);
});

test('standard output that takes nothing is a failure with a sentence', () => {
  const { stdout, stderr, exits } = fakeProcess();
  stdout.emit('error', Object.assign(new Error('full'), { code: 'ENOSPC' }));
  expect(exits).toEqual([1]);
  expect(stderr.text()).toBe('hadal: standard output: expected it to take the text, got ENOSPC\n');
});

test('slow progress says nothing while it may still be quick', () => {
  const { terminal, stderr } = fakeProcess();
  slowProgress(terminal, 60_000)(() => 'x');
  expect(stderr.text()).toBe('');
  slowProgress(terminal, 0)(() => 'x');
  expect(stderr.text()).toContain('x');
});
