import { expect, test } from 'vitest';
import { HadalError } from '../error.ts';
import { readArguments } from './arguments.ts';

const flags = {
  model: { type: 'positional', required: false },
  seed: { type: 'string', alias: 's' },
  temperature: { type: 'string', alias: ['t', 'temp'] },
  stop: { type: 'string' },
  quiet: { type: 'boolean', alias: 'q' },
} as const;

const read = (...raw: string[]) => readArguments(flags, raw, { repeated: ['stop'] });

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(HadalError);
    expect((error as HadalError).code).toBe('usage');
    return (error as HadalError).message;
  }
  throw new Error('nothing was refused');
}

test('words and flags come in any order and spelling', () => {
  for (const raw of [
    ['a.gguf', '--seed', '7', '-q', 'two words'],
    ['-q', '-s', '7', 'a.gguf', 'two words'],
    ['--seed=7', 'a.gguf', '--quiet', 'two words'],
    ['-s7', 'a.gguf', '-q', '--', 'two words'],
  ]) {
    const given = read(...raw);
    expect(given.words).toEqual(['a.gguf', 'two words']);
    expect(given.number('seed')).toBe(7);
    expect(given.has('quiet')).toBe(true);
  }
  expect(read('--temp', '0.5').number('temperature')).toBe(0.5);
  expect(read('-t', '.5').number('temperature')).toBe(0.5);
});

test('what follows two dashes is never a flag', () => {
  expect(read('m', '--', '-1 + 2 =', '--seed').words).toEqual(['m', '-1 + 2 =', '--seed']);
});

test('a negative number is a value, another flag is not', () => {
  expect(read('--seed', '-1').number('seed')).toBe(-1);
  expect(refusal(() => read('--seed', '--quiet'))).toBe(
    '--seed: expected a value after it, got --quiet; write --seed=--quiet if that is the value',
  );
  expect(read('--stop=--quiet').texts('stop')).toEqual(['--quiet']);
  expect(refusal(() => read('--seed'))).toBe('--seed: expected a value after it, got nothing');
});

test('only repeated flags may be given twice', () => {
  expect(read('--stop', 'a', '--stop', 'b').texts('stop')).toEqual(['a', 'b']);
  expect(refusal(() => read('--seed', '1', '-s', '2'))).toBe('--seed: expected it once, got it twice');
});

test('an unknown flag is refused with the nearest one', () => {
  expect(refusal(() => read('--sead', '1'))).toBe(
    '--sead is not a flag of this command; did you mean --seed?',
  );
  expect(refusal(() => read('--zzzzzz'))).toBe('--zzzzzz is not a flag of this command; see --help');
  expect(refusal(() => read('--no-quiet'))).toMatch('--no-quiet is not a flag');
  expect(refusal(() => read('-x'))).toMatch('-x is not a flag');
});

test('a switch takes no value', () => {
  expect(refusal(() => read('--quiet=yes'))).toBe('--quiet: expected no value, got "yes"');
});

test.each([
  ['1x', {}, 'a number'],
  ['', {}, 'a number'],
  ['0x10', {}, 'a number'],
  ['Infinity', {}, 'a number'],
  ['1e999', {}, 'a number'],
  ['1.5', { whole: true }, 'a whole number'],
  ['9007199254740993', { whole: true }, 'a whole number'],
  ['0', { min: 1, whole: true }, 'a whole number from 1 up'],
  ['2', { min: 0, max: 1 }, 'a number from 0 to 1'],
  ['2', { max: 1 }, 'a number to 1'],
])('%j is no value for %j', (text, bounds, expected) => {
  const given = read(`--seed=${text}`);
  expect(refusal(() => given.number('seed', bounds))).toBe(
    `--seed: expected ${expected}, got ${JSON.stringify(text)}`,
  );
});

test('too many words and too few are refused', () => {
  expect(refusal(() => readArguments(flags, ['a', 'b'], { words: 1 }))).toBe(
    'too many words: expected 1 after the command, got "b" as well; put a text with spaces in quotes',
  );
  expect(refusal(() => read().word(0, 'MODEL', 'hadal run MODEL'))).toBe(
    'MODEL is missing; usage: hadal run MODEL',
  );
});
