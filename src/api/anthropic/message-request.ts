/**
 * Owns: Anthropic's `messages` request: its schema, its table of fields, what it asks for.
 * Refuses to know: HTTP, models, responses, what blocks of messages become.
 */
import { z } from 'zod';
import type { ConstraintSpec } from '../../chat/constraint.ts';
import type { Effort, ToolChoice, ToolDefinition } from '../../chat/delta.ts';
import { HadalError } from '../../error.ts';
import {
  anyObject,
  type FieldTable,
  honoured,
  noEffect,
  type ParsedBody,
  parseBody,
  refused,
} from '../fields.ts';
import { KEEP_ALIVE_RULE, keepAliveField, keepAliveOf } from '../keep-alive.ts';
import type { ChatRequest } from '../request.ts';
import { hasBilling, messageSchema, neutralMessages, systemField, systemText } from './message-content.ts';

const MOST_MESSAGES = 4096;
const MOST_TOOLS = 512;

const toolSchema = z.looseObject({
  type: z.string().max(64).nullish(),
  name: z.string().regex(/^[\w.:-]{1,128}$/, 'letters, digits, _ . : and -, at most 128'),
  description: z.string().nullish(),
  input_schema: anyObject.nullish(),
  strict: z.boolean().nullish(),
});

const jsonFormat = z.looseObject({ type: z.literal('json_schema'), schema: anyObject });

const conversationShape = {
  model: z.string().min(1).max(256),
  messages: z.array(messageSchema).min(1).max(MOST_MESSAGES),
  system: systemField.nullish(),
  thinking: z.looseObject({ type: z.enum(['enabled', 'disabled', 'adaptive']) }).nullish(),
  output_config: z
    .looseObject({
      effort: z.enum(['low', 'medium', 'high', 'xhigh', 'max']).nullish(),
      format: jsonFormat.nullish(),
    })
    .nullish(),
  output_format: jsonFormat.nullish(),
  tools: z.array(toolSchema).max(MOST_TOOLS).nullish(),
  tool_choice: z
    .discriminatedUnion('type', [
      z.looseObject({ type: z.enum(['auto', 'any', 'none']) }),
      z.looseObject({ type: z.literal('tool'), name: z.string().max(256) }),
    ])
    .nullish(),
} as const;

/** The body of `POST /v1/messages/count_tokens`. */
export const countSchema = z.looseObject(conversationShape);

/** The body of `POST /v1/messages`. */
export const messagesSchema = z.looseObject({
  ...conversationShape,
  max_tokens: z.int().min(1),
  stop_sequences: z.array(z.string().max(1024)).max(16).nullish(),
  stream: z.boolean().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  keep_alive: keepAliveField,
});

/** What becomes of every field of `messages/count_tokens`. */
export const COUNT_FIELDS: FieldTable = {
  model: honoured('a name of `GET /v1/models`'),
  messages: honoured(
    'text, documents of text, `tool_use`, `tool_result`, `thinking`; a last one of the assistant is continued; ' +
      '`redacted_thinking`, signatures, `cache_control` and `is_error` are passed over',
  ),
  system: honoured(
    "text; Claude Code's line `x-anthropic-billing-header`, which changes from request to request, is passed over",
  ),
  thinking: honoured(
    '`enabled`, `disabled`; `adaptive` leaves it to the model; `budget_tokens`, and what the model does not know, is passed over',
  ),
  output_config: honoured(
    '`effort`: low: low; medium, high, xhigh: high; max: max; one that the model does not know is passed over; `format`: a JSON schema',
  ),
  output_format: honoured('a JSON schema'),
  tools: honoured('those with an `input_schema`'),
  tool_choice: honoured('`auto`, `any`, `none` or one tool; `disable_parallel_tool_use` is passed over'),
  cache_control: noEffect('prefixes are found by what they hold'),
  context_management: noEffect('the whole conversation is read'),
  betas: noEffect('everything that is known here is always on'),
  mcp_servers: refused('nothing here reaches other servers: leave it out', [[]]),
};

/** What becomes of every field of `messages`. */
export const MESSAGES_FIELDS: FieldTable = {
  ...COUNT_FIELDS,
  max_tokens: honoured('longest answer, thinking included'),
  stop_sequences: honoured('up to 16 texts'),
  stream: honoured('events instead of one document'),
  temperature: honoured("0 to 2; the model's published value otherwise"),
  top_p: honoured('0 to 1'),
  top_k: honoured('0 is off'),
  keep_alive: KEEP_ALIVE_RULE,
  metadata: noEffect('nothing is stored'),
  service_tier: noEffect('there is one', ['auto', 'standard_only']),
  speed: noEffect('there is one', ['standard']),
  inference_geo: noEffect('it is computed on this machine'),
  diagnostics: noEffect('the log of the server says where a prefix broke'),
  container: refused('nothing is executed here: leave it out'),
};

