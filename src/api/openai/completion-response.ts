/**
 * Owns: deltas as OpenAI's `text_completion`, whole or in chunks.
 * Refuses to know: requests, HTTP, how deltas come about.
 */
import type { Delta } from '../../chat/delta.ts';
import type { ScoredToken, TokenLogprob } from '../../engine/request.ts';
import type { CompletionRequest, ResponseContext, StreamEncoder, StreamEvent } from '../request.ts';
import { finite } from './chat-response.ts';
import { FINISH_REASONS, UsageCounter } from './usage.ts';

const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

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
      // What is said of the prompt goes out with it.
      if (delta.type === 'prompt') {
        take(state, delta, context);
        return [];
      }
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
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}

interface CompletionChoice {
  /** The prompt, until it went out before the first text. */
  unsent: string;
  /** Reads tokens, to know where in the text each begins. */
  readonly decoder: InstanceType<typeof TextDecoder>;
  /** Characters (code points, as in Python) before the next token. */
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
    decoder: new TextDecoder(),
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
  if (delta.type === 'prompt') note(state, delta.tokens, context);
  // As OpenAI has it: clients count on one log-probability for each token that was generated.
  if (delta.type === 'end' && delta.token) note(state, [delta.token], context);
  if (delta.type !== 'content') return '';
  const { logprobs = [] } = delta.tokens;
  note(
    state,
    logprobs.map(({ chosen, top }) => ({ ...chosen, top })),
    context,
  );
  return delta.text;
}

function note(state: CompletionChoice, tokens: readonly ScoredToken[], context: ResponseContext): void {
  const { logprobs: into, decoder } = state;
  if (into === null) return;
  for (const { id, logprob, top = [] } of tokens) {
    into.tokens.push(tokenName(id, context));
    into.token_logprobs.push(logprob === undefined ? null : finite(logprob));
    into.top_logprobs.push(logprob === undefined ? null : byName([...top, { id, logprob }], context));
    into.text_offset.push(state.offset);
    for (const _ of decoder.decode(context.bytesOf(id), { stream: true })) state.offset++;
  }
}

/** Log-probabilities by what the tokens are called; the first of a name counts, which is the likelier one. */
function byName(tokens: readonly TokenLogprob[], context: ResponseContext): Record<string, number> {
  const named = new Map<string, number>();
  for (const { id, logprob } of tokens) {
    const name = tokenName(id, context);
    if (!named.has(name)) named.set(name, finite(logprob));
  }
  return Object.fromEntries(named);
}

/** The text of a token; where it is no text by itself its bytes, as OpenAI writes them: `bytes:\xe2\x82`. */
function tokenName(id: number, { bytesOf }: ResponseContext): string {
  const bytes = bytesOf(id);
  try {
    return STRICT.decode(bytes);
  } catch {
    const hex = Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`);
    return `bytes:${hex.join('')}`;
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
