/**
 * Owns: an engine, a tokenizer and a chat format put together: messages or text in, deltas out.
 * Refuses to know: files, where the engine runs, terminals, protocols.
 */
import type { Delta, FinishReason, Message } from '../chat/delta.ts';
import type { AnswerParser, AnswerStart, ChatFormat } from '../chat/format.ts';
import { type AnswerGrammar, contentGrammar } from '../chat/grammar/form.ts';
import { infillEnds, infillParts, supportsInfill } from '../chat/infill.ts';
import { plainParser } from '../chat/parsers/plain.ts';
import { encodePrompt, encodePromptInSteps, renderPrompt } from '../chat/prompt.ts';
import { type ChatSupport, offered, type RenderOptions } from '../chat/support.ts';
import type {
  EndReason,
  EngineEvent,
  GenerateRequest,
  Sampling,
  ScoredToken,
  Usage,
} from '../engine/request.ts';
import { HadalError } from '../error.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { inTurns } from './in-turns.ts';
import { createReplayBook, type PrefixReport } from './replay.ts';

/** What an answerer needs of an engine, wherever it runs. */
export interface AnsweringEngine {
  generate(request: GenerateRequest): AsyncIterable<EngineEvent>;
  abort(requestId: string): void;
}

/** How a conversation is written for the model; the opening of an answer always belongs to it. */
export type ConversationOptions = Omit<RenderOptions, 'addGenerationPrompt'>;

/** Options of one answer. */
export interface AnswerOptions extends ConversationOptions {
  /** Over the answerer's own sampling, field by field. */
  readonly sampling?: Partial<Sampling>;
  /** To the end of the context when absent. */
  readonly maxTokens?: number;
  readonly stop?: readonly string[];
  /** Number of alternatives to report with each token. */
  readonly topLogprobs?: number;
  /** As that, for the tokens of a text that is continued; `maxTokens` may be 0 then. */
  readonly promptLogprobs?: number;
  /** Ends the answer; what was said so far stays said, and the `end` delta still comes. */
  readonly signal?: AbortSignal;
  /** Which of several parallel answers the deltas belong to; 0 when absent. */
  readonly choice?: number;
  /** Whose it is: tenants take turns. */
  readonly tenant?: string;
  /** Prompts share what was computed of their beginnings only where this is the same. */
  readonly cacheSalt?: string;
  /** Told, before a conversation is answered, what became of the beginning that it shares with its last request. */
  readonly onPrefix?: (report: PrefixReport) => void;
}

/** A conversation as the model reads it. */
export interface RenderedConversation {
  /** As the model's template would write it. */
  readonly text: string;
  readonly promptIds: Int32Array;
  readonly opens: AnswerStart;
}

