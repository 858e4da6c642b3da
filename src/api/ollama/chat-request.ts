/**
 * Owns: Ollama's `/api/chat` request: its schema, its table of fields, what it asks for.
 * Refuses to know: HTTP, models, responses.
 */
import { z } from 'zod';
import type { Message, ToolDefinition } from '../../chat/delta.ts';
import { anyObject, type FieldTable, honoured, type ParsedBody, parseBody } from '../fields.ts';
import type { ChatRequest } from '../request.ts';
import { noImages } from './images.ts';
import { SETTINGS_FIELDS, settingsOf, settingsShape } from './settings.ts';

const MOST_MESSAGES = 4096;
const MOST_TOOLS = 128;

const toolCall = z.looseObject({
  id: z.string().max(256).nullish(),
  function: z.looseObject({ name: z.string().max(256), arguments: anyObject }),
});
const message = z.looseObject({
  role: z.enum(['system', 'user', 'assistant', 'tool']),
  content: z.string().nullish(),
  thinking: z.string().nullish(),
  images: z.array(z.unknown()).nullish(),
  tool_calls: z.array(toolCall).max(MOST_TOOLS).nullish(),
  tool_name: z.string().max(256).nullish(),
  tool_call_id: z.string().max(256).nullish(),
});
const tool = z.looseObject({
  type: z.literal('function').nullish(),
  function: z.looseObject({
    name: z.string().regex(/^[\w.:-]{1,128}$/, 'letters, digits, _ . : and -, at most 128'),
    description: z.string().nullish(),
    parameters: anyObject.nullish(),
  }),
});

/** The body of `POST /api/chat`. */
export const chatSchema = z.looseObject({
  ...settingsShape,
  messages: z.array(message).max(MOST_MESSAGES).nullish(),
  tools: z.array(tool).max(MOST_TOOLS).nullish(),
});

/** What becomes of every field of `/api/chat`. */
export const CHAT_FIELDS: FieldTable = {
  ...SETTINGS_FIELDS,
  messages: honoured(
    'text only; `thinking` and `tool_calls` are taken back; without any the model is only loaded',
  ),
  tools: honoured('functions, at most 128'),
};

/** A request; `undefined` asks only that the model be loaded, or put out. */
export interface ParsedChat {
  readonly model: string;
  readonly request: ChatRequest | undefined;
  readonly keepAliveMs: number | undefined;
  readonly stream: boolean;
}

/**
 * Reads the body of a chat request.
 *
 * @throws HadalError `request-invalid`, `field-refused`, `content-unsupported`
 * @example parseChat({ model: 'toy', messages: [{ role: 'user', content: 'Hi' }] }).fields.request;
 */
export function parseChat(body: unknown): ParsedBody<ParsedChat> {
  const { fields, withoutEffect } = parseBody(chatSchema, CHAT_FIELDS, body);
  const { settings, thinking, constraint, withoutEffect: more } = settingsOf(fields);
  const messages = neutralMessages(fields.messages ?? []);
  const request: ChatRequest = {
    kind: 'chat',
    model: fields.model,
    messages,
    ...settings,
    ...thinking,
    ...constraint,
    tools: (fields.tools ?? []).map(toolOf),
  };
  const { keepAliveMs, stream } = settings;
  return {
    fields: {
      model: fields.model,
      request: messages.length === 0 ? undefined : request,
      keepAliveMs,
      stream,
    },
    withoutEffect: [...withoutEffect, ...more],
  };
}

function toolOf({ function: given }: z.output<typeof tool>): ToolDefinition {
  return {
    name: given.name,
    ...(given.description == null ? {} : { description: given.description }),
    ...(given.parameters == null ? {} : { parameters: given.parameters }),
  };
}

/** Ollama's calls may lack ids: results then belong to the calls before them by name, or by order. */
function neutralMessages(given: readonly z.output<typeof message>[]): Message[] {
  let open: { id: string; name: string }[] = [];
  return given.map((one, index): Message => {
    noImages(one.images, `messages[${index}].images`);
    const content = one.content ?? '';
    if (one.role === 'tool') {
      const named = open.find(({ id, name }) => id === one.tool_call_id || name === one.tool_name) ?? open[0];
      open = open.filter((call) => call !== named);
      return { role: 'tool', content, toolCallId: one.tool_call_id ?? named?.id ?? `call_${index}` };
    }
    if (one.role !== 'assistant') return { role: one.role, content };
    const toolCalls = (one.tool_calls ?? []).map(({ id, function: call }, i) => ({
      id: id ?? `call_${index}_${i}`,
      name: call.name,
      arguments: JSON.stringify(call.arguments),
    }));
    open = toolCalls.map(({ id, name }) => ({ id, name }));
    return {
      role: 'assistant',
      content,
      ...(one.thinking ? { reasoning: one.thinking } : {}),
      ...(toolCalls.length === 0 ? {} : { toolCalls }),
    };
  });
}
