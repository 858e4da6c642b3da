/**
 * Owns: deltas as OpenAI's `chat.completion` and `chat.completion.chunk`, with DeepSeek's `reasoning_content`.
 * Refuses to know: requests, HTTP, how deltas come about.
 */
import type { Delta, Tokens } from '../../chat/delta.ts';
import type { TokenLogprob } from '../../engine/request.ts';
import type { ResponseContext, StreamEncoder, StreamEvent } from '../request.ts';
import { FINISH_REASONS, UsageCounter, type UsageDocument } from './usage.ts';

/** What a stream or document is to hold beside the answer. */
export interface ChatResponseOptions {
  readonly includeUsage: boolean;
  readonly logprobs: boolean;
}

/** A chunk of a stream as it is written. */
export interface ChatChunk {
  readonly id: string;
  readonly object: string;
  readonly created: number;
  readonly model: string;
  readonly choices: readonly ChunkChoice[];
  readonly usage?: UsageDocument;
}

interface ChunkChoice {
  readonly index: number;
  readonly delta: ChunkDelta;
  readonly logprobs: ChatLogprobs | null;
  readonly finish_reason: string | null;
}

interface ChunkDelta {
  readonly role?: 'assistant';
  readonly content?: string | null;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly ToolCallPart[];
}

interface ToolCallPart {
  readonly index: number;
  readonly id?: string;
  readonly type?: 'function';
  readonly function: { readonly name?: string; readonly arguments: string };
}

interface LogprobEntry {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
}

interface ChatLogprobs {
  readonly content: readonly (LogprobEntry & { readonly top_logprobs: readonly LogprobEntry[] })[];
}

/** All choices of a chat answer the same prompt. */
const MANY = Number.MAX_SAFE_INTEGER;
const DONE: StreamEvent = { data: '[DONE]' };

/**
 * The stream of a chat answer: one chunk for each delta, a chunk with the usage if asked for, `[DONE]`.
 *
 * @example
 * const encoder = chatStream(context, { includeUsage: true, logprobs: false });
 * for await (const delta of deltas) for (const event of encoder.push(delta)) send(event);
 */
export function chatStream(context: ResponseContext, options: ChatResponseOptions): StreamEncoder {
  const usage = new UsageCounter(MANY);
  const opened = new Set<number>();
  const chunk = (choices: readonly ChunkChoice[], more: Pick<ChatChunk, 'usage'> = {}): StreamEvent => {
    const document: ChatChunk = { ...head(context, 'chat.completion.chunk'), choices, ...more };
    return { data: JSON.stringify(document) };
  };
  const choice = (index: number, delta: ChunkDelta, tokens?: Tokens, finishReason: string | null = null) => {
    const first = opened.has(index) ? {} : { role: 'assistant' as const };
    opened.add(index);
    const logprobs = tokens && options.logprobs ? chatLogprobs(tokens, context) : null;
    return chunk([{ index, delta: { ...first, ...delta }, logprobs, finish_reason: finishReason }]);
  };
  return {
    push(delta) {
      usage.push(delta);
      switch (delta.type) {
        case 'progress':
        case 'prompt':
          return [];
        case 'content':
          return [choice(delta.choice, { content: delta.text }, delta.tokens)];
        case 'reasoning':
          return [choice(delta.choice, { content: null, reasoning_content: delta.text })];
        case 'tool-call':
          return [choice(delta.choice, { tool_calls: [toolCallPart(delta)] })];
        case 'end':
          return [
            choice(
              delta.choice,
              opened.has(delta.choice) ? {} : { content: '' },
              undefined,
              FINISH_REASONS[delta.reason],
            ),
          ];
      }
    },
    end: () => [...(options.includeUsage ? [chunk([], { usage: usage.body() })] : []), DONE],
  };
}

interface ChatChoice {
  content: string;
  reasoning: string;
  readonly toolCalls: Map<number, { id: string; name: string; arguments: string }>;
  readonly logprobs: object[];
  finishReason: string;
}

