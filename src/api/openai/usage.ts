/**
 * Owns: OpenAI's usage block with DeepSeek's two cache counts and what drafts did, and its words for why an answer ended.
 * Refuses to know: what the answer says.
 */
import type { Delta, FinishReason } from '../../chat/delta.ts';
import type { Usage } from '../../engine/request.ts';
import { type DraftsDocument, draftsDocument, draftsOf } from '../drafts.ts';

/** Why an answer ended, in OpenAI's words; an answer that was cut off by the server has DeepSeek's. */
export const FINISH_REASONS: Readonly<Record<FinishReason, string>> = {
  stop: 'stop',
  length: 'length',
  'tool-calls': 'tool_calls',
  abort: 'insufficient_system_resource',
};

/** The `usage` of a response. */
export interface UsageDocument {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  readonly completion_tokens_details: {
    readonly reasoning_tokens: number;
    /** Of the tokens that were drafted ahead those that were right, and the others, which `completion_tokens` leaves out. */
    readonly accepted_prediction_tokens: number;
    readonly rejected_prediction_tokens: number;
  };
  readonly prompt_cache_hit_tokens: number;
  readonly prompt_cache_miss_tokens: number;
  /** Absent where nothing was drafted. */
  readonly drafts?: DraftsDocument;
}

/** Counts the tokens of a request over all its choices, of which so many in a row answer the same prompt. */
export class UsageCounter {
  readonly #choicesPerPrompt: number;
  #promptTokens = 0;
  #cachedTokens = 0;
  #generatedTokens = 0;
  #reasoningTokens = 0;
  readonly #usages: Usage[] = [];

  constructor(choicesPerPrompt: number) {
    this.#choicesPerPrompt = choicesPerPrompt;
  }

  push(delta: Delta): void {
    if (delta.type === 'reasoning') this.#reasoningTokens += delta.tokens.ids.length;
    if (delta.type !== 'end') return;
    // A prompt counts once, however many answers it has: the first of them says what of it was computed.
    if (delta.choice % this.#choicesPerPrompt === 0) {
      this.#promptTokens += delta.usage.promptTokens;
      this.#cachedTokens += delta.usage.cachedTokens;
    }
    this.#generatedTokens += delta.usage.generatedTokens;
    this.#usages.push(delta.usage);
  }

  /** The `usage` of the response. */
  body(): UsageDocument {
    const promptTokens = this.#promptTokens;
    const cachedTokens = this.#cachedTokens;
    const drafts = draftsOf(this.#usages);
    const { drafted = 0, accepted = 0 } = drafts ?? {};
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#generatedTokens,
      total_tokens: promptTokens + this.#generatedTokens,
      prompt_tokens_details: { cached_tokens: cachedTokens },
      completion_tokens_details: {
        reasoning_tokens: this.#reasoningTokens,
        accepted_prediction_tokens: accepted,
        rejected_prediction_tokens: drafted - accepted,
      },
      prompt_cache_hit_tokens: cachedTokens,
      prompt_cache_miss_tokens: promptTokens - cachedTokens,
      ...(drafts === undefined ? {} : { drafts: draftsDocument(drafts) }),
    };
  }
}
