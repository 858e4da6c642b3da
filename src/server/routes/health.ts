/**
 * Owns: `GET /healthz` (the process answers) and `GET /readyz` (it can take requests).
 * Refuses to know: how models are loaded.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ServerEnv, ServerParts } from '../context.ts';

/** Adds both routes. They say nothing but yes or no, so they are open. */
export function health(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  const responses = { 200: { description: 'Yes' }, 503: { description: 'No, or not yet' } };
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/healthz',
    summary: 'Does the process answer?',
    security: [],
    responses,
  });
  app.get('/healthz', (c) => c.json({ status: 'ok' }));
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/readyz',
    summary: 'Can it take requests?',
    security: [],
    responses,
  });
  app.get('/readyz', (c) => {
    const pinned = parts.models.status().filter((one) => one.pinned);
    const ready = !parts.closing.aborted && pinned.every(({ state }) => state === 'ready');
    return ready ? c.json({ status: 'ok' }) : c.json({ status: 'not ready' }, 503);
  });
}
