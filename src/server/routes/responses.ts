/**
 * Owns: `POST …/responses`, as OpenAI has it.
 * Refuses to know: how its bodies are read and written (api/openai), how answers are made.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { parseResponses, responsesSchema } from '../../api/openai/response-request.ts';
import { responseDocument, responseStream } from '../../api/openai/response-response.ts';
import type { ServerEnv, ServerParts } from '../context.ts';
import { RESPONSES } from '../protocol.ts';
import { respond } from '../respond.ts';
import { describePost } from './openapi-parts.ts';

/** Adds the route under OpenAI's base, and under none as its other routes. */
export function responses(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  for (const base of ['/v1', '']) {
    describePost(app, `${base}/responses`, 'Answer a conversation of items', responsesSchema);
    app.post(`${base}/responses`, async (c) => {
      const { fields, withoutEffect } = parseResponses(c.get('body'));
      const { request, echo } = fields;
      return respond(c, parts, request, {
        protocol: RESPONSES,
        idPrefix: 'resp_',
        stream: (context) => responseStream(context, echo),
        document: (deltas, context) => responseDocument(deltas, context, echo),
        withoutEffect,
      });
    });
  }
}
