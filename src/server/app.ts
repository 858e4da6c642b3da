/**
 * Owns: the HTTP application: what every request passes, in which order, and the table of routes.
 * Refuses to know: sockets, processes, what any route does.
 */
import { OpenAPIHono } from '@hono/zod-openapi';
import { cors } from 'hono/cors';
import { requestId } from 'hono/request-id';
import { secureHeaders } from 'hono/secure-headers';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { HadalError } from '../error.ts';
import { checkHost } from '../http/host-check.ts';
import { limitBody, readJson } from '../http/json-body.ts';
import { problemOf } from '../http/problems.ts';
import type { ServerContext, ServerEnv, ServerParts } from './context.ts';
import { protocolOf } from './protocol.ts';
import { chatCompletions } from './routes/chat-completions.ts';
import { models } from './routes/models.ts';

/** Every group of routes; each adds itself and describes itself for the OpenAPI document. */
const ROUTES = [chatCompletions, models] as const;

/**
 * The application.
 *
 * @example const app = createApp(parts); await app.request('/v1/models', { headers: { host: 'localhost' } });
 */
export function createApp(parts: ServerParts): OpenAPIHono<ServerEnv> {
  const app = new OpenAPIHono<ServerEnv>();
  const bodyLimits = { maxBytes: parts.limits.maxBodyBytes, maxDepth: parts.limits.maxDepth };
  app.onError((error, c) => failed(c as ServerContext, error, parts));
  app.notFound((c) => {
    throw new HadalError('route-unknown', {
      what: `${c.req.method} ${c.req.path.slice(0, 200)}`,
      expected: 'a route of this server',
      next: 'GET /openapi.json lists them',
    });
  });
  // Ids are ours: a caller's own would be written into logs as it is.
  app.use(requestId({ limitLength: 0 }));
  app.use(secureHeaders());
  app.use(checkHost(parts));
  app.use(cors({ origin: [...parts.origins], allowMethods: ['GET', 'POST'] }));
  app.use(limitBody(bodyLimits));
  app.use(readJson(bodyLimits));
  for (const add of ROUTES) add(app, parts);
  return app;
}

function failed(c: ServerContext, error: unknown, parts: ServerParts): Response {
  const problem = problemOf(error);
  if (problem.status >= 500) parts.onError(error, c.get('requestId'));
  const headers: Record<string, string> = {};
  if (problem.retryAfterSeconds !== undefined) headers['retry-after'] = `${problem.retryAfterSeconds}`;
  if (problem.status === 401) headers['www-authenticate'] = 'Bearer realm="hadal"';
  const body = protocolOf(c.req.path).error(problem);
  return c.json(body, problem.status as ContentfulStatusCode, headers);
}
