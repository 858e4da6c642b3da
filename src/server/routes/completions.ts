/**
 * Owns: `POST …/completions`: OpenAI's, and DeepSeek's fill-in-the-middle.
 * Refuses to know: how its bodies are read and written (api/openai), how answers are made.
 */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { completionSchema, parseCompletion } from '../../api/openai/completion-request.ts';
import { completionDocument, completionStream } from '../../api/openai/completion-response.ts';
import type { ServerEnv, ServerParts } from '../context.ts';
import { OPENAI } from '../protocol.ts';
import { respond } from '../respond.ts';
import { answerResponses, jsonBody, OPENAI_BASES } from './openapi-parts.ts';

/** Adds the route under every base that clients of OpenAI and DeepSeek use. */
export function completions(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  for (const base of OPENAI_BASES) {
    const route = createRoute({
      method: 'post',
      path: `${base}/completions`,
      summary: 'Continue a text, or fill in its middle',
      request: jsonBody(completionSchema),
      responses: answerResponses,
    });
    app.openAPIRegistry.registerPath(route);
    app.post(route.path, async (c) => {
      const { fields, withoutEffect } = parseCompletion(c.get('body'));
      return respond(c, parts, fields.request, {
        protocol: OPENAI,
        idPrefix: 'cmpl-',
        stream: (context) => completionStream(context, fields),
        document: (deltas, context) => completionDocument(deltas, context, fields),
        withoutEffect,
      });
    });
  }
}
