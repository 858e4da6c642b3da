/**
 * Owns: the HTTP application: what every request passes, in which order, and the table of routes.
 * Refuses to know: sockets, processes, what any route does.
 */
import { OpenAPIHono } from '@hono/zod-openapi';
import { cors } from 'hono/cors';
import { requestId } from 'hono/request-id';
import { routePath } from 'hono/route';
import { secureHeaders } from 'hono/secure-headers';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { HadalError } from '../error.ts';
import { checkKey } from '../http/auth.ts';
import { checkHost } from '../http/host-check.ts';
import { readJson } from '../http/json-body.ts';
import { problemOf } from '../http/problems.ts';
import type { ServerContext, ServerEnv, ServerParts } from './context.ts';
import { wordsOf } from './observing.ts';
import { protocolOf } from './protocol.ts';
import { WITHOUT_EFFECT_HEADER } from './respond.ts';
import { chatCompletions } from './routes/chat-completions.ts';
import { completions } from './routes/completions.ts';
import { embeddings } from './routes/embeddings.ts';
import { health } from './routes/health.ts';
import { llamaCpp } from './routes/llama-cpp.ts';
import { machine } from './routes/machine.ts';
import { messages } from './routes/messages.ts';
import { metrics } from './routes/metrics.ts';
import { models } from './routes/models.ts';
import { ollama } from './routes/ollama.ts';
import { ollamaPull } from './routes/ollama-pull.ts';
import { openapi } from './routes/openapi.ts';
import { page } from './routes/page.ts';
import { responses } from './routes/responses.ts';

/** Every group of routes; each adds itself and describes itself for the OpenAPI document. */
const ROUTES = [
  chatCompletions,
  completions,
  responses,
  embeddings,
  messages,
  ollama,
  ollamaPull,
  llamaCpp,
  models,
  machine,
  health,
  metrics,
  openapi,
  page,
] as const;

/** Methods that routes have. */
const METHODS = ['GET', 'POST', 'DELETE'] as const;

/** Headers of ours, and those that clients wait and retry by, for pages elsewhere that may call. */
const TOLD_HEADERS = [
  'x-request-id',
  'request-id',
  'retry-after',
  'x-should-retry',
  WITHOUT_EFFECT_HEADER,
] as const;

/** Paths that need no key, exactly so; the files of the page, which asks for one itself, come to them. */
const OPEN_PATHS = ['/healthz', '/readyz'] as const;

/**
 * The application.
 *
 * @example const app = createApp(parts); await app.request('/v1/models', { headers: { host: 'localhost' } });
 */
export function createApp(parts: ServerParts): OpenAPIHono<ServerEnv> {
  const app = new OpenAPIHono<ServerEnv>();
  app.onError((error, c) => failed(c as ServerContext, error, parts));
  // Ids are ours: a caller's own would be written into logs as it is.
  app.use(requestId({ limitLength: 0 }));
  app.use(counted(parts));
  app.use(secureHeaders({ xFrameOptions: 'DENY' }));
  app.use(checkHost(parts.hostRules));
  const origin = [...parts.hostRules.origins];
  const exposeHeaders = origin.length === 0 ? [] : [...TOLD_HEADERS];
  app.use(cors({ origin, allowMethods: [...METHODS], exposeHeaders }));
  app.use(checkKey(parts.keys, new Set([...OPEN_PATHS, ...parts.page.keys()])));
  // What no route has need not be read, and is no matter of what it holds.
  app.use((c, next) => (methodsAt(app, c.req.path).includes(c.req.method) ? next() : notFound(app, c)));
  app.use(readJson(parts.bodyLimits));
  for (const add of ROUTES) add(app, parts);
  return app;
}

/** Counts and logs every request; one that is answered logs itself when its stream is over. */
function counted({ observers: { log, metrics: all } }: ServerParts) {
  return async (c: ServerContext, next: () => Promise<void>) => {
    const startedMs = performance.now();
    await next();
    // A path that no route has is the caller's own text: never a label.
    const path = routePath(c, -1);
    const route = path === '*' || path === '/*' ? 'none' : path;
    const { status } = c.res;
    all.requests.inc({ route, status });
    if (c.get('answering')) return;
    const ms = Math.round(performance.now() - startedMs);
    const fields = { requestId: c.get('requestId'), key: c.get('key')?.name, method: c.req.method };
    log.info({ ...fields, route, status, ms }, 'request');
  };
}

/** Methods by which there are routes at a path. */
function methodsAt(app: OpenAPIHono<ServerEnv>, path: string): readonly string[] {
  const methods = METHODS.filter((method) => {
    const [handlers] = app.router.match(method, path);
    return handlers.some(([[, route]]) => !route.path.endsWith('*'));
  });
  return methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
}

function notFound(app: OpenAPIHono<ServerEnv>, c: ServerContext): never {
  const { path, method } = c.req;
  const methods = methodsAt(app, path);
  const what = `${method.slice(0, 16)} ${path.slice(0, 200)}`;
  if (methods.length > 0) {
    c.header('allow', methods.join(', '));
    const next = 'GET /openapi.json lists the routes';
    throw new HadalError('method-wrong', {
      what,
      expected: methods.join(' or '),
      got: method.slice(0, 16),
      next,
    });
  }
  throw new HadalError('route-unknown', {
    what,
    expected: 'a route of this server',
    next: 'GET /openapi.json lists them',
  });
}

function failed(c: ServerContext, error: unknown, { observers: { log } }: ServerParts): Response {
  const problem = problemOf(error);
  if (problem.status >= 500) {
    log.error({ requestId: c.get('requestId'), error: wordsOf(error) }, 'request failed');
  }
  const headers: Record<string, string> = {};
  if (problem.retryAfterSeconds !== undefined) headers['retry-after'] = `${problem.retryAfterSeconds}`;
  // Clients of OpenAI and Anthropic ask again after any 503 but one that says this.
  if (problem.lasting) headers['x-should-retry'] = 'false';
  if (problem.status === 401) headers['www-authenticate'] = 'Bearer realm="hadal"';
  const body = protocolOf(c.req.path).error(problem);
  return c.json(body, problem.status as ContentfulStatusCode, headers);
}
