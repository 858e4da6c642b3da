/**
 * Owns: the flags that say how an answer is chosen, for every command that answers.
 * Refuses to know: engines, terminals.
 */
import type { ArgsDef } from 'citty';
import type { Sampling } from '../engine/request.ts';
import type { Arguments } from './arguments.ts';

/** The definitions of the flags. */
export const SAMPLING_FLAGS = {
  temperature: {
    type: 'string',
    alias: ['t', 'temp'],
    valueHint: 'X',
    description: '0 always takes the likeliest token',
  },
  'top-k': { type: 'string', valueHint: 'N', description: 'choose among the N likeliest tokens; 0 is all' },
  'top-p': {
    type: 'string',
    valueHint: 'X',
    description: 'choose among the likeliest that together reach X',
  },
  'min-p': {
    type: 'string',
    valueHint: 'X',
    description: 'only tokens at least X times as likely as the best',
  },
  'repetition-penalty': {
    type: 'string',
    valueHint: 'X',
    description: 'above 1: tokens of the text become less likely',
  },
  'presence-penalty': {
    type: 'string',
    valueHint: 'X',
    description: 'taken from scores of tokens answered before',
  },
  'frequency-penalty': { type: 'string', valueHint: 'X', description: 'the same, for each time they occur' },
  seed: { type: 'string', valueHint: 'N', description: 'same seed, same prompt, same answer' },
} as const satisfies ArgsDef;

/**
 * The sampling that was asked for; only the given fields.
 *
 * @throws HadalError `usage` for a value out of range.
 * @example samplingOf(given); // { temperature: 0 }
 */
export function samplingOf(given: Arguments): Partial<Sampling> {
  return dropUndefined({
    temperature: given.number('temperature', { min: 0, max: 100 }),
    topK: given.number('top-k', { min: 0, whole: true }),
    topP: given.number('top-p', { min: 0, max: 1 }),
    minP: given.number('min-p', { min: 0, max: 1 }),
    repetitionPenalty: given.number('repetition-penalty', { min: 0.01, max: 100 }),
    presencePenalty: given.number('presence-penalty', { min: -2, max: 2 }),
    frequencyPenalty: given.number('frequency-penalty', { min: -2, max: 2 }),
    seed: given.number('seed', { min: 0, max: Number.MAX_SAFE_INTEGER, whole: true }),
  });
}

/**
 * Sampling in words. Example: `describeSampling({ temperature: 0.2, topP: 0.9 })` is `temperature 0.2, top-p 0.9`.
 */
export function describeSampling(sampling: Sampling): string {
  if (sampling.temperature === 0) return 'temperature 0 (always the likeliest token)';
  const named: readonly (readonly [string, number | undefined])[] = [
    ['temperature', sampling.temperature],
    ['top-k', sampling.topK],
    ['top-p', sampling.topP],
    ['min-p', sampling.minP],
    ['repetition penalty', sampling.repetitionPenalty],
    ['presence penalty', sampling.presencePenalty],
    ['frequency penalty', sampling.frequencyPenalty],
    ['seed', sampling.seed],
  ];
  return named
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}

function dropUndefined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
