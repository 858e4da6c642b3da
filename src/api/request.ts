/**
 * Owns: what every protocol's request becomes before anything is done with it: the neutral request.
 * Refuses to know: any protocol's fields, HTTP, how an answer is made.
 */
import type { ConstraintSpec } from '../chat/constraint.ts';
import type { Delta, Effort, Message, ToolChoice, ToolDefinition } from '../chat/delta.ts';
import type { Pooling, Sampling } from '../engine/request.ts';

/** How an answer is made, whatever is asked. Absent fields leave the choice to the model. */
export interface AnswerSettings {
  readonly sampling: Partial<Sampling>;
  readonly maxTokens?: number;
  readonly stop: readonly string[];
  /** Number of alternatives reported with each token; no log-probabilities when absent. */
  readonly topLogprobs?: number;
  /** How many answers in parallel, at least 1. */
  readonly choices: number;
  /** As events while it is made, else as one document. */
  readonly stream: boolean;
  /** How long the model stays loaded after this; below 0 for ever. */
  readonly keepAliveMs?: number;
}

/** An answer to a conversation. */
export interface ChatRequest extends AnswerSettings {
  readonly kind: 'chat';
  readonly model: string;
  readonly messages: readonly Message[];
  readonly tools: readonly ToolDefinition[];
  readonly toolChoice?: ToolChoice;
  readonly thinking?: boolean;
  readonly effort?: Effort;
  /** Thinking and effort are wishes, which clients send to every model: what this one does not know is left out. */
  readonly wishes?: true;
  readonly constraint?: ConstraintSpec;
}

/** The continuation of texts, or what belongs between two. */
export interface CompletionRequest extends AnswerSettings {
  readonly kind: 'completion';
  readonly model: string;
  /** Texts, or ids of the model's own vocabulary. Choice c answers prompt floor(c / choices). */
  readonly prompts: readonly (string | readonly number[])[];
  /** As {@link AnswerSettings.topLogprobs}, for the tokens of the prompts. */
  readonly promptLogprobs?: number;
  /** The text after the gap: fill in the middle. */
  readonly suffix?: string;
}

/** Texts to be made vectors of. */
export interface EmbeddingRequest {
  readonly model: string;
  /** Texts, or ids of the model's own vocabulary. */
  readonly inputs: readonly (string | readonly number[])[];
  /** As the served model has it when absent. */
  readonly pooling?: Pooling;
  /** Numbers of a vector that the caller counts on. */
  readonly dimensions?: number;
  readonly keepAliveMs?: number;
}

/** What a protocol writes down of them. */
export interface EmbeddingAnswer {
  /** Each of length 1, in the order of the inputs. */
  readonly vectors: readonly Float32Array[];
  /** Tokens of all inputs. */
  readonly promptTokens: number;
  /** Until the model was loaded, and in all. */
  readonly loadMs: number;
  readonly totalMs: number;
}

/** Everything a protocol can ask an answer for. */
export type AnswerRequest = ChatRequest | CompletionRequest;

/** What a response says of itself beside the answer. */
export interface ResponseContext {
  /** e.g. `chatcmpl-…`. */
  readonly id: string;
  /** The model as the request named it. */
  readonly model: string;
  readonly createdSeconds: number;
  /** The bytes of a token, for log-probabilities. */
  readonly bytesOf: (id: number) => Uint8Array;
}

/** One event of a stream of server-sent events. */
export interface StreamEvent {
  readonly event?: string;
  readonly data: string;
}

/** Turns the deltas of one request into a protocol's stream. */
export interface StreamEncoder {
  push(delta: Delta): readonly StreamEvent[];
  /** What closes the stream, when every choice has ended. */
  end(): readonly StreamEvent[];
}