const EFFORTS: Readonly<Record<string, Effort | undefined>> = {
  low: 'low',
  medium: 'high',
  high: 'high',
  xhigh: 'high',
  max: 'max',
};

/**
 * Reads the body of a `messages` request.
 *
 * @throws HadalError `request-invalid`, `field-refused`, `content-unsupported`
 * @example parseMessages({ model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] }).fields;
 */
export function parseMessages(body: unknown): ParsedBody<ChatRequest> {
  const { fields, withoutEffect } = parseBody(messagesSchema, MESSAGES_FIELDS, body);
  const keepAliveMs = keepAliveOf(fields.keep_alive ?? undefined);
  const sampling = {
    ...(fields.temperature == null ? {} : { temperature: fields.temperature }),
    ...(fields.top_p == null ? {} : { topP: fields.top_p }),
    ...(fields.top_k == null ? {} : { topK: fields.top_k }),
  };
  const request: ChatRequest = {
    ...conversationOf(fields),
    sampling,
    maxTokens: fields.max_tokens,
    stop: fields.stop_sequences ?? [],
    choices: 1,
    stream: fields.stream ?? false,
    ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
  };
  return { fields: request, withoutEffect: [...withoutEffect, ...billing(fields)] };
}

/** What of a request makes its prompt. */
export type Conversation = Pick<
  ChatRequest,
  'kind' | 'model' | 'messages' | 'tools' | 'toolChoice' | 'thinking' | 'effort' | 'wishes' | 'constraint'
>;

/**
 * Reads the body of a `messages/count_tokens` request. Throws as {@link parseMessages}.
 *
 * @example parseCount({ model: 'm', messages: [{ role: 'user', content: 'Hi' }] }).fields.messages;
 */
export function parseCount(body: unknown): ParsedBody<Conversation> {
  const { fields, withoutEffect } = parseBody(countSchema, COUNT_FIELDS, body);
  return { fields: conversationOf(fields), withoutEffect: [...withoutEffect, ...billing(fields)] };
}

/** What is passed over of `system`, by name. */
function billing({ system }: z.output<typeof countSchema>): string[] {
  return system != null && hasBilling(system) ? ['system.x-anthropic-billing-header'] : [];
}

function conversationOf(fields: z.output<typeof countSchema>): Conversation {
  const thinking = { enabled: true, disabled: false, adaptive: undefined }[
    fields.thinking?.type ?? 'adaptive'
  ];
  const effort = EFFORTS[fields.output_config?.effort ?? ''];
  const schema = (fields.output_config?.format ?? fields.output_format)?.schema;
  const constraint: ConstraintSpec | undefined =
    schema === undefined ? undefined : { kind: 'json-schema', schema };
  const system = fields.system == null ? '' : systemText(fields.system);
  return {
    kind: 'chat',
    model: fields.model,
    messages: [
      ...(system === '' ? [] : [{ role: 'system' as const, content: system }]),
      ...neutralMessages(fields.messages),
    ],
    tools: (fields.tools ?? []).map(toolOf),
    ...toolChoiceOf(fields),
    ...(thinking === undefined ? {} : { thinking }),
    ...(effort === undefined || thinking === false ? {} : { effort }),
    wishes: true,
    ...(constraint === undefined ? {} : { constraint }),
  };
}

function toolOf(tool: z.output<typeof toolSchema>, index: number): ToolDefinition {
  if (tool.input_schema == null) {
    throw new HadalError('request-invalid', {
      what: `tools[${index}]`,
      expected: 'a tool with an `input_schema`',
      got: `one of type ${(tool.type ?? 'custom').slice(0, 64)} without`,
      next: 'describe it by its schema: these models were trained with no tools of their own',
    });
  }
  return {
    name: tool.name,
    ...(tool.description == null ? {} : { description: tool.description }),
    parameters: tool.input_schema,
    ...(tool.strict === true ? { strict: true } : {}),
  };
}

function toolChoiceOf({ tool_choice: choice, tools }: z.output<typeof countSchema>): {
  toolChoice?: ToolChoice;
} {
  if (choice == null) return {};
  if (choice.type === 'auto' || choice.type === 'none') return { toolChoice: choice.type };
  if (choice.type === 'any' && (tools?.length ?? 0) > 0) return { toolChoice: 'required' };
  const { name } = choice as { readonly name?: string };
  if (choice.type === 'tool' && tools?.some((tool) => tool.name === name)) {
    return { toolChoice: { name: name! } };
  }
  throw new HadalError('request-invalid', {
    what: 'tool_choice',
    expected: 'a tool of `tools`',
    got: choice.type === 'any' ? '"any" without tools' : JSON.stringify(name),
    next: 'correct the request',
  });
}
