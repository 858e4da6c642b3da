/**
 * Owns: who is examined: a model loaded here, or an OpenAI-compatible server; what either is asked.
 * Refuses to know: tasks, scores.
 */
import type { Delta } from '../chat/delta.ts';
import type { ScoreEvent } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import type { OpenedModel } from '../runtime/open.node.ts';
import { logSoftmax } from './distributions.ts';

/** How an answer is asked for: always greedily. */
export interface AnswerRequest {
  readonly until: readonly string[];
  readonly maxTokens: number;
  readonly signal?: AbortSignal;
}

/** Something that can be examined. */
export interface Subject {
  /** Natural logarithms of the probability of each continuation of a context. */
  logprobs(context: string, continuations: readonly string[], signal?: AbortSignal): Promise<number[]>;
  /** A text that continues another, up to a stop. */
  complete(context: string, request: AnswerRequest): Promise<string>;
  /** The answer to a message. */
  chat(message: string, request: AnswerRequest): Promise<string>;
  /** A text between two. */
  infill(prefix: string, suffix: string, request: AnswerRequest): Promise<string>;
}

/**
 * A model that is loaded here.
 *
 * @example const subject = localSubject(await openModel('./model.gguf'));
 */
export function localSubject({ engine, answerer }: OpenedModel): Subject {
  const { tokenizer } = answerer;
  let requests = 0;
  const options = ({ until, maxTokens, signal }: AnswerRequest) => ({
    stop: until,
    maxTokens,
    sampling: { temperature: 0 },
    ...(signal === undefined ? {} : { signal }),
  });
  /** Log-probabilities of the ids from `from` on. */
  const scored = async (ids: Int32Array, from: number): Promise<number> => {
    let sum = 0;
    let held: ScoreEvent | undefined;
    const add = (end: number) => {
      if (held === undefined) return;
      const { firstPosition, logits } = held;
      const vocab = logits.length / (end - firstPosition);
      for (
        let position = Math.max(firstPosition, from - 1);
        position < Math.min(end, ids.length - 1);
        position++
      ) {
        const row = logits.subarray(
          (position - firstPosition) * vocab,
          (position - firstPosition + 1) * vocab,
        );
        sum += logSoftmax(row)[ids[position + 1]!]!;
      }
    };
    const request = { requestId: `choice-${++requests}`, ids, class: 'prefill' } as const;
    for await (const event of engine.score(request)) {
      add(event.firstPosition);
      held = event;
    }
    add(ids.length);
    return sum;
  };
  return {
    async logprobs(context, continuations, signal) {
      const sums: number[] = [];
      for (const continuation of continuations) {
        signal?.throwIfAborted();
        const { ids, from } = pairOf(tokenizer, context, continuation);
        demandFits(ids.length, answerer.contextTokens);
        sums.push(await scored(ids, from));
      }
      return sums;
    },
    complete: (context, request) => textOf(answerer.complete(context, options(request))),
    chat: (message, request) => textOf(answerer.chat([{ role: 'user', content: message }], options(request))),
    infill: (prefix, suffix, request) => textOf(answerer.infill(prefix, suffix, options(request))),
  };
}

/** Ids of both together, and where the continuation's begin: spaces at the context's end are the continuation's. */
function pairOf(tokenizer: OpenedModel['answerer']['tokenizer'], context: string, continuation: string) {
  const bare = context.trimEnd();
  const ids = tokenizer.encode(context + continuation, { bos: true });
  const from = tokenizer.encode(bare, { bos: true }).length;
  return { ids, from: Math.max(1, from) };
}

function demandFits(tokens: number, contextTokens: number): void {
  if (tokens <= contextTokens) return;
  throw new HadalError('prompt-too-long', {
    what: 'an item with its examples',
    expected: `at most ${contextTokens} tokens`,
    got: `${tokens}`,
    next: 'give fewer examples (--num-fewshot), or a larger --context',
  });
}

async function textOf(deltas: AsyncIterable<Delta>): Promise<string> {
  let text = '';
  for await (const delta of deltas) if (delta.type === 'content') text += delta.text;
  return text;
}

/** Where a server is and how it is asked. */
export interface ServerAddress {
  /** Up to `/v1`, which may be left out. */
  readonly url: string;
  readonly model: string;
  readonly apiKey?: string;
}

