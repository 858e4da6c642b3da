/**
 * Owns: deltas as Ollama's answers to `/api/chat` and `/api/generate`: lines of JSON, or one document.
 * Refuses to know: requests, HTTP, how deltas come about.
 */
import type { Delta, FinishReason, Tokens } from '../../chat/delta.ts';
import { argumentsObject } from '../call-arguments.ts';
import type { ResponseContext, StreamEncoder, StreamEvent } from '../request.ts';

/** Ollama knows no more reasons than these. */
const DONE_REASONS: Readonly<Record<FinishReason, string>> = {
  stop: 'stop',
  length: 'length',
  'tool-calls': 'stop',
  abort: 'length',
};

/** Which of the two requests is answered. */
export type OllamaKind = 'chat' | 'generate';

interface Call {
  readonly id: string;
  readonly name: string;
  arguments: string;
}

/** What one line holds of an answer. */
interface Part {
  readonly content?: string;
  readonly thinking?: string;
  readonly calls?: readonly Call[];
  readonly logprobs?: readonly object[];
}

/**
 * The lines of an answer. Calls come whole, when they are.
 *
 * @example const encoder = ollamaStream('chat', context); for (const event of encoder.push(delta)) send(event.data);
 */
export function ollamaStream(kind: OllamaKind, context: ResponseContext): StreamEncoder {
  const line = (fields: object): StreamEvent => ({ data: JSON.stringify({ ...head(context), ...fields }) });
  let call: { readonly index: number; readonly call: Call } | undefined;
  const takeCall = (): StreamEvent[] => {
    if (call === undefined) return [];
    const done = call.call;
    call = undefined;
    return [line({ ...body(kind, { calls: [done] }), done: false })];
  };
  return {
    push(delta) {
      switch (delta.type) {
        case 'progress':
        case 'prompt':
          return [];
        case 'content': {
          const part = { content: delta.text, logprobs: logprobsOf(delta.tokens, context) };
          return [...takeCall(), line({ ...body(kind, part), done: false })];
        }
        case 'reasoning':
          return [...takeCall(), line({ ...body(kind, { thinking: delta.text }), done: false })];
        case 'tool-call': {
          const events = call?.index === delta.index ? [] : takeCall();
          call ??= {
            index: delta.index,
            call: { id: delta.id ?? '', name: delta.name ?? '', arguments: '' },
          };
          call.call.arguments += delta.arguments;
          return events;
        }
        case 'end':
          return [...takeCall(), line({ ...body(kind, {}), ...ending(delta) })];
      }
    },
    end: () => [],
  };
}

/**
 * A whole answer as one document.
 *
 * @example const body = ollamaDocument('chat', deltas, context);
 */
export function ollamaDocument(kind: OllamaKind, deltas: Iterable<Delta>, context: ResponseContext): object {
  const calls: Call[] = [];
  const logprobs: object[] = [];
  let [content, thinking] = ['', ''];
  let end: object = {};
  for (const delta of deltas) {
    switch (delta.type) {
      case 'content':
        content += delta.text;
        logprobs.push(...logprobsOf(delta.tokens, context));
        break;
      case 'reasoning':
        thinking += delta.text;
        break;
      case 'tool-call':
        calls[delta.index] ??= { id: delta.id ?? '', name: delta.name ?? '', arguments: '' };
        calls[delta.index]!.arguments += delta.arguments;
        break;
      case 'end':
        end = ending(delta);
    }
  }
  return { ...head(context), ...body(kind, { content, thinking, calls, logprobs }), ...end };
}

/** What is said where a model was only loaded, or put out. */
export function ollamaLoaded(kind: OllamaKind, model: string, reason: 'load' | 'unload', now: Date): object {
  return { model, created_at: now.toISOString(), ...body(kind, {}), done: true, done_reason: reason };
}

function head({ model, createdSeconds }: ResponseContext): object {
  return { model, created_at: new Date(createdSeconds * 1000).toISOString() };
}

function body(kind: OllamaKind, { content = '', thinking = '', calls = [], logprobs = [] }: Part): object {
  const scored = logprobs.length === 0 ? {} : { logprobs };
  const thought = thinking === '' ? {} : { thinking };
  if (kind === 'generate') return { response: content, ...thought, ...scored };
  const called = calls.length === 0 ? {} : { tool_calls: calls.map(callBody) };
  return { message: { role: 'assistant', content, ...thought, ...called }, ...scored };
}

function callBody({ id, name, arguments: json }: Call, index: number): object {
  return { id, function: { index, name, arguments: argumentsObject(json) } };
}

const nanoseconds = (ms: number): number => Math.round(ms * 1e6);

function ending({ reason, usage }: Extract<Delta, { type: 'end' }>): object {
  return {
    done: true,
    done_reason: DONE_REASONS[reason],
    total_duration: nanoseconds(usage.prefillMs + usage.decodeMs),
    load_duration: 0,
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: nanoseconds(usage.prefillMs),
    eval_count: usage.generatedTokens,
    eval_duration: nanoseconds(usage.decodeMs),
  };
}

function logprobsOf({ logprobs = [] }: Tokens, { bytesOf }: ResponseContext): object[] {
  const entry = ({ id, logprob }: { readonly id: number; readonly logprob: number }) => {
    const bytes = bytesOf(id);
    // JSON has no infinity.
    return { token: new TextDecoder().decode(bytes), logprob: Math.max(logprob, -9999), bytes: [...bytes] };
  };
  return logprobs.map(({ chosen, top }) => ({ ...entry(chosen), top_logprobs: top.map(entry) }));
}
