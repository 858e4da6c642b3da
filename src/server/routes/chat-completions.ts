/**
 * Owns: `POST …/chat/completions`, as OpenAI has it and DeepSeek widened it.
 * Refuses to know: how its bodies are read and written (api/openai), how answers are made.
 */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { chatSchema, parseChat } from '../../api/openai/chat-request.ts';
import { chatDocument, chatStream } from '../../api/openai/chat-response.ts';
import type { ServerEnv, ServerParts } from '../context.ts';
import { OPENAI } from '../protocol.ts';
import { respond } from '../respond.ts';
import { answerResponses, jsonBody, OPENAI_BASES } from './openapi-parts.ts';

/** Adds the route under every base that clients of OpenAI and DeepSeek use. */
export function chatCompletions(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  for (const base of OPENAI_BASES) {
    const route = createRoute({
      method: 'post',
      path: `${base}/chat/completions`,
      summary: 'Answer a conversation',
      request: jsonBody(chatSchema),
      responses: answerResponses,
    });
    app.openAPIRegistry.registerPath(route);
    app.post(route.path, async (c) => {
      const { fields, withoutEffect } = parseChat(c.get('body'));
      const { request, includeUsage } = fields;
      const logprobs = request.topLogprobs !== undefined;
      return respond(c, parts, request, {
        protocol: OPENAI,
        idPrefix: 'chatcmpl-',
        stream: (context) => chatStream(context, { includeUsage, logprobs }),
        document: (deltas, context) => chatDocument(deltas, context, { logprobs }),
        withoutEffect,
      });
    });
  }
}
