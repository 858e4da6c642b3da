/**
 * Owns: letting a request in by its key, before any route sees it.
 * Refuses to know: what the routes do, how limits are kept.
 */
import type { MiddlewareHandler } from 'hono';
import { HadalError } from '../error.ts';
import { credentialOf } from './credentials.ts';
import type { ApiKey, KeyRing } from './keys.ts';

/** What {@link checkKey} leaves for the route. */
export interface AuthEnv {
  readonly Variables: { key: ApiKey | undefined };
}

/**
 * Refuses requests without a right key. Everything is closed but the `open` paths, compared with the very path that the
 * routes are found by.
 */
export function checkKey(keys: KeyRing, open: ReadonlySet<string>): MiddlewareHandler<AuthEnv> {
  return async (c, next) => {
    if (!keys.required || open.has(c.req.path)) return next();
    const secret = credentialOf(c.req.raw.headers);
    if (secret === undefined) {
      throw new HadalError('key-missing', {
        what: 'the request',
        expected: 'a key in `Authorization: Bearer KEY` or `x-api-key`',
        got: 'none',
        next: 'ask whoever runs this server for one',
      });
    }
    const key = keys.find(secret);
    if (key === undefined) {
      throw new HadalError('key-wrong', {
        what: 'the key of the request',
        expected: 'one of this server',
        got: 'another',
        next: 'ask whoever runs this server for one',
      });
    }
    c.set('key', key);
    return next();
  };
}
