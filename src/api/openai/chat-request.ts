/**
 * Owns: OpenAI's `chat/completions` request with DeepSeek's additions: its schema, its table of fields, what it asks for.
 * Refuses to know: HTTP, models, responses.
 */
import { z } from 'zod';
import type { ConstraintSpec } from '../../chat/constraint.ts';
import type { Effort, Message, ToolChoice, ToolDefinition } from '../../chat/delta.ts';
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
import type { ChatRequest } from '../request.ts';
import { SETTINGS_FIELDS, settingsOf, settingsShape, topLogprobsField } from './settings.ts';
import { checkStrictSchema } from './strict-schema.ts';

const MOST_MESSAGES = 4096;
const MOST_TOOLS = 128;

const textPart = z.object({ type: z.literal('text'), text: z.string() });
const otherPart = z.looseObject({ type: z.enum(['image_url', 'input_audio', 'file', 'refusal']) });
const content = z.union([z.string(), z.array(z.union([textPart, otherPart])).max(1024)]);
const toolCall = z.object({
  id: z.string().max(256),
  type: z.literal('function').optional(),
  function: z.object({ name: z.string().max(256), arguments: z.string() }),
});

const message = z.discriminatedUnion('role', [
  z.object({ role: z.enum(['system', 'developer']), content }),
  z.object({ role: z.literal('user'), content }),
  z.object({
    role: z.literal('assistant'),
    content: content.nullish(),
    reasoning_content: z.string().nullish(),
    tool_calls: z.array(toolCall).max(MOST_TOOLS).nullish(),
    prefix: z.boolean().nullish(),
  }),
  z.object({ role: z.literal('tool'), content, tool_call_id: z.string().max(256) }),
]);

const functionTool = z.strictObject({
  type: z.literal('function'),
  function: z.strictObject({
    name: z.string().regex(/^[\w.:-]{1,128}$/, 'letters, digits, _ . : and -, at most 128'),
    description: z.string().nullish(),
    parameters: anyObject.nullish(),
    strict: z.boolean().nullish(),
  }),
});

const responseFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    json_schema: z.strictObject({
      name: z.string().max(256),
      description: z.string().nullish(),
      schema: anyObject,
      strict: z.boolean().nullish(),
    }),
  }),
]);

/** The body of `POST /v1/chat/completions`. */
export const chatSchema = z.looseObject({
  ...settingsShape,
  messages: z.array(message).min(1).max(MOST_MESSAGES),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: topLogprobsField,
  response_format: responseFormat.nullish(),
  tools: z.array(functionTool).max(MOST_TOOLS).nullish(),
  tool_choice: z
    .union([
      z.enum(['auto', 'none', 'required']),
      z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: z.string() }) }),
    ])
    .nullish(),
  thinking: z.object({ type: z.enum(['enabled', 'disabled']) }).nullish(),
  reasoning_effort: z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max', 'ultra']).nullish(),
});

/** What becomes of every field of `chat/completions`. */
export const CHAT_FIELDS: FieldTable = {
  messages: honoured(
    'text only; `reasoning_content` is taken back; `prefix: true` on the last one is continued',
  ),
  ...SETTINGS_FIELDS,
  max_completion_tokens: honoured('as `max_tokens`, and goes before it'),
  logprobs: honoured('log-probabilities of the tokens of the content'),
  top_logprobs: honoured('0 to 20 alternatives'),
  response_format: honoured('`text`, `json_object`, `json_schema`; thinking stays free'),
  tools: honoured('functions, at most 128; `strict` ones are checked as DeepSeek does'),
  tool_choice: honoured('`auto`, `none`, `required` or one function'),
  thinking: honoured('DeepSeek\'s switch: `{"type": "enabled" | "disabled"}`'),
  reasoning_effort: honoured(
    '`none` is no thinking; minimal, low: low; medium, high, xhigh: high; max, ultra: max',
  ),
  parallel_tool_calls: noEffect('the model decides', [true]),
  store: noEffect('nothing is stored', [false]),
  prediction: noEffect('it would only be a hint'),
  prompt_cache_key: noEffect('prefixes are found by what they hold'),
  prompt_cache_retention: noEffect('the cache keeps what was used last'),
  verbosity: noEffect('no such control in these models'),
  functions: refused('write them as tools'),
  function_call: refused('write it as tool_choice', ['none', 'auto']),
  modalities: refused('these models write text: leave it out', [['text']]),
  audio: refused('these models write text: leave it out'),
  web_search_options: refused('nothing here reaches the web: leave it out'),
  chat_template: refused("conversations are written in the model's own format: leave it out"),
  chat_template_kwargs: refused('use thinking and reasoning_effort', [{}]),
};

const EFFORTS: Readonly<Record<string, Effort | undefined>> = {
  minimal: 'low',
  low: 'low',
  medium: 'high',
  high: 'high',
  xhigh: 'high',
  max: 'max',
  ultra: 'max',
};

/** A chat request in neutral terms, and what only the response needs to know. */
export interface ParsedChat {
  readonly request: ChatRequest;
  readonly includeUsage: boolean;
}

