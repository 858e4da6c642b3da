/**
 * Owns: the fields that OpenAI's two answering requests have in common, and what they mean here.
 * Refuses to know: messages, prompts, responses.
 */
import { z } from 'zod';
import type { Sampling } from '../../engine/request.ts';
import { type FieldTable, honoured, noEffect } from '../fields.ts';
import { KEEP_ALIVE_RULE, keepAliveField, keepAliveOf } from '../keep-alive.ts';
import type { AnswerSettings } from '../request.ts';

/** Most parallel answers to one request. */
export const MOST_CHOICES = 16;
const MOST_TOP_LOGPROBS = 20;
const MOST_BIASES = 1024;

const optional = <T extends z.ZodType>(schema: T) => schema.nullish();
const penalty = optional(z.number().min(-2).max(2));

/** Shared fields; each kind of request adds its own. */
export const settingsShape = {
  model: z.string().min(1).max(256),
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: z.boolean().nullish() })),
  max_tokens: optional(z.int().min(1)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().min(0).max(1)),
  top_k: optional(z.int().min(0)),
  min_p: optional(z.number().min(0).max(1)),
  repetition_penalty: optional(z.number().min(0.01).max(100)),
  presence_penalty: penalty,
  frequency_penalty: penalty,
  logit_bias: optional(
    z
      .record(z.string().regex(/^\d{1,9}$/), z.number().min(-100).max(100))
      .refine((biases) => Object.keys(biases).length <= MOST_BIASES, `at most ${MOST_BIASES} tokens`),
  ),
  seed: optional(z.int()),
  stop: optional(z.union([z.string().max(1024), z.array(z.string().max(1024)).max(16)])),
  n: optional(z.int().min(1).max(MOST_CHOICES)),
  keep_alive: keepAliveField,
} as const;

/** What {@link settingsShape} reads. */
export type SettingsFields = z.output<z.ZodObject<typeof settingsShape>>;

export const topLogprobsField = optional(z.int().min(0).max(MOST_TOP_LOGPROBS));

/** The table's lines for the shared fields. */
export const SETTINGS_FIELDS: FieldTable = {
  model: honoured('a name of `GET /v1/models`'),
  stream: honoured('server-sent events instead of one document'),
  stream_options: honoured('`include_usage`: a last chunk with the usage'),
  max_tokens: honoured('longest answer; to the end of the context otherwise'),
  temperature: honoured("0 to 2, also while thinking; the model's published value otherwise"),
  top_p: honoured('0 to 1'),
  top_k: honoured('0 is off'),
  min_p: honoured('0 to 1'),
  repetition_penalty: honoured('1 is off'),
  presence_penalty: honoured('-2 to 2'),
  frequency_penalty: honoured('-2 to 2'),
  logit_bias: honoured('by token id; -100 bans a token'),
  seed: honoured('same request, same seed, same answer; of a negative one the absolute value'),
  stop: honoured('up to 16 texts'),
  n: honoured(`1 to ${MOST_CHOICES}; choice i draws with seed + i`),
  keep_alive: KEEP_ALIVE_RULE,
  user: noEffect('nothing is kept by user'),
  user_id: noEffect('nothing is kept by user'),
  safety_identifier: noEffect('nothing is kept by user'),
  metadata: noEffect('nothing is stored'),
  service_tier: noEffect('there is one', ['auto', 'default']),
};

/** The neutral settings of a request. Throws `request-invalid` for a `keep_alive` that is no time. */
export function settingsOf(fields: SettingsFields): Omit<AnswerSettings, 'topLogprobs'> {
  const maxTokens = fields.max_tokens ?? undefined;
  const keepAliveMs = keepAliveOf(fields.keep_alive ?? undefined);
  return {
    sampling: samplingOf(fields),
    stop: [fields.stop ?? []].flat(),
    choices: fields.n ?? 1,
    stream: fields.stream ?? false,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
  };
}

function samplingOf(fields: SettingsFields): Partial<Sampling> {
  const bias = fields.logit_bias ?? {};
  const pairs: [keyof Sampling, unknown][] = [
    ['temperature', fields.temperature],
    ['topP', fields.top_p],
    ['topK', fields.top_k],
    ['minP', fields.min_p],
    ['repetitionPenalty', fields.repetition_penalty],
    ['presencePenalty', fields.presence_penalty],
    ['frequencyPenalty', fields.frequency_penalty],
    ['seed', fields.seed == null ? undefined : Math.abs(fields.seed)],
    [
      'logitBias',
      fields.logit_bias == null ? undefined : Object.entries(bias).map(([id, b]) => [Number(id), b]),
    ],
  ];
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined && value !== null));
}
