import { PassThrough } from 'node:stream';
import type { ReadStream, WriteStream } from 'node:tty';
import { afterEach, expect, test } from 'vitest';
import { ChatInput, MessageAssembler } from './chat-input.ts';

test.each([
  ['one line', ['hello'], 'hello'],
  ['a backslash goes on', ['one\\', 'two\\', 'three'], 'one\ntwo\nthree'],
  ['a fence', ['"""', 'one', '', 'two', '"""'], 'one\n\ntwo'],
  ['a fence with text beside it', ['"""one', 'two"""'], 'one\ntwo'],
  ['a fence on one line', ['"""one"""'], 'one'],
  ['a backslash inside a fence is kept', ['"""', 'one\\', 'two', '"""'], 'one\\\ntwo'],
  ['an empty line', [''], ''],
])('%s', (_, lines, message) => {
  const assembler = new MessageAssembler();
  for (const line of lines.slice(0, -1)) {
    expect(assembler.line(line)).toBeUndefined();
    expect(assembler.open).toBe(true);
  }
  expect(assembler.line(lines.at(-1) ?? '')).toBe(message);
  expect(assembler.open).toBe(false);
});

test('pasted lines wait for the line that the person ends', () => {
  const assembler = new MessageAssembler();
  expect(assembler.line('one', true)).toBeUndefined();
  expect(assembler.line('two\\', true)).toBeUndefined();
  expect(assembler.line('three')).toBe('one\ntwo\\\nthree');
});

test('what was begun can be forgotten', () => {
  const assembler = new MessageAssembler();
  assembler.line('"""');
  assembler.clear();
  expect(assembler.line('new')).toBe('new');
});

const open: ChatInput[] = [];
afterEach(() => {
  for (const input of open.splice(0)) input.close();
});

/** A terminal without one: keys go in by `type`, the screen is `shown()`. */
function terminal(history: string[] = []) {
  const stdin = Object.assign(new PassThrough(), {
    isTTY: true,
    isRaw: false,
    setRawMode(raw: boolean) {
      this.isRaw = raw;
      return this;
    },
  });
  const stdout = Object.assign(new PassThrough(), { isTTY: true, columns: 80, rows: 24 });
  let screen = '';
  stdout.on('data', (chunk: Buffer) => {
    screen += chunk.toString();
  });
  const kept: string[][] = [];
  const input = new ChatInput({
    stdin: stdin as unknown as ReadStream,
    stdout: stdout as unknown as WriteStream,
    history,
    onHistory: (lines) => kept.push([...lines]),
  });
  open.push(input);
  return {
    input,
    kept,
    isRaw: () => stdin.isRaw,
    type: (keys: string) => stdin.write(keys),
    shown: () => screen,
  };
}

test('Enter sends, and the terminal is given back for the answer', async () => {
  const { input, type, isRaw, kept } = terminal();
  const asked = input.ask('> ');
  expect(isRaw()).toBe(true);
  type('hello\r');
  expect(await asked).toEqual({ kind: 'message', text: 'hello' });
  expect(isRaw()).toBe(false);
  expect(kept).toEqual([['hello']]);
});

test('several lines, and the continuation is shown', async () => {
  const { input, type, shown } = terminal();
  const asked = input.ask('> ');
  type('one\\\rtwo\r');
  expect(await asked).toEqual({ kind: 'message', text: 'one\ntwo' });
  expect(shown()).toContain('. ');
});

test('a bracketed paste of several lines is one message', async () => {
  const { input, type } = terminal();
  const asked = input.ask('> ');
  type('\u001b[200~one\rtwo\rthree\u001b[201~');
  type('\r');
  expect(await asked).toEqual({ kind: 'message', text: 'one\ntwo\nthree' });
});

test('Ctrl-C empties the line first, then says that it was empty', async () => {
  const { input, type } = terminal();
  const first = input.ask('> ');
  type('half\u0003');
  expect(await first).toEqual({ kind: 'interrupt', empty: false });
  const second = input.ask('> ');
  type('\u0003');
  expect(await second).toEqual({ kind: 'interrupt', empty: true });
  const third = input.ask('> ');
  type('whole\r');
  expect(await third).toEqual({ kind: 'message', text: 'whole' });
});

test('Ctrl-D ends, and so does every question after it', async () => {
  const { input, type } = terminal();
  const asked = input.ask('> ');
  type('\u0004');
  expect(await asked).toEqual({ kind: 'end' });
  expect(await input.ask('> ')).toEqual({ kind: 'end' });
});

test('closing ends the question that is open, and gives the terminal back', async () => {
  const { input, shown, isRaw } = terminal();
  const asked = input.ask('> ');
  input.close();
  expect(await asked).toEqual({ kind: 'end' });
  expect(isRaw()).toBe(false);
  expect(shown()).toContain('\u001b[?2004l');
});

test('the up key brings back what was said in an earlier chat', async () => {
  const { input, type } = terminal(['newest', 'older']);
  const asked = input.ask('> ');
  type('\u001b[A\u001b[A\r');
  expect(await asked).toEqual({ kind: 'message', text: 'older' });
});
