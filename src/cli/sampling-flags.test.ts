import { expect, test } from 'vitest';
import { readArguments } from './arguments.ts';
import { describeSampling, SAMPLING_FLAGS, samplingOf } from './sampling-flags.ts';

const sampling = (...raw: string[]) => samplingOf(readArguments(SAMPLING_FLAGS, raw));

test('only what was given', () => {
  expect(sampling()).toEqual({});
  expect(sampling('-t', '0')).toEqual({ temperature: 0 });
  expect(sampling('--temp', '1', '--top-k', '40', '--top-p', '.9', '--min-p', '0.1', '--seed', '7')).toEqual({
    temperature: 1,
    topK: 40,
    topP: 0.9,
    minP: 0.1,
    seed: 7,
  });
  expect(
    sampling('--repetition-penalty', '1.1', '--presence-penalty', '-2', '--frequency-penalty=-0.5'),
  ).toEqual({ repetitionPenalty: 1.1, presencePenalty: -2, frequencyPenalty: -0.5 });
});

test.each([
  ['--temperature', '-1'],
  ['--top-p', '1.1'],
  ['--top-k', '1.5'],
  ['--min-p', '-0.1'],
  ['--repetition-penalty', '0'],
  ['--presence-penalty', '2.1'],
  ['--frequency-penalty', 'much'],
  ['--seed', '-1'],
])('%s %s is refused', (flag, value) => {
  expect(() => sampling(flag, value)).toThrow(`${flag}: expected a`);
});

test('sampling in words', () => {
  expect(describeSampling({ temperature: 0, topP: 0.9 })).toBe('temperature 0 (always the likeliest token)');
  expect(describeSampling({ temperature: 0.2, topP: 0.9, seed: 7 })).toBe(
    'temperature 0.2, top-p 0.9, seed 7',
  );
});
