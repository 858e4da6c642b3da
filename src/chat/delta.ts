/**
 * Owns: the one form in which every answer travels, from the parser to every protocol.
 * Refuses to know: how an answer is made and who reads it.
 */
import type { ScoredToken, TokenLogprob, Usage } from '../engine/request.ts';

/** Token ids behind a piece of text and, if asked for, their log-probabilities. */
export interface Tokens {
  readonly ids: readonly number[];
  readonly logprobs?: readonly { readonly chosen: TokenLogprob; readonly top: readonly TokenLogprob[] }[];
}

/** Why an answer ended: the API's terms. */
export type FinishReason = 'stop' | 'length' | 'tool-calls' | 'abort';

/** A closed union: every protocol must handle each member. `choice` counts parallel answers from 0. */
export type Delta =
  | {
      readonly type: 'progress';
      readonly choice: number;
      /** Bytes of weights, requests that go before this one (`done` is 0 then), or tokens of the prompt. */
      readonly stage: 'load' | 'queue' | 'prefill';
      readonly done: number;
      readonly total: number;
    }
  | {
      readonly type: 'prompt';
      readonly choice: number;
      /** The next tokens of the prompt, where its log-probabilities are asked for: none of a token that nothing precedes. */
      readonly tokens: readonly ScoredToken[];
    }
  | { readonly type: 'reasoning'; readonly choice: number; readonly text: string; readonly tokens: Tokens }
  | { readonly type: 'content'; readonly choice: number; readonly text: string; readonly tokens: Tokens }
  | {
      readonly type: 'tool-call';
      readonly choice: number;
      readonly index: number;
      readonly id?: string;
      readonly name?: string;
      readonly arguments: string;
      readonly tokens: Tokens;
    }
  | {
      readonly type: 'end';
      readonly choice: number;
      readonly reason: FinishReason;
      readonly stopText?: string;
      /** The token that ended the answer, which is no part of it, where log-probabilities are asked for. */
      readonly token?: ScoredToken;
      readonly usage: Usage;
    };

/** A call of a tool inside an earlier answer. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text of an object, as the model wrote it. */
  readonly arguments: string;
}

/** A stretch of an earlier answer, token by token as it was sampled. */
export interface SampledText {
  readonly text: string;
  readonly ids: readonly number[];
}

/** A message of a conversation, the common ground of every chat API. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  /** Thinking of an earlier answer, as clients hand it back. */
  readonly reasoning?: string;
  readonly toolCalls?: readonly ToolCall[];
  /** An earlier answer with calls as it was sampled, written instead of what the fields above would be rendered to. */
  readonly sampled?: { readonly reasoning?: SampledText; readonly answer: SampledText };
  /** Of a tool's result: the call that it answers. */
  readonly toolCallId?: string;
  /** Of a last message of the assistant: the answer goes on where its text ends (prefill). */
  readonly prefix?: boolean;
}

/** A function that the model may call. */
export interface ToolDefinition {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of the arguments, an object; a function without arguments when absent. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** Arguments must obey the schema exactly. */
  readonly strict?: boolean;
}

/** Whether tools are called: as the model likes, never, at least one, or this one. */
export type ToolChoice = 'auto' | 'none' | 'required' | { readonly name: string };

/** How long a model that knows degrees of it should think: the DeepSeek API's values. */
export type Effort = 'low' | 'high' | 'max';
