/**
 * Owns: `POST …/v1/messages` and `POST …/v1/messages/count_tokens`, as Anthropic has them.
 * Refuses to know: how their bodies are read and written (api/anthropic), how answers are made.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import {
  countSchema,
  messagesSchema,
  parseCount,
  parseMessages,
} from '../../api/anthropic/message-request.ts';
import { messageDocument, messageStream } from '../../api/anthropic/message-response.ts';
import { conversationOptions } from '../answering.ts';
import type { ServerEnv, ServerParts } from '../context.ts';
import { ANTHROPIC } from '../protocol.ts';
import { respond, WITHOUT_EFFECT_HEADER } from '../respond.ts';
import { withModel } from '../using.ts';
import { answerResponses, jsonBody } from './openapi-parts.ts';

/** Anthropic's own base, and the one under which DeepSeek's API has it. */
const BASES = ['/v1', '/anthropic/v1'] as const;

/** Adds both routes under every base. */
export function messages(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  for (const base of BASES) {
    app.openAPIRegistry.registerPath({
      method: 'post',
      path: `${base}/messages`,
      summary: "Answer a conversation, in Anthropic's terms",
      request: jsonBody(messagesSchema),
      responses: answerResponses,
    });
    app.post(`${base}/messages`, async (c) => {
      const { fields, withoutEffect } = parseMessages(c.get('body'));
      // Where Anthropic's clients look for it.
      c.header('request-id', c.get('requestId'));
      return respond(c, parts, fields, {
        protocol: ANTHROPIC,
        idPrefix: 'msg_',
        stream: messageStream,
        document: messageDocument,
        withoutEffect,
      });
    });
    app.openAPIRegistry.registerPath({
      method: 'post',
      path: `${base}/messages/count_tokens`,
      summary: 'Count the tokens of a conversation',
      request: jsonBody(countSchema),
      responses: answerResponses,
    });
    app.post(`${base}/messages/count_tokens`, async (c) => {
      const { fields, withoutEffect } = parseCount(c.get('body'));
      if (withoutEffect.length > 0) c.header(WITHOUT_EFFECT_HEADER, withoutEffect.join(', '));
      const inputTokens = await withModel(c, parts, fields.model, ({ answerer }) =>
        answerer.countTokens(fields.messages, conversationOptions(fields, answerer)),
      );
      return c.json({ input_tokens: inputTokens });
    });
  }
}
