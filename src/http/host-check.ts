/**
 * Owns: which Host and Origin a request may name, on every address that is listened on.
 * Refuses to know: routes, keys. Routing never reads the Host.
 *
 * A page on the web can make a browser send requests here under its own name (DNS rebinding); its name gives it away.
 */
import type { MiddlewareHandler } from 'hono';
import { HadalError } from '../error.ts';

/** What may be named. */
export interface HostRules {
  /** Host names beside this machine's loopback names, lower case, without ports. */
  readonly hosts: readonly string[];
  /** Origins of pages that may call, e.g. `https://desk.example.org`; exact. */
  readonly origins: readonly string[];
}

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];
const HOST = /^(?<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?<port>\d{1,5}))?$/;

/** Refuses requests whose Host or Origin is not one of ours. */
export function checkHost(rules: HostRules): MiddlewareHandler {
  const names = new Set([...LOOPBACK, ...rules.hosts]);
  const origins = new Set(rules.origins);
  return async (c, next) => {
    const host = c.req.header('host');
    const name = hostName(host);
    if (name === undefined || !names.has(name)) {
      throw new HadalError('host-refused', {
        what: 'the Host header',
        expected: 'a name that this server has been given',
        got: 'another',
        next: 'add it to `hosts` in the configuration (or --allow-host)',
      });
    }
    const origin = c.req.header('origin');
    if (origin !== undefined && !origins.has(origin) && !isOwnOrigin(origin, host!)) {
      throw new HadalError('origin-refused', {
        what: 'the Origin header',
        expected: 'the page of this server itself, or one it has been told of',
        got: 'another',
        next: 'add it to `origins` in the configuration (or --allow-origin)',
      });
    }
    return next();
  };
}

/**
 * The name in a Host header, without its port; undefined where it is no plain name.
 *
 * @example hostName('LOCALHOST:11434'); // 'localhost'
 */
export function hostName(host: string | undefined): string | undefined {
  return HOST.exec(host?.toLowerCase() ?? '')?.groups?.name;
}

function isOwnOrigin(origin: string, host: string): boolean {
  return origin === `http://${host.toLowerCase()}` || origin === `https://${host.toLowerCase()}`;
}

/**
 * What is wrong with a request before it is read: a target that names a server itself, no Host header, several, or one
 * that is no name.
 *
 * @param rawHeaders names and values in turn, as Node has them
 * @returns the error, or undefined
 */
export function requestLineError(
  target: string | undefined,
  rawHeaders: readonly string[],
): HadalError | undefined {
  const hosts = rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === 'host');
  const next = 'send it to this server directly';
  if (!target?.startsWith('/')) {
    const got = 'one of another form';
    return new HadalError('request-line-refused', { what: 'the target', expected: 'a path', got, next });
  }
  if (hosts.length === 1 && hostName(hosts[0]) !== undefined) return undefined;
  const got = hosts.length === 1 ? 'something else' : `${hosts.length} headers`;
  return new HadalError('request-line-refused', { what: 'Host', expected: 'one name', got, next });
}
