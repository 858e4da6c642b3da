/**
 * Owns: what the engine is asked and what it answers, in ids only; everything here can cross a message channel.
 * Refuses to know: text, prompts, HTTP.
 */
import type { ArchiveFigures } from './archive.ts';

/** How the next token is chosen. Every field but `temperature` is optional; 0 temperature is greedy. */
export interface Sampling {
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  /** llama.cpp's: logits of seen tokens divided (positive) or multiplied (negative) by this. 1 is off. */
  readonly repetitionPenalty?: number;
  /** Newest tokens that the penalties look at; the whole sequence when absent. */
  readonly penaltyTokens?: number;
  /** OpenAI's: subtracted once from tokens that the answer holds. */
  readonly presencePenalty?: number;
  /** OpenAI's: subtracted per occurrence in the answer. */
  readonly frequencyPenalty?: number;
  /** Added to logits before anything else: pairs of id and bias. */
  readonly logitBias?: readonly (readonly [id: number, bias: number])[];
  /** Same seed, same request, same answer. A random seed is chosen and reported when absent. */
  readonly seed?: number;
}

export interface GenerateRequest {
  /** Chosen by the caller, unique among live requests. */
  readonly requestId: string;
  readonly promptIds: Int32Array;
  readonly maxTokens: number;
  readonly sampling: Sampling;
  /** Ids that end the answer; the id itself is reported and not followed. */
  readonly endIds: readonly number[];
  /** Number of alternatives to report with each token's log-probability; absent: none reported. */
  readonly topLogprobs?: number;
  /** As {@link topLogprobs}, for the tokens of the prompt; `maxTokens` may be 0 then. Nothing of the prompt comes from the cache. */
  readonly promptLogprobs?: number;
  /** Whose request it is: tenants take turns, however much each of them asks. One tenant when absent. */
  readonly tenant?: string;
  /** Prompts share their beginnings only where this is the same. */
  readonly cacheSalt?: string;
  /** What the answer is held to, for the engine's `ConstraintMaker` to read; it can cross a message channel. */
  readonly constraint?: unknown;
}

export interface TokenLogprob {
  readonly id: number;
  /** Natural logarithm of the model's probability, before penalties and temperature. */
  readonly logprob: number;
}

/** A token, and what was asked for of its log-probability. */
export interface ScoredToken {
  readonly id: number;
  readonly logprob?: number;
  readonly top?: readonly TokenLogprob[];
}

export interface Usage {
  readonly promptTokens: number;
  /** Of the prompt, tokens whose cache rows were there already. */
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** Tokens drafted ahead and computed, and those of them that were right and saved a step; absent when none were. */
  readonly drafts?: DraftFigures;
  readonly seed: number;
}

/** What became of drafted tokens. */
export interface DraftCounts {
  readonly drafted: number;
  readonly accepted: number;
}

/** What drafting did. */
export interface DraftFigures extends DraftCounts {
  /** Tokens that a step of the answer gave on average, the one after the prompt apart. */
  readonly tokensPerStep: number;
  /** How many times as fast as without drafts, as measured: what plain steps take, over what these took. */
  readonly gain: number;
}

/** Logits of a given text, for evaluation. */
export interface ScoreRequest {
  readonly requestId: string;
  readonly ids: Int32Array;
  /** As which class the tokens are computed. */
  readonly class: 'prefill' | 'decode';
}

/** Logits of some positions in order. */
export interface ScoreEvent {
  readonly firstPosition: number;
  /** [positions, vocab] */
  readonly logits: Float32Array;
}

/** How the hidden states of a text become one vector: their mean, or that of the last token. */
export type Pooling = 'mean' | 'last';

/** One vector for a text. */
export interface EmbedRequest {
  readonly requestId: string;
  readonly ids: Int32Array;
  readonly pooling: Pooling;
  /** As of {@link GenerateRequest}. */
  readonly tenant?: string;
}

/** The vector of a text, the only event of its request. */
export interface EmbedEvent {
  /** Pooled from the hidden states after the last norm, not normalised: [hidden]. */
  readonly vector: Float32Array;
}

/** What an engine is doing. */
export interface EngineStats {
  readonly runningRequests: number;
  readonly waitingRequests: number;
  readonly pageTokens: number;
  /** Pages of the cache: held by running requests, and kept for prompts that begin alike. */
  readonly pages: { readonly total: number; readonly used: number; readonly kept: number };
  readonly weightBytes: number;
  readonly cacheBytes: number;
  readonly tensorBytes: number;
  /** Steps since the start, and rows computed in them by class. */
  readonly steps: number;
  readonly prefillRows: number;
  readonly decodeRows: number;
  /** Tokens drafted ahead since the start. */
  readonly drafts: DraftFigures;
  /** Pages of the cache on disk; absent where there is none. */
  readonly disk?: ArchiveFigures;
  /** How often experts were chosen since the engine began; present when it counts them. */
  readonly experts?: readonly ExpertUse[];
}

/** How often each expert of a layer was chosen. */
export interface ExpertUse {
  readonly layer: number;
  /** [experts] */
  readonly counts: Int32Array;
}

export type EndReason = 'stop' | 'length' | 'context' | 'abort';

/** What comes back for a request, in order: queued*, (prompt | prefill)*, token*, one end — or one error. */
export type EngineEvent =
  | {
      readonly type: 'queued';
      /** Requests that go before this one. */
      readonly before: number;
    }
  | { readonly type: 'prefill'; readonly doneTokens: number; readonly totalTokens: number }
  | {
      readonly type: 'prompt';
      /** The next tokens of the prompt, each given all before it; the first of all has no log-probability. */
      readonly tokens: readonly ScoredToken[];
    }
  | ({ readonly type: 'token' } & ScoredToken)
  | { readonly type: 'end'; readonly reason: EndReason; readonly usage: Usage };
