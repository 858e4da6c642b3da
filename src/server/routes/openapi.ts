/**
 * Owns: `GET /openapi.json`: every route of this server, described.
 * Refuses to know: any of them.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ServerEnv, ServerParts } from '../context.ts';

/** Adds the route. The document is made once, at the first request: all routes are there by then. */
export function openapi(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  let document: object | undefined;
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/openapi.json',
    summary: 'This document',
    responses: { 200: { description: 'OpenAPI 3.1' } },
  });
  app.openAPIRegistry.registerComponent('securitySchemes', 'key', { type: 'http', scheme: 'bearer' });
  app.get('/openapi.json', (c) => {
    document ??= app.getOpenAPI31Document({
      openapi: '3.1.0',
      info: { title: 'Hadal', version: parts.version },
      security: [{ key: [] }],
    });
    return c.json(document);
  });
}
