/**
 * Owns: OpenAI's usage block with DeepSeek's two cache counts, and its words for why an answer ended.
 * Refuses to know: what the answer says.
 */
import type { Delta, FinishReason } from '../../chat/delta.ts';
import type { Usage } from '../../engine/request.ts';

/** Why an answer ended, in OpenAI's words; an answer that was cut off by the server has DeepSeek's. */
export const FINISH_REASONS: Readonly<Record<FinishReason, string>> = {
  stop: 'stop',
  length: 'length',
  'tool-calls': 'tool_calls',
  abort: 'insufficient_system_resource',
};

/** Counts the tokens of a request over all its choices. */
export class UsageCounter {
  #prompt: Usage | undefined;
  #generatedTokens = 0;
  #reasoningTokens = 0;

  push(delta: Delta): void {
    if (delta.type === 'reasoning') this.#reasoningTokens += delta.tokens.ids.length;
    if (delta.type !== 'end') return;
    // The prompt is one, however many answers there are: choice 0 says what of it was computed.
    if (this.#prompt === undefined || delta.choice === 0) this.#prompt = delta.usage;
    this.#generatedTokens += delta.usage.generatedTokens;
  }

  /** The `usage` of the response. */
  body(): object {
    const promptTokens = this.#prompt?.promptTokens ?? 0;
    const cachedTokens = this.#prompt?.cachedTokens ?? 0;
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#generatedTokens,
      total_tokens: promptTokens + this.#generatedTokens,
      prompt_tokens_details: { cached_tokens: cachedTokens },
      completion_tokens_details: { reasoning_tokens: this.#reasoningTokens },
      prompt_cache_hit_tokens: cachedTokens,
      prompt_cache_miss_tokens: promptTokens - cachedTokens,
    };
  }
}