/**
 * Reads the body of a `chat/completions` request.
 *
 * @throws HadalError `request-invalid`, `field-refused`, `content-unsupported`
 * @example parseChat({ model: 'smollm2-135m', messages: [{ role: 'user', content: 'Hi' }] }).fields.request;
 */
export function parseChat(body: unknown): ParsedBody<ParsedChat> {
  const { fields, withoutEffect } = parseBody(chatSchema, CHAT_FIELDS, body);
  const maxTokens = fields.max_completion_tokens ?? undefined;
  const thinking = thinkingOf(fields);
  const effort = EFFORTS[fields.reasoning_effort ?? ''];
  const constraint = constraintOf(fields.response_format);
  const request: ChatRequest = {
    kind: 'chat',
    model: fields.model,
    messages: fields.messages.map((one, i) => messageOf(one, i, i === fields.messages.length - 1)),
    ...settingsOf(fields),
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...topLogprobsOf(fields),
    tools: (fields.tools ?? []).map(toolOf),
    ...toolChoiceOf(fields),
    ...(thinking === undefined ? {} : { thinking }),
    ...(effort === undefined || thinking === false ? {} : { effort }),
    ...(constraint === undefined ? {} : { constraint }),
  };
  return { fields: { request, includeUsage: fields.stream_options?.include_usage ?? false }, withoutEffect };
}

type ChatFields = z.output<typeof chatSchema>;

function thinkingOf({ thinking, reasoning_effort: effort }: ChatFields): boolean | undefined {
  if (thinking) return thinking.type === 'enabled';
  return effort == null ? undefined : effort !== 'none';
}

function topLogprobsOf({ logprobs, top_logprobs: top }: ChatFields): { topLogprobs?: number } {
  if (logprobs !== true) {
    if ((top ?? 0) === 0) return {};
    throw new HadalError('request-invalid', {
      what: 'top_logprobs',
      expected: '`logprobs: true` beside it',
      got: 'none',
      next: 'correct the request',
    });
  }
  return { topLogprobs: top ?? 0 };
}

function toolChoiceOf({ tool_choice: choice, tools }: ChatFields): { toolChoice?: ToolChoice } {
  if (choice == null) return {};
  if (typeof choice === 'string') {
    if (choice !== 'required' || (tools?.length ?? 0) > 0) return { toolChoice: choice };
  } else if (tools?.some((tool) => tool.function.name === choice.function.name)) {
    return { toolChoice: { name: choice.function.name } };
  }
  throw new HadalError('request-invalid', {
    what: 'tool_choice',
    expected: 'a function of `tools`',
    got: typeof choice === 'string' ? `"${choice}" without tools` : JSON.stringify(choice.function.name),
    next: 'correct the request',
  });
}

function toolOf({ function: tool }: z.output<typeof functionTool>, index: number): ToolDefinition {
  const strict = tool.strict === true;
  if (strict) checkStrictSchema(tool.parameters ?? {}, `tools[${index}].function.parameters`);
  return {
    name: tool.name,
    ...(tool.description == null ? {} : { description: tool.description }),
    ...(tool.parameters == null ? {} : { parameters: tool.parameters }),
    ...(strict ? { strict } : {}),
  };
}

function constraintOf(format: ChatFields['response_format']): ConstraintSpec | undefined {
  switch (format?.type) {
    case 'json_object':
      return { kind: 'json' };
    case 'json_schema':
      return { kind: 'json-schema', schema: format.json_schema.schema };
    default:
      return undefined;
  }
}

function messageOf(given: z.output<typeof message>, index: number, last: boolean): Message {
  const text = textOf(given.content ?? '', index);
  switch (given.role) {
    case 'assistant': {
      const calls = given.tool_calls ?? [];
      const prefix = given.prefix === true;
      if (prefix && !last) {
        throw new HadalError('request-invalid', {
          what: `messages[${index}].prefix`,
          expected: 'it on the last message only',
          got: 'messages after it',
          next: 'correct the request',
        });
      }
      return {
        role: 'assistant',
        content: text,
        ...(given.reasoning_content ? { reasoning: given.reasoning_content } : {}),
        ...(calls.length === 0
          ? {}
          : {
              toolCalls: calls.map(({ id, function: { name, arguments: args } }) => ({
                id,
                name,
                arguments: args,
              })),
            }),
        ...(prefix ? { prefix } : {}),
      };
    }
    case 'tool':
      return { role: 'tool', content: text, toolCallId: given.tool_call_id };
    default:
      return { role: given.role === 'user' ? 'user' : 'system', content: text };
  }
}

function textOf(given: z.output<typeof content>, index: number): string {
  if (typeof given === 'string') return given;
  return given
    .map((part, at) => {
      if (part.type === 'text') return part.text as string;
      throw new HadalError('content-unsupported', {
        what: `messages[${index}].content[${at}]`,
        expected: 'text',
        got: part.type,
        next: 'these models read text only: leave it out',
      });
    })
    .join('');
}
