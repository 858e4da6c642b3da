/**
 * Owns: `GET /metrics`, in Prometheus' text format.
 * Refuses to know: what is counted.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ServerEnv, ServerParts } from '../context.ts';
import { measureEngines } from '../observing.ts';
import { demandRule } from '../visible.ts';

/** Adds the route. */
export function metrics(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/metrics',
    summary: 'Metrics for Prometheus',
    responses: {
      200: { description: "Prometheus' text format" },
      403: { description: 'A key of some models only' },
    },
  });
  app.get('/metrics', async (c) => {
    // They are of all models, and of everybody.
    demandRule(c.get('key'), 'the metrics');
    const { metrics: all } = parts.observers;
    await measureEngines(all, parts.models);
    all.openRequests.set(parts.limiter.open);
    return c.body(await all.registry.metrics(), 200, { 'content-type': all.registry.contentType });
  });
}
