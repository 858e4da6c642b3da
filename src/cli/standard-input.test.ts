import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { promptFrom } from './standard-input.ts';
import type { Terminal } from './terminal.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-input-'));
});
afterAll(() => rm(folder, { recursive: true }));

const terminal = (inIsTerminal: boolean) => ({ inIsTerminal }) as Terminal;
const calm = { signal: new AbortController().signal, capture: () => () => undefined, allow() {}, pass() {} };

/** The prompt of words and of what a file on standard input holds. */
async function prompt(words: string[], ...chunks: (string | Uint8Array)[]) {
  const path = join(folder, 'in');
  await writeFile(path, '');
  const file = await open(path);
  const stdin = Object.assign(Readable.from(chunks.map((chunk) => Buffer.from(chunk))), { fd: file.fd });
  try {
    return await promptFrom(words, { stdin, terminal: terminal(false), interruption: calm });
  } finally {
    await file.close();
  }
}

test('words, input, or both with an empty line between', async () => {
  expect(await prompt(['Hello', 'there'])).toBe('Hello there');
  expect(await prompt([], 'a\nb\n')).toBe('a\nb');
  expect(await prompt([], 'a\r\n')).toBe('a');
  expect(await prompt([], 'a\n\n')).toBe('a\n');
  expect(await prompt(['Sum:'], 'a\nb\n')).toBe('Sum:\n\na\nb');
});

test('a character may come in two pieces', async () => {
  expect(await prompt([], Uint8Array.of(0xc3), Uint8Array.of(0xa4))).toBe('ä');
});

test('nothing and other bytes are refused', async () => {
  await expect(prompt([], '\n')).rejects.toMatchObject({ code: 'usage' });
  await expect(prompt([], Uint8Array.of(0xff))).rejects.toMatchObject({
    code: 'input-invalid',
    message: 'standard input: expected UTF-8 text, got other bytes',
  });
});

test('in a terminal nothing is read', async () => {
  const stdin = new Readable({
    read() {
      throw new Error('read');
    },
  });
  const of = { stdin, terminal: terminal(true), interruption: calm };
  expect(await promptFrom([], of)).toBeUndefined();
  expect(await promptFrom(['Hi'], of)).toBe('Hi');
});

test('Ctrl-C ends the waiting for input', async () => {
  const controller = new AbortController();
  const stdin = new Readable({ read: () => undefined });
  const waiting = promptFrom([], {
    stdin,
    terminal: terminal(false),
    interruption: { ...calm, signal: controller.signal },
  });
  controller.abort(new Error('stopped'));
  await expect(waiting).rejects.toThrow();
});