/** Something that answers. */
export interface Answerer {
  readonly tokenizer: Tokenizer;
  /** Tokens of prompt and answer together. */
  readonly contextTokens: number;
  readonly sampling: Sampling;
  /**
   * Answers a conversation: progress, reasoning, content, tool calls, one end. A last message of the assistant with
   * `prefix` is continued. Every call has an id; an answer whose calls come back by their ids is read as it was written.
   *
   * @throws HadalError what {@link Answerer.render} throws, `prompt-too-long`, `constraint-unsupported`, and the engine's own.
   */
  chat(messages: readonly Message[], options?: AnswerOptions): AsyncIterable<Delta>;
  /** Continues a text as it is, special tokens written in it recognised; or ids as they are. */
  complete(prompt: string | ArrayLike<number>, options?: AnswerOptions): AsyncIterable<Delta>;
  /**
   * Writes what belongs between two texts: fill-in-the-middle.
   *
   * @throws HadalError `infill-unsupported` where the vocabulary lacks the tokens for it.
   */
  infill(prefix: string, suffix: string, options?: AnswerOptions): AsyncIterable<Delta>;
  /**
   * The prompt of a conversation.
   *
   * @throws HadalError `chat-template-missing`, `chat-template-unknown`, and what {@link ChatFormat.render} throws.
   */
  render(messages: readonly Message[], options?: ConversationOptions): RenderedConversation;
  /** Tokens that a conversation takes, the opening of the answer included. Rejects as {@link Answerer.render} throws. */
  countTokens(messages: readonly Message[], options?: ConversationOptions): Promise<number>;
  /** What the model's format has a place for; `chat` is undefined where no format is known. */
  readonly supports: { readonly chat: ChatSupport | undefined; readonly infill: boolean };
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
  const replays = createReplayBook(tokenizer);
  let requests = 0;
  const answer = (
    promptIds: Int32Array,
    parser: AnswerParser,
    ends: readonly number[],
    options: AnswerOptions,
    grammar = options.constraint && contentGrammar(options.constraint, {}),
  ) =>
    generate(engine, parser, options, {
      requestId: `answer-${++requests}`,
      promptIds,
      maxTokens: maxTokens(promptIds.length, contextTokens, options.maxTokens),
      sampling: { ...sampling, ...options.sampling },
      endIds: ends,
      ...(grammar === undefined ? {} : { constraint: grammar }),
      ...(options.topLogprobs === undefined ? {} : { topLogprobs: options.topLogprobs }),
      ...(options.promptLogprobs === undefined ? {} : { promptLogprobs: options.promptLogprobs }),
      ...(options.tenant === undefined ? {} : { tenant: options.tenant }),
      ...(options.cacheSalt === undefined ? {} : { cacheSalt: options.cacheSalt }),
    });
  const parsing = ({ stop = [], choice = 0 }: AnswerOptions) => ({ tokenizer, stop, choice });
  const written = async (
    format: ChatFormat,
    messages: readonly Message[],
    { signal, ...options }: ConversationOptions & Pick<AnswerOptions, 'signal'>,
  ) => {
    const prompt = format.render(messages, options);
    const steps = encodePromptInSteps(tokenizer, prompt.parts, format.marks);
    return { prompt, promptIds: await inTurns(steps, signal) };
  };
  return {
    tokenizer,
    contextTokens,
    sampling,
    async *chat(messages, options = {}) {
      const format = parts.chatFormat();
      const salt = options.cacheSalt ?? '';
      const restored = replays.restore(messages, salt);
      const { prompt, promptIds } = await written(format, restored, options);
      const { opens, opened = [], continues = false } = prompt;
      const parser = format.parser({
        ...parsing(options),
        opens,
        opened,
        continues,
        tools: offered(options),
      });
      const prefix = continues && opens === 'content' ? messages.at(-1)?.content : undefined;
      const thinkingEnd = opens === 'reasoning' ? format.thinkingEnd : undefined;
      const grammar = answerGrammar(format, options, { opens, thinkingEnd, prefix, tokenizer });
      const { report, turn } = replays.begin({
        messages: restored,
        tools: offered(options),
        salt,
        promptIds,
        thinkingEnd,
        begun: opened.length > 0 || continues,
      });
      options.onPrefix?.(report);
      const deltas = answer(promptIds, turn.follow(parser), format.endIds, options, grammar);
      for await (const delta of deltas) yield turn.delta(delta);
    },
    async *complete(prompt, options = {}) {
      const promptIds =
        typeof prompt === 'string'
          ? await inTurns(tokenizer.encodeInSteps(prompt, { special: true, bos: true }), options.signal)
          : Int32Array.from(prompt);
      const ends = [...tokenizer.endIds];
      const deltas = answer(promptIds, plainParser(parsing(options)), ends, options);
      // A beginning-of-sequence token that the text did not ask for is no token of it.
      let ours = typeof prompt === 'string' && tokenizer.addsBos && promptIds[0] === tokenizer.bosId;
      for await (const delta of deltas) {
        if (delta.type !== 'prompt' || !ours) yield delta;
        else yield { ...delta, tokens: delta.tokens.slice(1) };
        if (delta.type === 'prompt') ours = false;
      }
    },
    async *infill(prefix, suffix, options = {}) {
      const steps = encodePromptInSteps(tokenizer, infillParts(tokenizer, prefix, suffix));
      const promptIds = await inTurns(steps, options.signal);
      yield* answer(promptIds, plainParser(parsing(options)), infillEnds(tokenizer), options);
    },
    render(messages, options = {}) {
      const format = parts.chatFormat();
      const { parts: written, opens } = format.render(messages, options);
      return {
        text: renderPrompt(written),
        promptIds: encodePrompt(tokenizer, written, format.marks),
        opens,
      };
    },
    async countTokens(messages, options = {}) {
      return (await written(parts.chatFormat(), messages, options)).promptIds.length;
    },
    get supports() {
      return { chat: chatSupport(parts.chatFormat), infill: supportsInfill(tokenizer) };
    },
  };
}

