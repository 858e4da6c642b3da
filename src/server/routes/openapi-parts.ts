/**
 * Owns: what routes have in common in the OpenAPI document, and the bases under which OpenAI's routes are found.
 * Refuses to know: any one route.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import type { ServerEnv } from '../context.ts';

/** OpenAI's base, DeepSeek's, and DeepSeek's for what it calls beta. */
export const OPENAI_BASES = ['/v1', '', '/beta', '/beta/v1'] as const;

/** A required JSON body. */
export const jsonBody = (schema: z.ZodType) => ({
  body: { required: true, content: { 'application/json': { schema } } },
});

/** A model in the path. */
export const modelInPath = { params: z.object({ model: z.string() }) };

/** What a route that answers gives back. */
export const answerResponses = {
  200: { description: 'The answer: one JSON document, or server-sent events with `stream: true`' },
  400: { description: 'The request is wrong; the error says where' },
  401: { description: 'No key, or a wrong one' },
  404: { description: 'No such model' },
  429: { description: 'Too much at once; `Retry-After` says when to try again' },
  503: { description: 'The model cannot answer now' },
} as const;

/** What a route of the document gives back, by status. */
type Responses = Readonly<Record<number, { readonly description: string }>>;

/**
 * Puts a POST route with a JSON body into the OpenAPI document.
 *
 * @param responses those of a route that answers, when absent
 * @example describePost(app, '/infill', 'Fill in the middle', infillSchema);
 */
export function describePost(
  app: OpenAPIHono<ServerEnv>,
  path: string,
  summary: string,
  schema: z.ZodType,
  responses: Responses = answerResponses,
): void {
  app.openAPIRegistry.registerPath({ method: 'post', path, summary, request: jsonBody(schema), responses });
}