/**
 * A whole chat answer as one document.
 *
 * @example const body = chatDocument(deltas, context, { includeUsage: true, logprobs: false });
 */
export function chatDocument(
  deltas: Iterable<Delta>,
  context: ResponseContext,
  options: Pick<ChatResponseOptions, 'logprobs'>,
): object {
  const usage = new UsageCounter(MANY);
  const choices = new Map<number, ChatChoice>();
  for (const delta of deltas) {
    usage.push(delta);
    const choice = choices.get(delta.choice) ?? emptyChoice();
    choices.set(delta.choice, choice);
    take(choice, delta, options.logprobs ? context : undefined);
  }
  return {
    ...head(context, 'chat.completion'),
    choices: [...choices]
      .toSorted(([a], [b]) => a - b)
      .map(([index, choice]) => choiceBody(index, choice, options.logprobs)),
    usage: usage.body(),
  };
}

function emptyChoice(): ChatChoice {
  return { content: '', reasoning: '', toolCalls: new Map(), logprobs: [], finishReason: 'stop' };
}

function take(choice: ChatChoice, delta: Delta, logprobsIn: ResponseContext | undefined): void {
  switch (delta.type) {
    case 'progress':
    case 'prompt':
      return;
    case 'content':
      choice.content += delta.text;
      if (logprobsIn) choice.logprobs.push(...chatLogprobs(delta.tokens, logprobsIn).content);
      return;
    case 'reasoning':
      choice.reasoning += delta.text;
      return;
    case 'tool-call': {
      const call = choice.toolCalls.get(delta.index) ?? { id: '', name: '', arguments: '' };
      if (delta.id !== undefined) call.id = delta.id;
      if (delta.name !== undefined) call.name = delta.name;
      call.arguments += delta.arguments;
      choice.toolCalls.set(delta.index, call);
      return;
    }
    case 'end':
      choice.finishReason = FINISH_REASONS[delta.reason];
  }
}

function choiceBody(index: number, choice: ChatChoice, logprobs: boolean): object {
  const calls = [...choice.toolCalls].toSorted(([a], [b]) => a - b);
  return {
    index,
    message: {
      role: 'assistant',
      content: choice.content === '' && calls.length > 0 ? null : choice.content,
      ...(choice.reasoning === '' ? {} : { reasoning_content: choice.reasoning }),
      ...(calls.length === 0
        ? {}
        : {
            tool_calls: calls.map(([, { id, name, arguments: args }]) => ({
              id,
              type: 'function',
              function: { name, arguments: args },
            })),
          }),
    },
    logprobs: logprobs ? { content: choice.logprobs } : null,
    finish_reason: choice.finishReason,
  };
}

function head(
  { id, model, createdSeconds }: ResponseContext,
  object: string,
): Omit<ChatChunk, 'choices' | 'usage'> {
  return { id, object, created: createdSeconds, model };
}

function toolCallPart(delta: Extract<Delta, { type: 'tool-call' }>): ToolCallPart {
  const { index, id, name, arguments: args } = delta;
  return {
    index,
    ...(id === undefined ? {} : { id, type: 'function' as const }),
    function: { ...(name === undefined ? {} : { name }), arguments: args },
  };
}

function chatLogprobs({ logprobs = [] }: Tokens, context: ResponseContext): ChatLogprobs {
  const entry = ({ id, logprob }: TokenLogprob): LogprobEntry => {
    const bytes = context.bytesOf(id);
    return { token: new TextDecoder().decode(bytes), logprob: finite(logprob), bytes: [...bytes] };
  };
  return {
    content: logprobs.map(({ chosen, top }) => ({ ...entry(chosen), top_logprobs: top.map(entry) })),
  };
}

/** JSON has no infinity; OpenAI writes -9999 for what is next to impossible. */
export function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : -9999;
}
