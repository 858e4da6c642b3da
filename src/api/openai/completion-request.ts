/**
 * Owns: OpenAI's `completions` request, which is also DeepSeek's for fill-in-the-middle: schema, fields, meaning.
 * Refuses to know: HTTP, models, responses.
 */
import { z } from 'zod';
import { HadalError } from '../../error.ts';
import { type FieldTable, honoured, noEffect, type ParsedBody, parseBody, refused } from '../fields.ts';
import type { CompletionRequest } from '../request.ts';
import { SETTINGS_FIELDS, settingsOf, settingsShape } from './settings.ts';

const MOST_PROMPTS = 128;
const MOST_ANSWERS = 128;
/** They are held until the answer is complete. */
const MOST_PROMPT_LOGPROBS = 2 ** 20;

const ids = z.array(z.int().min(0)).min(1);

/** The body of `POST /v1/completions`. */
export const completionSchema = z.looseObject({
  ...settingsShape,
  max_tokens: z.int().min(0).nullish(),
  prompt: z.union([
    z.string(),
    ids,
    z.array(z.string()).min(1).max(MOST_PROMPTS),
    z.array(ids).min(1).max(MOST_PROMPTS),
  ]),
  suffix: z.string().nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
});

/** What becomes of every field of `completions`. */
export const COMPLETION_FIELDS: FieldTable = {
  prompt: honoured('a text, token ids, or a list of either; special tokens written in a text are recognised'),
  suffix: honoured('fill in the middle, on models with the tokens for it'),
  echo: honoured('the prompt goes before the answer'),
  logprobs: honoured(
    '0 to 20 alternatives; with `echo` of the prompt too, `null` for a token that nothing precedes',
  ),
  ...SETTINGS_FIELDS,
  max_tokens: honoured('longest answer; 0 beside `echo` and `logprobs`; to the end of the context otherwise'),
  best_of: refused('ask for `n` answers and choose', [1]),
  thinking: noEffect('completions do not think', [{ type: 'disabled' }]),
};

/** A completion in neutral terms, and what only the response needs to know. */
export interface ParsedCompletion {
  readonly request: CompletionRequest;
  readonly includeUsage: boolean;
  readonly echo: boolean;
}

/**
 * Reads the body of a `completions` request.
 *
 * @throws HadalError `request-invalid`, `field-refused`
 * @example parseCompletion({ model: 'smollm2-135m', prompt: 'Once' }).fields.request;
 */
export function parseCompletion(body: unknown): ParsedBody<ParsedCompletion> {
  const { fields, withoutEffect } = parseBody(completionSchema, COMPLETION_FIELDS, body);
  const { suffix, logprobs } = fields;
  const echo = fields.echo ?? false;
  const prompts = promptsOf(fields.prompt);
  const settings = settingsOf(fields);
  const check = (wrong: boolean, what: string, expected: string, got: string) => {
    if (wrong) throw new HadalError('request-invalid', { what, expected, got, next: 'correct the request' });
  };
  check(echo && suffix != null, 'echo', 'no suffix beside it', 'one');
  const scored = echo && logprobs != null;
  check(
    fields.max_tokens === 0 && !scored,
    'max_tokens',
    'at least 1, or `echo` and `logprobs` beside it',
    '0',
  );
  const scores = scored ? mostTokens(prompts) * settings.choices * (logprobs + 1) : 0;
  check(
    scores > MOST_PROMPT_LOGPROBS,
    'logprobs',
    `at most ${MOST_PROMPT_LOGPROBS} of all prompts, alternatives included`,
    `up to ${scores}`,
  );
  const answers = prompts.length * settings.choices;
  check(answers > MOST_ANSWERS, 'n', `at most ${MOST_ANSWERS} answers in all`, `${answers}`);
  return {
    fields: {
      request: {
        kind: 'completion',
        model: fields.model,
        prompts,
        ...settings,
        ...(suffix == null ? {} : { suffix }),
        ...(logprobs == null ? {} : { topLogprobs: logprobs }),
        ...(scored ? { promptLogprobs: logprobs } : {}),
      },
      includeUsage: fields.stream_options?.include_usage ?? false,
      echo,
    },
    withoutEffect,
  };
}

/** No text has more tokens than bytes; characters are near enough to that for a bound. */
function mostTokens(prompts: CompletionRequest['prompts']): number {
  return prompts.reduce((sum, { length }) => sum + length, 0);
}

function promptsOf(prompt: z.output<typeof completionSchema>['prompt']): CompletionRequest['prompts'] {
  if (typeof prompt === 'string') return [prompt];
  // A list of numbers is one prompt; anything else is a list of prompts.
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as string[] | number[][]);
}
