/**
 * Owns: which protocol a path belongs to, and so the shape of what goes wrong there.
 * Refuses to know: the routes themselves.
 */
import { anthropicError } from '../api/anthropic/error.ts';
import { ollamaError } from '../api/ollama/error.ts';
import { openaiError } from '../api/openai/error.ts';
import type { Problem } from '../api/problem.ts';
import type { StreamEvent } from '../api/request.ts';
import { type Framing, LINES } from '../http/sse.ts';

/** How a protocol tells of failures. */
export interface Protocol {
  readonly name: string;
  /** The document of a failed request. */
  error(problem: Problem): object;
  /** The events of a failure in a stream that has begun. */
  streamError(problem: Problem): readonly StreamEvent[];
  /** Server-sent events when absent. */
  readonly framing?: Framing;
}

/** OpenAI's, and DeepSeek's own. */
export const OPENAI: Protocol = {
  name: 'openai',
  error: openaiError,
  streamError: (problem) => [{ data: JSON.stringify(openaiError(problem)) }],
};

/** OpenAI's responses: the same, but that a stream's failure is an event. */
export const RESPONSES: Protocol = {
  ...OPENAI,
  name: 'responses',
  streamError: (problem) => [
    { event: 'error', data: JSON.stringify({ type: 'error', ...openaiError(problem) }) },
  ],
};

/** Anthropic's. */
export const ANTHROPIC: Protocol = {
  name: 'anthropic',
  error: anthropicError,
  streamError: (problem) => [{ event: 'error', data: JSON.stringify(anthropicError(problem)) }],
};

/** Ollama's. */
export const OLLAMA: Protocol = {
  name: 'ollama',
  error: ollamaError,
  streamError: (problem) => [{ data: JSON.stringify(ollamaError(problem)) }],
  framing: LINES,
};

/** Paths of each protocol; the first that fits, OpenAI's where none does. */
const PROTOCOLS: readonly (readonly [path: RegExp, protocol: Protocol])[] = [
  [/^\/v1\/messages(\/|$)/, ANTHROPIC],
  [/^\/anthropic\//, ANTHROPIC],
  [/^\/api\//, OLLAMA],
];

/** The protocol of a path. Example: `protocolOf('/v1/models').name // 'openai'` */
export function protocolOf(path: string): Protocol {
  return PROTOCOLS.find(([pattern]) => pattern.test(path))?.[1] ?? OPENAI;
}
