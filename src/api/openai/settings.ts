/**
 * Owns: the fields that OpenAI's two answering requests have in common, and what they mean here.
 * Refuses to know: messages, prompts, responses.
 */
import { z } from 'zod';
import type { Sampling } from '../../engine/request.ts';
import { HadalError } from '../../error.ts';
import { type FieldTable, honoured, noEffect } from '../fields.ts';
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
  stream_options: optional(z.looseObject({ include_usage: z.boolean().nullish() })),
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
  keep_alive: optional(z.union([z.number(), z.string().max(32)])),
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
  keep_alive: honoured('how long the model stays loaded after this: seconds or "5m"; 0 unloads, -1 keeps'),
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

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/**
 * A `keep_alive` in milliseconds: a number of seconds, or a text like `"90s"`, `"5m"`, `"1h30m"`. Below 0 is for ever.
 *
 * @throws HadalError `request-invalid`
 * @example keepAliveOf('5m'); // 300000
 */
export function keepAliveOf(given: number | string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const seconds =
    typeof given === 'number' ? given : /^-?\d+(\.\d+)?$/.test(given) ? Number(given) : undefined;
  if (seconds !== undefined && Number.isFinite(seconds)) return seconds * 1000;
  const text = `${given}`;
  if (/^-?(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    const parts = text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g);
    const sum = [...parts].reduce((total, [, count, unit]) => total + Number(count) * UNITS[unit!]!, 0);
    return text.startsWith('-') ? -1 : sum;
  }
  throw new HadalError('request-invalid', {
    what: 'keep_alive',
    expected: 'seconds, or a time like "5m"',
    got: JSON.stringify(given),
    next: 'correct the request',
  });
}
