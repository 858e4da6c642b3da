/**
 * Owns: what routes have in common in the OpenAPI document, and the bases under which OpenAI's routes are found.
 * Refuses to know: any one route.
 */
import type { z } from 'zod';

/** OpenAI's base, DeepSeek's, and DeepSeek's for what it calls beta. */
export const OPENAI_BASES = ['/v1', '', '/beta', '/beta/v1'] as const;

/** A required JSON body. */
export const jsonBody = (schema: z.ZodType) => ({
  body: { required: true, content: { 'application/json': { schema } } },
});

/** What a route that answers gives back. */
export const answerResponses = {
  200: { description: 'The answer: one JSON document, or server-sent events with `stream: true`' },
  400: { description: 'The request is wrong; the error says where' },
  401: { description: 'No key, or a wrong one' },
  404: { description: 'No such model' },
  429: { description: 'Too much at once; `Retry-After` says when to try again' },
  503: { description: 'The model cannot answer now' },
} as const;
