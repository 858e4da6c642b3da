/**
 * Owns: `POST /api/pull` and `DELETE /api/delete`, as Ollama has them.
 * Refuses to know: how their bodies are read and written (api/ollama), how models are fetched.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import {
  deleteSchema,
  PULLED,
  type PullStep,
  parseDelete,
  parsePull,
  pullLine,
  pullSchema,
} from '../../api/ollama/pull.ts';
import { problemOf } from '../../http/problems.ts';
import { LINES, type SseItem, streamBody, streamHeaders } from '../../http/sse.ts';
import type { ServerEnv, ServerParts } from '../context.ts';
import { OLLAMA } from '../protocol.ts';
import { deleteModel, pullModel } from '../pulling.ts';
import { nameWithoutEffect } from '../respond.ts';
import { describePost, jsonBody } from './openapi-parts.ts';

const responses = {
  200: { description: 'Done; of a pull lines of JSON, unless `stream` is false' },
  400: { description: 'The request is wrong; the error says where' },
  401: { description: 'No key, or a wrong one' },
  403: { description: 'A key that may not do this' },
  404: { description: 'No such model' },
  409: { description: 'Not while it is in use or pinned' },
  502: { description: 'It could not be fetched' },
} as const;

/** Adds both routes. */
export function ollamaPull(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  describePost(app, '/api/pull', 'Fetch a model and serve it', pullSchema, responses);
  app.post('/api/pull', async (c) => {
    const { fields, withoutEffect } = parsePull(c.get('body'));
    const steps = pullModel(c, parts, fields.model);
    nameWithoutEffect(c, withoutEffect);
    if (!fields.stream) {
      // Nobody is told of it, so nobody else would notice that the client has left.
      c.req.raw.signal.addEventListener('abort', () => void steps.return?.(), { once: true });
      for await (const _ of steps);
      return c.json(PULLED);
    }
    const body = streamBody(lines(steps), {
      framing: LINES,
      pingMs: parts.pingMs,
      onLeave: () => void steps.return?.(),
    });
    return c.body(body, 200, streamHeaders(LINES, c.env?.incoming?.httpVersion));
  });
  app.openAPIRegistry.registerPath({
    method: 'delete',
    path: '/api/delete',
    summary: 'Remove a model that was fetched',
    request: jsonBody(deleteSchema),
    responses,
  });
  app.delete('/api/delete', async (c) => {
    const { fields, withoutEffect } = parseDelete(c.get('body'));
    nameWithoutEffect(c, withoutEffect);
    await deleteModel(c, parts, fields.model);
    return c.body(null, 200);
  });
}

async function* lines(steps: AsyncIterableIterator<PullStep>): AsyncGenerator<SseItem> {
  try {
    for await (const step of steps) yield pullLine(step);
  } catch (error) {
    yield* OLLAMA.streamError(problemOf(error));
  }
}
