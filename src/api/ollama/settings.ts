/**
 * Owns: what Ollama's requests have in common: `options`, `think`, `format`, `keep_alive`, names of models.
 * Refuses to know: messages, prompts, responses.
 */
import { z } from 'zod';
import type { ConstraintSpec } from '../../chat/constraint.ts';
import type { Effort } from '../../chat/delta.ts';
import type { Sampling } from '../../engine/request.ts';
import { anyObject, type FieldTable, honoured, noEffect, parseBody, refused } from '../fields.ts';
import { KEEP_ALIVE_RULE, keepAliveField, keepAliveOf } from '../keep-alive.ts';
import type { AnswerSettings } from '../request.ts';

/** Ollama's names may end in a tag; ours have none, and `latest` is no other model. */
export const modelField = z
  .string()
  .min(1)
  .max(256)
  .transform((name) => name.replace(/:latest$/, ''));

const penalty = z.number().min(-2).max(2).nullish();

/** `options` of a request. */
export const optionsSchema = z.looseObject({
  num_predict: z.int().min(-2).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repeat_penalty: z.number().min(0.01).max(100).nullish(),
  repeat_last_n: z.int().min(-1).nullish(),
  presence_penalty: penalty,
  frequency_penalty: penalty,
  seed: z.int().nullish(),
  stop: z.union([z.string().max(1024), z.array(z.string().max(1024)).max(16)]).nullish(),
});

/** What becomes of every field of `options`. */
export const OPTION_FIELDS: FieldTable = {
  num_predict: honoured('longest answer; below 0 to the end of the context'),
  temperature: honoured("0 to 2; the model's published value otherwise"),
  top_p: honoured('0 to 1'),
  top_k: honoured('0 is off'),
  min_p: honoured('0 to 1'),
  repeat_penalty: honoured('1 is off'),
  repeat_last_n: honoured('newest tokens that penalties look at; -1 is all, 0 is off'),
  presence_penalty: honoured('-2 to 2'),
  frequency_penalty: honoured('-2 to 2'),
  seed: honoured('same request, same seed, same answer; of a negative one the absolute value'),
  stop: honoured('up to 16 texts'),
  num_ctx: noEffect('the context is chosen when the server starts; a prompt is refused rather than cut'),
  num_keep: noEffect('a prompt is never cut'),
  num_batch: noEffect('the engine chooses'),
  num_gpu: noEffect('the engine chooses'),
  main_gpu: noEffect('the engine chooses'),
  num_thread: noEffect('chosen when the server starts'),
  use_mmap: noEffect('weights are always mapped'),
  use_mlock: noEffect('weights are always mapped'),
  numa: noEffect('the engine chooses'),
  mirostat: refused('use temperature and top_p', [0]),
  tfs_z: refused('use top_p or min_p', [1]),
  typical_p: refused('use top_p or min_p', [1]),
  embedding_only: refused('ask /api/embed', [false]),
  vocab_only: refused('ask /tokenize', [false]),
};

/** Fields of both answering requests. */
export const settingsShape = {
  model: modelField,
  stream: z.boolean().nullish(),
  format: z.union([z.enum(['', 'json']), anyObject]).nullish(),
  think: z.union([z.boolean(), z.enum(['low', 'medium', 'high', 'max'])]).nullish(),
  keep_alive: keepAliveField,
  options: optionsSchema.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
} as const;

/** The table's lines for the shared fields. */
export const SETTINGS_FIELDS: FieldTable = {
  model: honoured('a name of `GET /api/tags`, with or without `:latest`'),
  stream: honoured('lines of JSON, unless false'),
  format: honoured('`json`, or a JSON schema; thinking stays free'),
  think: honoured('true, false, low, medium (as high), high, max; the model decides otherwise'),
  keep_alive: KEEP_ALIVE_RULE,
  options: honoured('as in the table of options'),
  logprobs: honoured('log-probabilities of the tokens of the content'),
  top_logprobs: honoured('0 to 20 alternatives'),
  truncate: noEffect('a prompt is refused rather than cut', [false]),
  shift: noEffect('an answer ends where the context does', [false]),
};

/** What {@link settingsShape} reads. */
export type SettingsFields = z.output<z.ZodObject<typeof settingsShape>>;

const EFFORTS: Readonly<Record<string, Effort>> = { low: 'low', medium: 'high', high: 'high', max: 'max' };

/** Settings of an answer in neutral terms, and what of `options` had no effect. */
export interface OllamaSettings {
  readonly settings: AnswerSettings;
  readonly thinking: { readonly thinking?: boolean; readonly effort?: Effort };
  readonly constraint: { readonly constraint?: ConstraintSpec };
  readonly withoutEffect: readonly string[];
}

/**
 * The neutral settings of a request.
 *
 * @throws HadalError `request-invalid`, `field-refused`, naming the field
 * @example settingsOf({ model: 'm', options: { temperature: 0 } }).settings.sampling; // { temperature: 0 }
 */
export function settingsOf(fields: SettingsFields): OllamaSettings {
  const options = fields.options ?? {};
  const { withoutEffect } = parseBody(optionsSchema, OPTION_FIELDS, options);
  const keepAliveMs = keepAliveOf(fields.keep_alive ?? undefined);
  const { num_predict: most } = options;
  const { think, format } = fields;
  return {
    settings: {
      sampling: samplingOf(options),
      stop: [options.stop ?? []].flat(),
      choices: 1,
      stream: fields.stream ?? true,
      ...(most != null && most > 0 ? { maxTokens: most } : {}),
      ...(fields.logprobs === true ? { topLogprobs: fields.top_logprobs ?? 0 } : {}),
      ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
    },
    thinking: {
      ...(think == null ? {} : { thinking: think !== false }),
      ...(typeof think === 'string' ? { effort: EFFORTS[think]! } : {}),
    },
    constraint:
      format == null || format === ''
        ? {}
        : { constraint: format === 'json' ? { kind: 'json' } : { kind: 'json-schema', schema: format } },
    withoutEffect: withoutEffect.map((name) => `options.${name}`),
  };
}

function samplingOf(options: z.output<typeof optionsSchema>): Partial<Sampling> {
  const lastN = options.repeat_last_n ?? -1;
  const pairs: [keyof Sampling, number | null | undefined][] = [
    ['temperature', options.temperature],
    ['topP', options.top_p],
    ['topK', options.top_k],
    ['minP', options.min_p],
    ['repetitionPenalty', lastN === 0 ? 1 : options.repeat_penalty],
    ['penaltyTokens', lastN > 0 ? lastN : undefined],
    ['presencePenalty', options.presence_penalty],
    ['frequencyPenalty', options.frequency_penalty],
    ['seed', options.seed == null ? undefined : Math.abs(options.seed)],
  ];
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined && value !== null));
}
