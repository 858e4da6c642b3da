/**
 * Owns: an engine, a tokenizer and a chat format put together: messages or text in, deltas out.
 * Refuses to know: files, where the engine runs, terminals, protocols.
 */
import type { Delta, FinishReason, Message } from '../chat/delta.ts';
import type { AnswerParser, ChatFormat } from '../chat/format.ts';
import { plainParser } from '../chat/parsers/plain.ts';
import { encodePrompt } from '../chat/prompt.ts';
import type { EndReason, EngineEvent, GenerateRequest, Sampling, Usage } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** What an answerer needs of an engine, wherever it runs. */
export interface AnsweringEngine {
  generate(request: GenerateRequest): AsyncIterable<EngineEvent>;
  abort(requestId: string): void;
}

/** Options of one answer. */
export interface AnswerOptions {
  /** Over the answerer's own sampling, field by field. */
  readonly sampling?: Partial<Sampling>;
  /** To the end of the context when absent. */
  readonly maxTokens?: number;
  readonly stop?: readonly string[];
  /** Number of alternatives to report with each token. */
  readonly topLogprobs?: number;
  /** Ends the answer; what was said so far stays said, and the `end` delta still comes. */
  readonly signal?: AbortSignal;
}

/** Something that answers. */
export interface Answerer {
  readonly tokenizer: Tokenizer;
  /** Tokens of prompt and answer together. */
  readonly contextTokens: number;
  readonly sampling: Sampling;
  /**
   * Answers a conversation: progress, content, one end.
   *
   * @throws HadalError `chat-template-missing`, `chat-template-unknown`, `prompt-too-long`, and the engine's own.
   */
  chat(messages: readonly Message[], options?: AnswerOptions): AsyncIterable<Delta>;
  /** Continues a text as it is; special tokens written in it are recognised. */
  complete(text: string, options?: AnswerOptions): AsyncIterable<Delta>;
  /** Tokens that a conversation takes, the opening of the answer included. */
  countTokens(messages: readonly Message[]): number;
}

/** What {@link createAnswerer} puts together. */
export interface AnswererParts {
  readonly engine: AnsweringEngine;
  readonly tokenizer: Tokenizer;
  readonly contextTokens: number;
  readonly sampling: Sampling;
  /** Throws where the model has no known chat format. */
  readonly chatFormat: () => ChatFormat;
}

/**
 * Puts an engine, a tokenizer and a chat format together.
 *
 * @example
 * for await (const delta of createAnswerer(parts).chat([{ role: 'user', content: 'Hi' }])) show(delta);
 */
export function createAnswerer(parts: AnswererParts): Answerer {
  const { engine, tokenizer, contextTokens, sampling } = parts;
  let requests = 0;
  const answer = (
    promptIds: Int32Array,
    parser: AnswerParser,
    ends: readonly number[],
    options: AnswerOptions,
  ) =>
    generate(engine, parser, options.signal, {
      requestId: `answer-${++requests}`,
      promptIds,
      maxTokens: maxTokens(promptIds.length, contextTokens, options.maxTokens),
      sampling: { ...sampling, ...options.sampling },
      endIds: ends,
      ...(options.topLogprobs === undefined ? {} : { topLogprobs: options.topLogprobs }),
    });
  return {
    tokenizer,
    contextTokens,
    sampling,
    async *chat(messages, options = {}) {
      const format = parts.chatFormat();
      const promptIds = encodePrompt(tokenizer, format.parts(messages));
      const parser = format.parser({ tokenizer, stop: options.stop ?? [] });
      yield* answer(promptIds, parser, format.endIds, options);
    },
    async *complete(text, options = {}) {
      const promptIds = tokenizer.encode(text, { special: true, bos: true });
      const parser = plainParser({ tokenizer, stop: options.stop ?? [] });
      yield* answer(promptIds, parser, [...tokenizer.endIds], options);
    },
    countTokens: (messages) => encodePrompt(tokenizer, parts.chatFormat().parts(messages)).length,
  };
}

/**
 * Tokens of the context that are still free after an answer.
 *
 * @example contextLeft(answerer.contextTokens, end.usage); // 8147
 */
export function contextLeft(contextTokens: number, usage: Usage): number {
  return Math.max(0, contextTokens - usage.promptTokens - usage.generatedTokens);
}

function maxTokens(promptTokens: number, contextTokens: number, wanted: number | undefined): number {
  if (promptTokens === 0) {
    throw new HadalError('prompt-empty', {
      what: 'the prompt',
      expected: 'at least one token',
      got: 'none',
      next: 'write something',
    });
  }
  const free = contextTokens - promptTokens;
  if (free < 1) {
    throw new HadalError('prompt-too-long', {
      what: 'the prompt',
      expected: `fewer than ${contextTokens} tokens, the context of this model as it was opened`,
      got: `${promptTokens}`,
      next: 'shorten it, or open the model with a larger context if it has one',
    });
  }
  return Math.min(wanted ?? free, free);
}

async function* generate(
  engine: AnsweringEngine,
  parser: AnswerParser,
  signal: AbortSignal | undefined,
  request: GenerateRequest,
): AsyncGenerator<Delta> {
  signal?.throwIfAborted();
  const ends = new Set(request.endIds);
  const abort = () => engine.abort(request.requestId);
  let ended = false;
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for await (const event of engine.generate(request)) {
      switch (event.type) {
        case 'prefill':
          yield {
            type: 'progress',
            choice: 0,
            stage: 'prefill',
            done: event.doneTokens,
            total: event.totalTokens,
          };
          break;
        case 'token':
          if (ends.has(event.id) || parser.stopText !== undefined) break;
          yield* parser.push(event);
          if (parser.stopText !== undefined) abort();
          break;
        case 'end': {
          ended = true;
          yield* parser.end();
          const { stopText } = parser;
          yield {
            type: 'end',
            choice: 0,
            reason: stopText === undefined ? FINISH[event.reason] : 'stop',
            ...(stopText === undefined ? {} : { stopText }),
            usage: event.usage,
          };
        }
      }
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    if (!ended) abort();
  }
}

const FINISH: Readonly<Record<EndReason, FinishReason>> = {
  stop: 'stop',
  length: 'length',
  context: 'length',
  abort: 'abort',
};
