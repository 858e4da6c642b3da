/**
 * Owns: deltas as OpenAI's `text_completion`, whole or in chunks.
 * Refuses to know: requests, HTTP, how deltas come about.
 */
import type { Delta, Tokens } from '../../chat/delta.ts';
import type { CompletionRequest, ResponseContext, StreamEncoder, StreamEvent } from '../request.ts';
import { finite } from './chat-response.ts';
import { FINISH_REASONS, UsageCounter } from './usage.ts';

/** What a response is to hold beside the answers. */
export interface CompletionResponseOptions {
  readonly request: Pick<CompletionRequest, 'prompts' | 'choices' | 'topLogprobs'>;
  readonly includeUsage: boolean;
  readonly echo: boolean;
}

/**
 * The stream of completions: a chunk for each delta, one with the usage if asked for, `[DONE]`.
 *
 * @example for await (const delta of deltas) for (const event of encoder.push(delta)) send(event);
 */
export function completionStream(
  context: ResponseContext,
  options: CompletionResponseOptions,
): StreamEncoder {
  const usage = new UsageCounter(options.request.choices);
  const states = new Map<number, CompletionChoice>();
  const chunk = (choices: readonly object[], more: object = {}): StreamEvent => ({
    data: JSON.stringify({ ...head(context), choices, ...more }),
  });
  return {
    push(delta) {
      usage.push(delta);
      if (delta.type === 'progress') return [];
      const state = choiceState(states, delta.choice, options, context);
      const text = state.unsent + take(state, delta, context);
      state.unsent = '';
      return [
        chunk([
          {
            index: delta.choice,
            text,
            logprobs: state.logprobs && takeLogprobs(state.logprobs),
            finish_reason: delta.type === 'end' ? FINISH_REASONS[delta.reason] : null,
          },
        ]),
      ];
    },
    end: () => [...(options.includeUsage ? [chunk([], { usage: usage.body() })] : []), { data: '[DONE]' }],
  };
}

/**
 * Whole completions as one document.
 *
 * @example const body = completionDocument(deltas, context, options);
 */
export function completionDocument(
  deltas: Iterable<Delta>,
  context: ResponseContext,
  options: CompletionResponseOptions,
): object {
  const usage = new UsageCounter(options.request.choices);
  const states = new Map<number, CompletionChoice>();
  const texts = new Map<number, string>();
  const reasons = new Map<number, string>();
  for (const delta of deltas) {
    usage.push(delta);
    const state = choiceState(states, delta.choice, options, context);
    texts.set(delta.choice, (texts.get(delta.choice) ?? state.unsent) + take(state, delta, context));
    if (delta.type === 'end') reasons.set(delta.choice, FINISH_REASONS[delta.reason]);
  }
  return {
    ...head(context),
    choices: [...states]
      .toSorted(([a], [b]) => a - b)
      .map(([index, { logprobs }]) => ({
        index,
        text: texts.get(index) ?? '',
        logprobs: logprobs && takeLogprobs(logprobs),
        finish_reason: reasons.get(index) ?? null,
      })),
    usage: usage.body(),
  };
}

interface Logprobs {
  readonly tokens: string[];
  readonly token_logprobs: number[];
  readonly top_logprobs: Record<string, number>[];
  readonly text_offset: number[];
}

interface CompletionChoice {
  /** The prompt, until it went out before the first text. */
  unsent: string;
  /** Characters of the answer so far. */
  offset: number;
  readonly logprobs: Logprobs | null;
}

function choiceState(
  states: Map<number, CompletionChoice>,
  choice: number,
  { request, echo }: CompletionResponseOptions,
  context: ResponseContext,
): CompletionChoice {
  const known = states.get(choice);
  if (known !== undefined) return known;
  const prompt = request.prompts[Math.floor(choice / request.choices)]!;
  const state: CompletionChoice = {
    unsent: echo ? textOf(prompt, context) : '',
    offset: 0,
    logprobs: request.topLogprobs === undefined ? null : emptyLogprobs(),
  };
  states.set(choice, state);
  return state;
}

function emptyLogprobs(): Logprobs {
  return { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
}

/** Everything since the last call. */
function takeLogprobs(logprobs: Logprobs): Logprobs {
  const taken = {
    tokens: logprobs.tokens.splice(0),
    token_logprobs: logprobs.token_logprobs.splice(0),
    top_logprobs: logprobs.top_logprobs.splice(0),
    text_offset: logprobs.text_offset.splice(0),
  };
  return taken;
}

/** The text of a delta; its log-probabilities are noted. */
function take(state: CompletionChoice, delta: Delta, context: ResponseContext): string {
  if (delta.type !== 'content') return '';
  if (state.logprobs) note(state.logprobs, state.offset, delta.tokens, context);
  state.offset += delta.text.length;
  return delta.text;
}

function note(into: Logprobs, offset: number, { logprobs = [] }: Tokens, context: ResponseContext): void {
  let at = offset;
  for (const { chosen, top } of logprobs) {
    const token = textOf([chosen.id], context);
    into.tokens.push(token);
    into.token_logprobs.push(finite(chosen.logprob));
    into.top_logprobs.push(
      Object.fromEntries(top.map(({ id, logprob }) => [textOf([id], context), finite(logprob)])),
    );
    into.text_offset.push(at);
    at += token.length;
  }
}

function textOf(prompt: string | readonly number[], { bytesOf }: ResponseContext): string {
  if (typeof prompt === 'string') return prompt;
  const decoder = new TextDecoder();
  return prompt.map((id) => decoder.decode(bytesOf(id), { stream: true })).join('') + decoder.decode();
}

function head({ id, model, createdSeconds }: ResponseContext): object {
  return { id, object: 'text_completion', created: createdSeconds, model };
}