const ATTEMPTS = 4;

/**
 * A server that speaks OpenAI's protocol.
 *
 * @throws HadalError from what it is asked: `server-unreachable`, `server-refused`
 * @example const subject = urlSubject({ url: 'http://127.0.0.1:11434/v1', model: 'smollm2-135m' });
 */
export function urlSubject({ url, model, apiKey }: ServerAddress): Subject {
  const base = url.replace(/\/+$/, '').replace(/\/v1$/, '');
  const post = async (path: string, body: object, signal?: AbortSignal): Promise<Reply> => {
    const address = `${base}/v1/${path}`;
    for (let attempt = 1; ; attempt++) {
      const response = await fetch(address, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
        },
        body: JSON.stringify({ model, temperature: 0, ...body }),
        ...(signal === undefined ? {} : { signal }),
      }).catch((cause: Error) => {
        signal?.throwIfAborted();
        const got = (cause.cause as Error | undefined)?.message ?? cause.message;
        const next = 'check that the server runs, and the address';
        throw new HadalError(
          'server-unreachable',
          { what: address, expected: 'an answer', got, next },
          { cause },
        );
      });
      if (response.ok) {
        const reply = (await response.json().catch(() => undefined)) as Partial<Reply> | undefined;
        if (!Array.isArray(reply?.choices)) throw strange(base);
        return reply as Reply;
      }
      if (attempt < ATTEMPTS && (response.status === 429 || response.status >= 500)) {
        await new Promise((done) => setTimeout(done, 500 * 2 ** attempt));
        continue;
      }
      const got = `${response.status} ${(await response.text()).slice(0, 300)}`;
      throw new HadalError('server-refused', { what: address, expected: 'an answer', got });
    }
  };
  const asked = ({ until, maxTokens }: AnswerRequest) => ({
    max_tokens: maxTokens,
    ...(until.length > 0 ? { stop: until } : {}),
  });
  return {
    async logprobs(context, continuations, signal) {
      const sums: number[] = [];
      for (const continuation of continuations) {
        const prompt = context + continuation;
        const body = { prompt, echo: true, logprobs: 1, max_tokens: 1 };
        const { choices } = await post('completions', body, signal);
        const found = choices[0]?.logprobs;
        if (!found?.token_logprobs || !found.text_offset) throw withoutLogprobs(base);
        const [from, to] = [lengthOf(context.trimEnd()), lengthOf(prompt)];
        let sum = 0;
        for (const [i, offset] of found.text_offset.entries()) {
          if (offset >= from && offset < to) sum += found.token_logprobs[i] ?? 0;
        }
        sums.push(sum);
      }
      return sums;
    },
    async complete(prompt, request) {
      return textIn(await post('completions', { prompt, ...asked(request) }, request.signal));
    },
    async chat(content, request) {
      const messages = [{ role: 'user', content }];
      const { choices } = await post('chat/completions', { messages, ...asked(request) }, request.signal);
      const [choice] = choices;
      if (choice?.message === undefined) throw strange(base);
      // Where all tokens went into thinking there is none.
      return choice.message.content ?? '';
    },
    async infill(prompt, suffix, request) {
      return textIn(await post('completions', { prompt, suffix, ...asked(request) }, request.signal));
    },
  };

  function textIn({ choices }: Reply): string {
    const text = choices[0]?.text;
    if (text === undefined) throw strange(base);
    return text;
  }
}

/** In characters as Unicode counts them, as servers in Python do. */
function lengthOf(text: string): number {
  return [...text].length;
}

interface Reply {
  readonly choices: readonly {
    readonly text?: string;
    readonly message?: { readonly content?: string | null };
    readonly logprobs?: {
      readonly token_logprobs?: (number | null)[];
      readonly text_offset?: number[];
    } | null;
  }[];
}

function strange(base: string): HadalError {
  return new HadalError('server-refused', {
    what: base,
    expected: "an answer in OpenAI's form, with a choice",
    got: 'something else',
    next: 'check the address: it ends where /v1 begins',
  });
}

function withoutLogprobs(base: string): HadalError {
  return new HadalError('server-refused', {
    what: base,
    expected: 'log-probabilities of the prompt (`echo` with `logprobs`)',
    got: 'none',
    next: 'examine the model here, without --url, or by a task that generates',
  });
}
