/**
 * Owns: how much each caller, and all together, may have at once: places, rates, when to come again.
 * Refuses to know: what is asked, who runs when (the engine's scheduler).
 */
import type { ApiKey } from './keys.ts';
import { RetryError } from './problems.ts';

/** Bounds for everybody together. */
export interface LimiterOptions {
  /** Requests that are answered or wait for it. */
  readonly maxOpen: number;
}

/** A place among the open requests. */
export interface Place {
  /** Gives the place back; later calls do nothing. */
  leave(): void;
}

/** Hands out places. */
export interface Limiter {
  /**
   * A place for a caller; `key` is undefined where none is asked for.
   *
   * @throws RetryError `key-busy`, `rate-limited`, `queue-full`, each with the time to wait
   */
  enter(key: ApiKey | undefined): Place;
  readonly open: number;
}

const MINUTE_MS = 60_000;
/** Weight of the newest request in the mean time that requests take. */
const NEWEST = 0.1;
const LONGEST_WAIT_SECONDS = 60;

interface Caller {
  open: number;
  /** Requests that may begin now, with a fraction; refilled as time passes. */
  allowance: number;
  filledMs: number;
}

/**
 * Makes a limiter.
 *
 * @example const place = limiter.enter(key); try { await answer(); } finally { place.leave(); }
 */
export function createLimiter({ maxOpen }: LimiterOptions, now = () => performance.now()): Limiter {
  const callers = new Map<string, Caller>();
  let open = 0;
  let meanMs = 1000;

  const callerOf = (key: ApiKey): Caller => {
    const known = callers.get(key.name);
    if (known !== undefined) return known;
    const caller = { open: 0, allowance: key.limits.perMinute ?? 0, filledMs: now() };
    callers.set(key.name, caller);
    return caller;
  };

  const spend = (key: ApiKey, caller: Caller): void => {
    const { concurrent, perMinute } = key.limits;
    if (concurrent !== undefined && caller.open >= concurrent) {
      throw refusal(
        'key-busy',
        `at most ${concurrent} requests at the same time`,
        meanMs / 1000 / concurrent,
      );
    }
    if (perMinute === undefined) return;
    const nowMs = now();
    const gained = ((nowMs - caller.filledMs) / MINUTE_MS) * perMinute;
    caller.allowance = Math.min(perMinute, caller.allowance + gained);
    caller.filledMs = nowMs;
    if (caller.allowance < 1) {
      const seconds = ((1 - caller.allowance) * MINUTE_MS) / perMinute / 1000;
      throw refusal('rate-limited', `at most ${perMinute} requests in a minute`, seconds);
    }
    caller.allowance--;
  };

  return {
    enter(key) {
      if (open >= maxOpen) throw refusal('queue-full', `at most ${maxOpen} open requests`, meanMs / 1000);
      const caller = key && callerOf(key);
      if (key && caller) spend(key, caller);
      open++;
      if (caller) caller.open++;
      const startedMs = now();
      let left = false;
      return {
        leave() {
          if (left) return;
          left = true;
          open--;
          if (caller) caller.open--;
          meanMs += NEWEST * (now() - startedMs - meanMs);
        },
      };
    },
    get open() {
      return open;
    },
  };
}

function refusal(code: string, expected: string, waitSeconds: number): RetryError {
  const seconds = Math.min(LONGEST_WAIT_SECONDS, Math.max(1, Math.ceil(waitSeconds)));
  const next = `try again in ${seconds} s`;
  const what = code === 'queue-full' ? 'this server' : 'this key';
  return new RetryError(code, { what, expected, got: 'one more', next }, seconds);
}