/** A model without a known chat format still completes text, so this is no failure here. */
function chatSupport(chatFormat: () => ChatFormat): ChatSupport | undefined {
  try {
    return chatFormat().supports;
  } catch (error) {
    if (error instanceof HadalError) return undefined;
    throw error;
  }
}

/** What an answer of a chat is held to: its content, or its calls. */
function answerGrammar(
  format: ChatFormat,
  options: AnswerOptions,
  start: {
    readonly opens: AnswerStart;
    readonly thinkingEnd: string | undefined;
    readonly prefix: string | undefined;
    readonly tokenizer: Tokenizer;
  },
): AnswerGrammar | undefined {
  const { opens, thinkingEnd: after, prefix, tokenizer } = start;
  const { constraint } = options;
  const tools = offered(options);
  if (constraint !== undefined) {
    if (tools.length > 0) throw constraintWithTools();
    const ids = (format.marks ?? []).map((mark) => tokenizer.idOf(mark));
    return contentGrammar(constraint, {
      after,
      begun: prefix,
      marks: ids.filter((id) => id !== undefined),
    });
  }
  if (format.callGrammar === undefined && tools.some(({ strict }) => strict)) throw strictUnsupported(format);
  const held = format.callGrammar?.(options, opens);
  return held && { ...held, ...(after === undefined ? {} : { after }) };
}

function strictUnsupported({ family }: ChatFormat): HadalError {
  return new HadalError('constraint-unsupported', {
    what: `the chat format of this model (${family})`,
    expected: 'tools without `strict`, which it cannot be held to',
    got: 'a strict one',
    next: 'leave out strict, or take a model of a known family',
  });
}

function constraintWithTools(): HadalError {
  return new HadalError('constraint-unsupported', {
    what: 'this answer',
    expected: 'either tools or a form that the content is held to',
    got: 'both',
    next: 'leave one of them out, or choose no tool',
  });
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
  { signal, choice = 0 }: AnswerOptions,
  request: GenerateRequest,
): AsyncGenerator<Delta> {
  signal?.throwIfAborted();
  const ends = new Set(request.endIds);
  const abort = () => engine.abort(request.requestId);
  let ended = false;
  let endToken: ScoredToken | undefined;
  let called = false;
  /** What was generated until the answer was over: an engine elsewhere goes on for a moment. */
  let tokens = 0;
  const noted = (deltas: readonly Delta[]) => {
    called ||= deltas.some(({ type }) => type === 'tool-call');
    return deltas;
  };
  signal?.addEventListener('abort', abort, { once: true });
  try {
    for await (const event of engine.generate(request)) {
      switch (event.type) {
        case 'queued':
          yield { type: 'progress', choice, stage: 'queue', done: 0, total: event.before };
          break;
        case 'prefill':
          yield {
            type: 'progress',
            choice,
            stage: 'prefill',
            done: event.doneTokens,
            total: event.totalTokens,
          };
          break;
        case 'prompt':
          yield { type: 'prompt', choice, tokens: event.tokens };
          break;
        case 'token':
          if (parser.stopText !== undefined) break;
          tokens++;
          if (ends.has(event.id)) {
            endToken = scoredToken(event);
            break;
          }
          yield* noted(parser.push(event));
          if (parser.stopText !== undefined) abort();
          break;
        case 'end': {
          ended = true;
          yield* noted(parser.end());
          const { stopText } = parser;
          yield {
            type: 'end',
            choice,
            reason: finishReason(event.reason, stopText !== undefined, called),
            ...(stopText === undefined ? {} : { stopText }),
            ...(endToken === undefined ? {} : { token: endToken }),
            usage: { ...event.usage, generatedTokens: tokens },
          };
        }
      }
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    if (!ended) abort();
  }
}

function scoredToken({ id, logprob, top }: ScoredToken): ScoredToken | undefined {
  return logprob === undefined ? undefined : { id, logprob, ...(top === undefined ? {} : { top }) };
}

function finishReason(reason: EndReason, stopped: boolean, called: boolean): FinishReason {
  const finish = stopped ? 'stop' : FINISH[reason];
  return finish === 'stop' && called ? 'tool-calls' : finish;
}

const FINISH: Readonly<Record<EndReason, FinishReason>> = {
  stop: 'stop',
  length: 'length',
  context: 'length',
  abort: 'abort',
};
