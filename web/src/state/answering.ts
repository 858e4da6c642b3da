/**
 * Owns: one answer while it is written: its request, what has come of it, one update a frame, its end.
 * Refuses to know: where conversations are kept, how anything is shown.
 */
import { type Signal, signal } from '@preact/signals';
import { listen, ServerError } from '../server/client.ts';
import type { ChatChunk, ChatUsage } from '../server/documents.ts';
import type { ApiMessage, Call, Figures, Settings, TokenChoice, Turn } from './conversation.ts';

/** What has come so far. */
export interface Progress {
  readonly content: string;
  readonly reasoning: string;
  readonly thoughtSeconds: number | undefined;
  readonly calls: readonly Call[];
  readonly tokens: readonly TokenChoice[];
  /** What happens before the first token, e.g. `loading 3/9`; empty afterwards. */
  readonly stage: string;
  /** Tokens a second so far. */
  readonly rate: number | undefined;
}

/** An answer that is being written. */
export interface Answering {
  readonly turnId: string;
  readonly conversationId: string;
  readonly progress: Signal<Progress>;
  stop(): void;
  /** What becomes of the turn. Never rejects. */
  readonly ended: Promise<Partial<Turn>>;
}

/** What is asked for. */
export interface Question {
  readonly turnId: string;
  readonly conversationId: string;
  readonly key: string;
  readonly model: string;
  readonly messages: readonly ApiMessage[];
  readonly settings: Settings;
}

const TOP_TOKENS = 5;

/** Ends in the words of the API; all others are the model's own. */
const ENDS: Readonly<Record<string, Pick<Turn, 'end' | 'error'>>> = {
  length: { end: 'length' },
  tool_calls: { end: 'calls' },
  insufficient_system_resource: {
    end: 'failed',
    error: 'The server ended this answer before it was complete.',
  },
};

/** Begins an answer. */
export function beginAnswer(question: Question): Answering {
  const abort = new AbortController();
  const heard = new Heard();
  const ended = (async (): Promise<Partial<Turn>> => {
    try {
      const body = requestOf(question);
      await listen('/v1/chat/completions', { key: question.key, body, signal: abort.signal }, heard);
      return heard.turn();
    } catch (error) {
      if (abort.signal.aborted) return { ...heard.turn(), end: 'stopped' };
      return { ...heard.turn(), end: 'failed', error: wordsOf(error) };
    } finally {
      heard.close();
    }
  })();
  const { turnId, conversationId } = question;
  return { turnId, conversationId, progress: heard.progress, stop: () => abort.abort(), ended };
}

function wordsOf(error: unknown): string {
  if (error instanceof ServerError || error instanceof SyntaxError) return error.message;
  return String(error);
}

/** The body of the request. Throws SyntaxError for a schema or tools that are no JSON. */
export function requestOf({ model, messages, settings }: Question): object {
  const { temperature, topP, topK, minP, repetitionPenalty, maxTokens, seed, thinking, schema, tools } =
    settings;
  const given = Object.entries({
    temperature,
    top_p: topP,
    top_k: topK,
    min_p: minP,
    repetition_penalty: repetitionPenalty,
    max_tokens: maxTokens,
    seed,
  }).filter(([, value]) => value !== undefined);
  return {
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ...Object.fromEntries(given),
    ...(thinking === undefined ? {} : { reasoning_effort: thinking === 'off' ? 'none' : thinking }),
    ...(schema?.trim() ? { response_format: formatOf(schema) } : {}),
    ...(tools?.trim() ? { tools: toolsOf(tools) } : {}),
    ...(settings.tokens ? { logprobs: true, top_logprobs: TOP_TOKENS } : {}),
  };
}

function formatOf(schema: string): object {
  return {
    type: 'json_schema',
    json_schema: { name: 'answer', schema: parsed('the JSON schema', schema), strict: true },
  };
}

/** Functions as the API has them, or only their definitions. */
function toolsOf(text: string): readonly object[] {
  const list = [parsed('the list of tools', text)].flat() as Record<string, unknown>[];
  return list.map((one) => (one.type === 'function' ? one : { type: 'function', function: one }));
}

function parsed(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`${what} is no JSON: ${(error as Error).message}`);
  }
}

