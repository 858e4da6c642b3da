import { expect, test } from 'vitest';
import { HadalError } from '../error.ts';
import { EXIT_CODES, exitCodeOf, usageError } from './exit-codes.ts';

test.each([
  [usageError({ what: 'x' }), 2],
  [new HadalError('interrupted', { what: 'x' }), 130],
  [new HadalError('terminated', { what: 'x' }), 143],
  [new HadalError('model-unknown', { what: 'x' }), 1],
  [new Error('x'), 1],
  ['x', 1],
])('%s', (error, code) => {
  expect(exitCodeOf(error)).toBe(code);
  expect(EXIT_CODES.map((entry) => entry.code)).toContain(code);
});
