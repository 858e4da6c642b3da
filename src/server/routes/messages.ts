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
import { nameWithoutEffect, respond } from '../respond.ts';
import { withModel } from '../using.ts';
import { describePost } from './openapi-parts.ts';

/** Anthropic's own base, and the one under which DeepSeek's API has it. */
const BASES = ['/v1', '/anthropic/v1'] as const;

/** Adds both routes under every base. */
export function messages(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  for (const base of BASES) {
    describePost(app, `${base}/messages`, "Answer a conversation, in Anthropic's terms", messagesSchema);
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
    describePost(app, `${base}/messages/count_tokens`, 'Count the tokens of a conversation', countSchema);
    app.post(`${base}/messages/count_tokens`, async (c) => {
      const { fields, withoutEffect } = parseCount(c.get('body'));
      nameWithoutEffect(c, withoutEffect);
      const inputTokens = await withModel(c, parts, fields.model, ({ answerer }) =>
        answerer.countTokens(fields.messages, conversationOptions(fields, answerer)),
      );
      return c.json({ input_tokens: inputTokens });
    });
  }
}