/** Collects what comes, and shows it once a frame: a fast model sends more events than there are frames. */
class Heard {
  readonly progress: Signal<Progress>;
  readonly #sentMs = performance.now();
  #content = '';
  #reasoning = '';
  #calls: Call[] = [];
  #tokens: TokenChoice[] = [];
  #stage = 'waiting';
  #thoughtFromMs: number | undefined;
  #thoughtSeconds: number | undefined;
  #firstMs: number | undefined;
  #lastMs = 0;
  #events = 0;
  #usage: ChatUsage | undefined;
  #finish: string | undefined;
  #timer: number | undefined;
  #frame: number | undefined;

  constructor() {
    this.progress = signal(this.#now());
  }

  comment(text: string): void {
    if (this.#firstMs !== undefined || text === 'ping') return;
    this.#stage = text;
    this.#schedule();
  }

  data(json: unknown): void {
    const { choices = [], usage } = json as ChatChunk;
    if (usage) this.#usage = usage;
    const [choice] = choices;
    if (choice === undefined) return;
    const { delta, logprobs, finish_reason: finish } = choice;
    if (finish) this.#finish = finish;
    if (delta.reasoning_content || delta.content || delta.tool_calls) this.#moment();
    if (delta.reasoning_content) {
      this.#thoughtFromMs ??= performance.now();
      this.#reasoning += delta.reasoning_content;
    }
    if (delta.content || delta.tool_calls) this.#thought();
    if (delta.content) this.#content += delta.content;
    for (const part of delta.tool_calls ?? []) this.#call(part);
    for (const { token, logprob, top_logprobs: top } of logprobs?.content ?? [])
      this.#tokens.push({
        token,
        logprob,
        top: top.map((one) => ({ token: one.token, logprob: one.logprob })),
      });
    this.#schedule();
  }

  /** What becomes of the turn. */
  turn(): Partial<Turn> {
    this.#thought();
    const figures = this.#figures();
    return {
      content: this.#content,
      ...(ENDS[this.#finish ?? ''] ?? { end: 'stop' }),
      ...(this.#reasoning === '' ? {} : { reasoning: this.#reasoning }),
      ...(this.#thoughtSeconds === undefined ? {} : { thoughtSeconds: this.#thoughtSeconds }),
      ...(this.#calls.length === 0 ? {} : { calls: this.#calls }),
      ...(this.#tokens.length === 0 ? {} : { tokens: this.#tokens }),
      ...(figures === undefined ? {} : { figures }),
    };
  }

  close(): void {
    clearTimeout(this.#timer);
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
  }

  #moment(): void {
    this.#lastMs = performance.now();
    this.#firstMs ??= this.#lastMs;
    this.#events++;
    this.#stage = '';
  }

  #thought(): void {
    if (this.#thoughtFromMs === undefined || this.#thoughtSeconds !== undefined) return;
    this.#thoughtSeconds = (performance.now() - this.#thoughtFromMs) / 1000;
  }

  #call({
    index,
    id,
    function: part,
  }: NonNullable<ChatChunk['choices'][number]['delta']['tool_calls']>[number]): void {
    const known = this.#calls[index] ?? { id: '', name: '', arguments: '' };
    const next = {
      id: id ?? known.id,
      name: part.name ?? known.name,
      arguments: known.arguments + part.arguments,
    };
    this.#calls = [...this.#calls.slice(0, index), next, ...this.#calls.slice(index + 1)];
  }

  #figures(): Figures | undefined {
    const usage = this.#usage;
    if (usage === undefined || this.#firstMs === undefined) return undefined;
    return {
      promptTokens: usage.prompt_tokens,
      cachedTokens: usage.prompt_cache_hit_tokens,
      answerTokens: usage.completion_tokens,
      seconds: (this.#lastMs - this.#firstMs) / 1000,
      firstSeconds: (this.#firstMs - this.#sentMs) / 1000,
    };
  }

  #schedule(): void {
    if (this.#frame !== undefined || this.#timer !== undefined) return;
    const show = () => {
      this.#frame = undefined;
      this.#timer = undefined;
      this.progress.value = this.#now();
    };
    // A page that nobody sees has no frames.
    if (document.hidden) this.#timer = window.setTimeout(show, 250);
    else this.#frame = requestAnimationFrame(show);
  }

  #now(): Progress {
    const seconds = this.#firstMs === undefined ? 0 : (this.#lastMs - this.#firstMs) / 1000;
    return {
      content: this.#content,
      reasoning: this.#reasoning,
      thoughtSeconds: this.#thoughtSeconds,
      calls: this.#calls,
      tokens: this.#tokens,
      stage: this.#stage,
      // An event is about a token; the end tells exactly.
      rate: seconds > 0.3 ? (this.#events - 1) / seconds : undefined,
    };
  }
}
