import { expect, test } from 'vitest';
import { newKey } from './keys.ts';
import { createLimiter } from './limits.ts';
import { RetryError } from './problems.ts';

const keyOf = (name: string, limits: { concurrent?: number; perMinute?: number }) =>
  newKey({ name, models: ['*'], limits }).key;

/** A limiter with a clock in hand, and what refusals say. */
function setUp(maxOpen = 100) {
  const clock = { ms: 0 };
  const limiter = createLimiter({ maxOpen }, () => clock.ms);
  const refusal = (key: Parameters<typeof limiter.enter>[0]) => {
    try {
      limiter.enter(key).leave();
      return undefined;
    } catch (error) {
      if (!(error instanceof RetryError)) throw error;
      return { code: error.code, seconds: error.retryAfterSeconds };
    }
  };
  return { limiter, clock, refusal };
}

test('so many of one key at the same time; others go on', () => {
  const { limiter, refusal } = setUp();
  const key = keyOf('a', { concurrent: 2 });
  const places = [limiter.enter(key), limiter.enter(key)];
  expect(refusal(key)).toMatchObject({ code: 'key-busy' });
  expect(refusal(keyOf('b', { concurrent: 1 }))).toBeUndefined();
  places[0]!.leave();
  // A place that is given back twice is one place.
  places[0]!.leave();
  expect(limiter.open).toBe(1);
  limiter.enter(key);
  expect(refusal(key)).toMatchObject({ code: 'key-busy' });
});

test('so many in a minute, refilled as time passes, with the time to wait', () => {
  const { refusal, clock } = setUp();
  const key = keyOf('a', { perMinute: 6 });
  for (let i = 0; i < 6; i++) expect(refusal(key)).toBeUndefined();
  expect(refusal(key)).toEqual({ code: 'rate-limited', seconds: 10 });
  clock.ms += 4_000;
  expect(refusal(key)).toEqual({ code: 'rate-limited', seconds: 6 });
  clock.ms += 6_000;
  expect(refusal(key)).toBeUndefined();
  clock.ms += 3_600_000;
  for (let i = 0; i < 6; i++) expect(refusal(key)).toBeUndefined();
  expect(refusal(key)).toMatchObject({ code: 'rate-limited' });
});

test('so many altogether, keys or none; who is told to wait waits about as long as requests take', () => {
  const { limiter, refusal, clock } = setUp(1);
  for (let i = 0; i < 100; i++) {
    const place = limiter.enter(undefined);
    clock.ms += 7_000;
    place.leave();
  }
  const place = limiter.enter(undefined);
  expect(refusal(undefined)).toEqual({ code: 'queue-full', seconds: 7 });
  place.leave();
  expect(refusal(undefined)).toBeUndefined();
});
