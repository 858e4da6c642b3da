/**
 * Owns: `GET /` and the files of the page, each under its exact path.
 * Refuses to know: where they come from, what they do.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ServerContext, ServerEnv, ServerParts } from '../context.ts';
import type { PageFile } from '../page.ts';

/** Adds a route for each file. They are for browsers, so the OpenAPI document does not list them. */
export function page(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  for (const [path, file] of parts.page) app.get(path, (c) => send(c, file));
}

function send(c: ServerContext, { body, gzip, etag, headers }: PageFile): Response {
  for (const [name, value] of Object.entries(headers)) c.header(name, value);
  c.header('etag', etag);
  if (c.req.header('if-none-match') === etag) return c.body(null, 304);
  if (!/\bgzip\b/.test(c.req.header('accept-encoding') ?? '')) return c.body(body);
  c.header('content-encoding', 'gzip');
  return c.body(gzip);
}
