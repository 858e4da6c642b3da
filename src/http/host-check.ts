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
 * What is wrong with a request before it is read: a target that names a server itself or holds a backslash, no Host header,
 * several, or one that is no name.
 *
 * @param rawHeaders names and values in turn, as Node has them
 * @returns the error, or undefined
 */
export function requestLineError(
  target: string | undefined,
  rawHeaders: readonly string[],
): HadalError | undefined {
  const hosts = rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === 'host');
  if (!target?.startsWith('/')) return lineError('the target', 'a path', 'one of another form');
  if (target.split('?')[0]!.includes('\\')) return lineError('the target', 'a path', 'a backslash in it');
  if (hosts.length !== 1) return lineError('Host', 'one name', `${hosts.length} headers`);
  const [host = ''] = hosts;
  // What a URL reads as another name (127.1, 0x7f.1) is none.
  const same = URL.canParse(`http://${host}`) && new URL(`http://${host}`).hostname === hostName(host);
  return same ? undefined : lineError('Host', 'one name', 'something else');
}

function lineError(what: string, expected: string, got: string): HadalError {
  return new HadalError('request-line-refused', {
    what,
    expected,
    got,
    next: 'send it to this server directly',
  });
}

/**
 * What is wrong with what Node could not read as a request.
 *
 * @param code of Node's error
 * @example unreadableError('HPE_HEADER_OVERFLOW', 16_384).code; // 'headers-too-large'
 */
export function unreadableError(code: string | undefined, maxHeaderBytes: number): HadalError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new HadalError('headers-too-large', {
        what: 'the headers of the request',
        expected: `at most ${maxHeaderBytes} bytes`,
        got: 'more',
        next: 'send fewer or shorter ones',
      });
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new HadalError('request-too-slow', {
        what: 'the request',
        expected: 'all of it in time',
        got: 'a part',
        next: 'send it again at once',
      });
    default:
      return lineError('the request', 'HTTP/1.1', 'something else');
  }
}
