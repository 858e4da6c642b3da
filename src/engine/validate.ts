/**
 * Owns: which requests the engine takes: bounds of every field, each refusal a sentence.
 * Refuses to know: how requests are carried out.
 */
import { HadalError } from '../error.ts';
import type { GenerateRequest, Sampling } from './request.ts';

interface Bound {
  readonly least: number;
  readonly most: number;
  readonly whole: boolean;
}

const bound = (least: number, most: number, whole = false): Bound => ({ least, most, whole });
const MOST = Number.MAX_SAFE_INTEGER;

/** Bounds of each field; the penalties' are those of OpenAI's API. */
const BOUNDS: Readonly<Record<Exclude<keyof Sampling, 'logitBias'>, Bound>> = {
  temperature: bound(0, 100),
  topK: bound(0, MOST, true),
  topP: bound(0, 1),
  minP: bound(0, 1),
  repetitionPenalty: bound(0.01, 100),
  penaltyTokens: bound(0, MOST, true),
  presencePenalty: bound(-2, 2),
  frequencyPenalty: bound(-2, 2),
  seed: bound(0, MOST, true),
};

interface PromptLimits {
  readonly vocabSize: number;
  readonly contextTokens: number;
}

/**
 * Refuses prompts that are empty, hold unknown ids or do not fit the context with at least one token of an answer.
 *
 * @throws HadalError `request-invalid`, `prompt-too-long`
 * @example checkPrompt(ids, { vocabSize: 49152, contextTokens: 8192 })
 */
export function checkPrompt(ids: Int32Array, { vocabSize, contextTokens }: PromptLimits): void {
  checkIds('the prompt', ids, vocabSize);
  if (ids.length >= contextTokens) throw tooLong('the prompt', `fewer than ${contextTokens}`, ids.length);
}

/**
 * Refuses texts that nothing follows: empty ones, with unknown ids, longer than the context.
 *
 * @throws HadalError `request-invalid`, `prompt-too-long`
 * @example checkText(ids, { vocabSize: 49152, contextTokens: 8192 })
 */
export function checkText(ids: Int32Array, { vocabSize, contextTokens }: PromptLimits): void {
  checkIds('the text', ids, vocabSize);
  if (ids.length > contextTokens) throw tooLong('the text', `at most ${contextTokens}`, ids.length);
}

function checkIds(what: string, ids: Int32Array, vocabSize: number): void {
  if (ids.length === 0) throw invalid(what, 'at least one token', 'none');
  const wrong = ids.find((id) => id < 0 || id >= vocabSize);
  if (wrong !== undefined) throw invalid(what, `token ids from 0 to ${vocabSize - 1}`, `${wrong}`);
}

function tooLong(what: string, most: string, got: number): HadalError {
  return new HadalError('prompt-too-long', {
    what,
    expected: `${most} tokens, the context of this model as it was opened`,
    got: `${got}`,
    next: 'shorten it, or open the model with a larger context if it has one',
  });
}

/**
 * Refuses a request whose numbers make no sense.
 *
 * @throws HadalError `request-invalid`
 * @example checkRequest(request, { vocabSize, contextTokens })
 */
export function checkRequest(request: GenerateRequest, limits: PromptLimits): void {
  checkPrompt(request.promptIds, limits);
  const { maxTokens, topLogprobs, promptLogprobs } = request;
  checkNumber('maxTokens', maxTokens, bound(promptLogprobs === undefined ? 1 : 0, MOST, true));
  for (const [field, value] of Object.entries({ topLogprobs, promptLogprobs })) {
    if (value !== undefined) checkNumber(field, value, bound(0, limits.vocabSize, true));
  }
  for (const [field, limit] of Object.entries(BOUNDS)) {
    const value = request.sampling[field as keyof typeof BOUNDS];
    if (value !== undefined) checkNumber(field, value, limit);
  }
  for (const [id, bias] of request.sampling.logitBias ?? []) {
    checkNumber('an id of logitBias', id, bound(0, limits.vocabSize - 1, true));
    checkNumber(`logitBias of ${id}`, bias, bound(-Number.MAX_VALUE, Number.MAX_VALUE));
  }
}

function checkNumber(what: string, value: number, { least, most, whole }: Bound): void {
  if (value >= least && value <= most && (!whole || Number.isInteger(value))) return;
  const range = most >= MOST ? `of at least ${least}` : `from ${least} to ${most}`;
  throw invalid(what, `a ${whole ? 'whole ' : ''}number ${range}`, `${value}`);
}

function invalid(what: string, expected: string, got: string): HadalError {
  return new HadalError('request-invalid', { what, expected, got, next: 'correct the request' });
}
