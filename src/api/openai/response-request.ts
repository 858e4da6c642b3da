/**
 * Owns: OpenAI's `responses` request: its schema, its table of fields, what it asks for.
 * Refuses to know: HTTP, models, responses, what items become (response-items).
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
import { itemsSchema, messagesOfItems } from './response-items.ts';

const MOST_TOOLS = 128;

const functionTool = z.looseObject({
  type: z.literal('function'),
  name: z.string().regex(/^[\w.:-]{1,128}$/, 'letters, digits, _ . : and -, at most 128'),
  description: z.string().nullish(),
  parameters: anyObject.nullish(),
  strict: z.boolean().nullish(),
});
/** Tools that OpenAI runs itself, or that only its models know: the model is not told of them. */
const otherTool = z.looseObject({
  type: z
    .string()
    .max(64)
    .refine((type) => type !== 'function' && type !== 'custom', 'something else than a function'),
});

const textFormat = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('text') }),
  z.looseObject({ type: z.literal('json_object') }),
  z.looseObject({ type: z.literal('json_schema'), name: z.string().max(256), schema: anyObject }),
]);

/** The body of `POST /v1/responses`. */
export const responsesSchema = z.looseObject({
  model: z.string().min(1).max(256),
  input: itemsSchema,
  instructions: z.string().nullish(),
  stream: z.boolean().nullish(),
  max_output_tokens: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  reasoning: z
    .looseObject({ effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']).nullish() })
    .nullish(),
  text: z.looseObject({ format: textFormat.nullish() }).nullish(),
  tools: z
    .array(z.union([functionTool, otherTool]))
    .max(MOST_TOOLS)
    .nullish(),
  tool_choice: z
    .union([
      z.enum(['auto', 'none', 'required']),
      z.looseObject({ type: z.literal('function'), name: z.string().max(256) }),
    ])
    .nullish(),
  keep_alive: keepAliveField,
});

/** What becomes of every field of `responses`. */
export const RESPONSES_FIELDS: FieldTable = {
  model: honoured('a name of `GET /v1/models`'),
  input: honoured('text: messages, `reasoning`, `function_call`, `function_call_output`'),
  instructions: honoured('a system message before the input'),
  stream: honoured('events instead of one document'),
  max_output_tokens: honoured('longest answer, thinking included'),
  temperature: honoured("0 to 2; the model's published value otherwise"),
  top_p: honoured('0 to 1'),
  reasoning: honoured(
    '`effort`: `none` is no thinking; minimal, low: low; medium, high, xhigh: high; max: max; what the model does not know is passed over; thinking is shown as it is, not as a summary',
  ),
  text: honoured('`format`: `text`, `json_object`, `json_schema`; `verbosity` is passed over'),
  tools: honoured(
    'functions; the model is not told of tools that OpenAI runs, nor of namespaces; those of free form are refused',
  ),
  tool_choice: honoured('`auto`, `none`, `required` or one function'),
  keep_alive: KEEP_ALIVE_RULE,
  store: noEffect('nothing is stored', [false]),
  include: noEffect('everything that there is, is included', [[]]),
  parallel_tool_calls: noEffect('the model decides', [true]),
  truncation: noEffect('a prompt is refused rather than cut', ['disabled']),
  metadata: noEffect('nothing is stored', [{}]),
  prompt_cache_key: noEffect('prefixes are found by what they hold'),
  prompt_cache_retention: noEffect('the cache keeps what was used last'),
  service_tier: noEffect('there is one', ['auto', 'default']),
  safety_identifier: noEffect('nothing is kept by user'),
  user: noEffect('nothing is kept by user'),
  stream_options: noEffect('nothing is padded'),
  max_tool_calls: noEffect('tools are run by the client'),
  client_metadata: noEffect('nothing is stored'),
  top_logprobs: refused('ask /v1/chat/completions for log-probabilities', [0]),
  previous_response_id: refused('nothing is stored: send the whole conversation as input'),
  conversation: refused('nothing is stored: send the whole conversation as input'),
  background: refused('nothing is stored: wait for the answer, or stream it', [false]),
  prompt: refused('nothing is stored: send it as input'),
};

const EFFORTS: Readonly<Record<string, Effort | undefined>> = {
  minimal: 'low',
  low: 'low',
  medium: 'high',
  high: 'high',
  xhigh: 'high',
  max: 'max',
};

/** A request in neutral terms, and what of it the response repeats. */
export interface ParsedResponses {
  readonly request: ChatRequest;
  readonly echo: object;
}

/**
 * Reads the body of a `responses` request.
 *
 * @throws HadalError `request-invalid`, `field-refused`, `content-unsupported`
 * @example parseResponses({ model: 'smollm2-135m', input: 'Hi' }).fields.request.messages;
 */
export function parseResponses(body: unknown): ParsedBody<ParsedResponses> {
  const { fields, withoutEffect } = parseBody(responsesSchema, RESPONSES_FIELDS, body);
  const keepAliveMs = keepAliveOf(fields.keep_alive ?? undefined);
  const effort = EFFORTS[fields.reasoning?.effort ?? ''];
  const thinking = fields.reasoning?.effort == null ? undefined : fields.reasoning.effort !== 'none';
  const constraint = constraintOf(fields);
  const others = (fields.tools ?? []).filter((tool) => tool.type !== 'function');
  const request: ChatRequest = {
    kind: 'chat',
    model: fields.model,
    messages: [
      ...(fields.instructions ? [{ role: 'system' as const, content: fields.instructions }] : []),
      ...messagesOfItems(fields.input),
    ],
    sampling: {
      ...(fields.temperature == null ? {} : { temperature: fields.temperature }),
      ...(fields.top_p == null ? {} : { topP: fields.top_p }),
    },
    stop: [],
    choices: 1,
    stream: fields.stream ?? false,
    ...(fields.max_output_tokens == null ? {} : { maxTokens: fields.max_output_tokens }),
    ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
    tools: functionsOf(fields).map(toolOf),
    ...toolChoiceOf(fields),
    ...(thinking === undefined ? {} : { thinking }),
    ...(effort === undefined ? {} : { effort }),
    wishes: true,
    ...(constraint === undefined ? {} : { constraint }),
  };
  return {
    fields: { request, echo: echoOf(fields) },
    withoutEffect: [...withoutEffect, ...new Set(others.map(({ type }) => `tools.${type}`.slice(0, 64)))],
  };
}

type Fields = z.output<typeof responsesSchema>;
type FunctionTool = z.output<typeof functionTool>;

function functionsOf({ tools }: Fields): FunctionTool[] {
  return (tools ?? []).filter((tool): tool is FunctionTool => tool.type === 'function');
}

function echoOf(fields: Fields): object {
  return {
    instructions: fields.instructions ?? null,
    max_output_tokens: fields.max_output_tokens ?? null,
    temperature: fields.temperature ?? null,
    top_p: fields.top_p ?? null,
    tools: functionsOf(fields),
    tool_choice: fields.tool_choice ?? 'auto',
    parallel_tool_calls: true,
    reasoning: { effort: fields.reasoning?.effort ?? null, summary: null },
    text: { format: fields.text?.format ?? { type: 'text' } },
    truncation: 'disabled',
    store: false,
    previous_response_id: null,
    metadata: {},
  };
}

function constraintOf({ text }: Fields): ConstraintSpec | undefined {
  switch (text?.format?.type) {
    case 'json_object':
      return { kind: 'json' };
    case 'json_schema':
      return { kind: 'json-schema', schema: text.format.schema };
    default:
      return undefined;
  }
}

function toolOf({ name, description, parameters, strict }: FunctionTool): ToolDefinition {
  return {
    name,
    ...(description == null ? {} : { description }),
    ...(parameters == null ? {} : { parameters }),
    ...(strict === true ? { strict } : {}),
  };
}

function toolChoiceOf(fields: Fields): { toolChoice?: ToolChoice } {
  const { tool_choice: choice } = fields;
  if (choice == null) return {};
  const tools = functionsOf(fields);
  if (typeof choice === 'string') {
    if (choice !== 'required' || tools.length > 0) return { toolChoice: choice };
  } else if (tools.some(({ name }) => name === choice.name)) return { toolChoice: { name: choice.name } };
  throw new HadalError('request-invalid', {
    what: 'tool_choice',
    expected: 'a function of `tools`',
    got: typeof choice === 'string' ? `"${choice}" without functions` : JSON.stringify(choice.name),
    next: 'correct the request',
  });
}
