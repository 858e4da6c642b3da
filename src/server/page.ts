/**
 * Owns: the files of the page as they were built, in memory, with the headers that keep it to this server.
 * Refuses to know: what the page does, how it is built, routes.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

/** A file of the page. */
export interface PageFile {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly gzip: Uint8Array<ArrayBuffer>;
  readonly etag: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** The files by their exact paths; `/` is the page itself. */
export type Page = ReadonlyMap<string, PageFile>;

/**
 * Nothing from elsewhere, nothing inline, nothing that is made from text: what a model writes can never run, and what is
 * said here can be sent nowhere but to this server.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * Reads the built page; empty where it has not been built.
 *
 * @example readPage().get('/')?.headers['content-security-policy'];
 */
export function readPage(folder = builtFolder()): Page {
  if (!existsSync(join(folder, 'index.html'))) return new Map();
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) =>
    name.replaceAll('\\', '/'),
  );
  const known = names.filter((name) => extname(name) in TYPES);
  return new Map(
    known.map((name) => [name === 'index.html' ? '/' : `/${name}`, pageFile(join(folder, name), name)]),
  );
}

/** Beside this file once it is compiled, or where a checkout has been built when this is the source. */
function builtFolder(): string {
  const beside = fileURLToPath(new URL('../web', import.meta.url));
  const built = fileURLToPath(new URL('../../dist/web', import.meta.url));
  return existsSync(beside) ? beside : built;
}

function pageFile(path: string, name: string): PageFile {
  const body = new Uint8Array(readFileSync(path));
  // Names of assets hold a hash of what is in them.
  const lasting = name.startsWith('assets/');
  return {
    body,
    gzip: new Uint8Array(gzipSync(body, { level: 9 })),
    etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`,
    headers: {
      'content-type': TYPES[extname(name)]!,
      'cache-control': lasting ? 'public, max-age=31536000, immutable' : 'no-cache',
      'content-security-policy': POLICY,
      'permissions-policy': 'camera=(), geolocation=(), microphone=()',
      vary: 'accept-encoding',
    },
  };
}
