/**
 * Owns: a slice of scripts/kill-pull.mjs in CI.
 * Refuses to know: how fetching works.
 */
import { expect, test } from 'vitest';
import { killPull } from '../../scripts/kill-pull.mjs';

test('a fetch that is killed at random moments goes on, and what comes out is right', {
  timeout: 600_000,
}, async () => {
  const { right, wrong, kills } = await killPull({ kills: 3, seed: 11, bytes: 16_000_000 });
  expect(wrong).toEqual([]);
  expect(right).toBe(kills);
});
