/**
 * Owns: llama.cpp's `/infill`: its schema, its table of fields, what it asks for, and its answers.
 * Refuses to know: HTTP, models, which tokens ask for a middle.
 */
import { z } from 'zod';
import type { Delta, FinishReason } from '../../chat/delta.ts';
import type { Sampling } from '../../engine/request.ts';
import { type FieldTable, honoured, noEffect, type ParsedBody, parseBody } from '../fields.ts';
import { KEEP_ALIVE_RULE, keepAliveField, keepAliveOf } from '../keep-alive.ts';
import type { CompletionRequest, ResponseContext, StreamEncoder } from '../request.ts';

/** A model may be left out where only one is served. */
export const modelField = z.string().min(1).max(256).nullish();

/** The body of `POST /infill`. */
export const infillSchema = z.looseObject({
  model: modelField,
  input_prefix: z.string(),
  input_suffix: z.string(),
  input_extra: z
    .array(z.looseObject({ filename: z.string().max(4096).nullish(), text: z.string() }))
    .max(1024)
    .nullish(),
  prompt: z.string().nullish(),
  n_predict: z.int().min(-1).nullish(),
  stream: z.boolean().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_k: z.int().min(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  seed: z.int().nullish(),
  stop: z.array(z.string().max(1024)).max(16).nullish(),
  keep_alive: keepAliveField,
});

/** What becomes of every field of `/infill`. */
export const INFILL_FIELDS: FieldTable = {
  model: honoured('a name of `GET /v1/models`; the only one that is served otherwise'),
  input_prefix: honoured('the text before'),
  input_suffix: honoured('the text behind'),
  input_extra: honoured('other files, put before the prefix as DeepSeek-Coder was shown repositories'),
  prompt: honoured('what of the middle is there already'),
  n_predict: honoured('longest middle; -1 to the end of the context; at least one token is made'),
  stream: honoured('events instead of one document'),
  temperature: honoured("0 to 2; the model's published value otherwise"),
  top_k: honoured('0 is off'),
  top_p: honoured('0 to 1'),
  min_p: honoured('0 to 1'),
  seed: honoured('same request, same seed, same answer; of a negative one another each time'),
  stop: honoured('up to 16 texts'),
  keep_alive: KEEP_ALIVE_RULE,
  n_indent: noEffect('the model decides'),
  samplers: noEffect('their order is fixed'),
  cache_prompt: noEffect('prefixes are always kept', [true]),
  id_slot: noEffect('there are no slots', [-1]),
  t_max_prompt_ms: noEffect('a prompt is read to its end'),
  t_max_predict_ms: noEffect('use n_predict'),
  response_fields: noEffect('everything is told'),
};

/**
 * Reads the body of an infill request; `model` is asked for where the request names none.
 *
 * @throws HadalError `request-invalid`
 * @example parseInfill({ input_prefix: 'a = ', input_suffix: ';' }, () => 'coder').fields.suffix; // ';'
 */
export function parseInfill(body: unknown, model: () => string): ParsedBody<CompletionRequest> {
  const { fields, withoutEffect } = parseBody(infillSchema, INFILL_FIELDS, body);
  const extra = (fields.input_extra ?? []).map(({ filename, text }) => `#${filename ?? ''}\n${text}\n\n`);
  const most = fields.n_predict ?? -1;
  const keepAliveMs = keepAliveOf(fields.keep_alive ?? undefined);
  const pairs: [keyof Sampling, number | null | undefined][] = [
    ['temperature', fields.temperature],
    ['topK', fields.top_k],
    ['topP', fields.top_p],
    ['minP', fields.min_p],
    ['seed', (fields.seed ?? -1) < 0 ? undefined : fields.seed],
  ];
  return {
    fields: {
      kind: 'completion',
      model: fields.model ?? model(),
      prompts: [`${extra.join('')}${fields.input_prefix}${fields.prompt ?? ''}`],
      suffix: fields.input_suffix,
      sampling: Object.fromEntries(pairs.filter(([, value]) => value !== undefined && value !== null)),
      stop: fields.stop ?? [],
      choices: 1,
      stream: fields.stream ?? false,
      ...(most < 0 ? {} : { maxTokens: Math.max(1, most) }),
      ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
    },
    withoutEffect,
  };
}

const STOP_TYPES: Readonly<Record<FinishReason, string>> = {
  stop: 'eos',
  length: 'limit',
  'tool-calls': 'eos',
  abort: 'limit',
};

function ending(delta: Extract<Delta, { type: 'end' }>, { model }: ResponseContext): object {
  const { reason, stopText, usage } = delta;
  const promptTokens = usage.promptTokens - usage.cachedTokens;
  return {
    index: 0,
    stop: true,
    model,
    tokens_predicted: usage.generatedTokens,
    tokens_evaluated: usage.promptTokens,
    tokens_cached: usage.cachedTokens,
    truncated: false,
    stop_type: stopText === undefined ? STOP_TYPES[reason] : 'word',
    stopping_word: stopText ?? '',
    timings: {
      cache_n: usage.cachedTokens,
      prompt_n: promptTokens,
      prompt_ms: usage.prefillMs,
      prompt_per_second: perSecond(promptTokens, usage.prefillMs),
      predicted_n: usage.generatedTokens,
      predicted_ms: usage.decodeMs,
      predicted_per_second: perSecond(usage.generatedTokens, usage.decodeMs),
      ...(usage.drafts && { draft_n: usage.drafts.drafted, draft_n_accepted: usage.drafts.accepted }),
    },
  };
}

const perSecond = (count: number, ms: number): number => (ms > 0 ? (count * 1000) / ms : 0);

/** A whole middle as one document. Example: `infillDocument(deltas, context)` */
export function infillDocument(deltas: Iterable<Delta>, context: ResponseContext): object {
  let content = '';
  let end: object = {};
  for (const delta of deltas) {
    if (delta.type === 'content') content += delta.text;
    else if (delta.type === 'end') end = ending(delta, context);
  }
  return { content, ...end };
}

/** The events of a middle. Example: `const encoder = infillStream(context);` */
export function infillStream(context: ResponseContext): StreamEncoder {
  return {
    push(delta) {
      if (delta.type === 'content') {
        const { text: content, tokens } = delta;
        return [{ data: JSON.stringify({ index: 0, content, tokens: tokens.ids, stop: false }) }];
      }
      if (delta.type !== 'end') return [];
      return [{ data: JSON.stringify({ content: '', ...ending(delta, context) }) }];
    },
    end: () => [],
  };
}
