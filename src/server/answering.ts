/**
 * Owns: carrying out a neutral request: getting the model, running its choices, giving everything back.
 * Refuses to know: any protocol's documents, HTTP, keys.
 */
import { setMaxListeners } from 'node:events';
import type { AnswerRequest, ChatRequest } from '../api/request.ts';
import type { Delta } from '../chat/delta.ts';
import { granted } from '../chat/support.ts';
import { EventQueue } from '../engine/event-queue.ts';
import type { EngineHost } from '../engine/host.node.ts';
import type { Answerer, AnswerOptions, ConversationOptions } from '../runtime/answerer.ts';
import type { Embedder } from '../runtime/embedder.ts';
import type { PrefixReport } from '../runtime/replay.ts';
import type { LoadedModel, Models } from './models.ts';

/** A loaded model that answers. */
export interface ServingModel extends LoadedModel {
  readonly answerer: Answerer;
  readonly embedder: Embedder;
  readonly engine: Pick<EngineHost, 'stats' | 'pid' | 'description'>;
}

/** What an answer is made with. */
export interface AnsweringParts {
  readonly models: Models<ServingModel>;
  /** Whose request it is, for turns and for what is shared of the cache. */
  readonly caller: Required<Pick<AnswerOptions, 'tenant' | 'cacheSalt'>>;
  /** Ends the answer; the iteration ends with the `end` deltas, or with the signal's reason where there is no answer yet. */
  readonly signal: AbortSignal;
  /** Told which model answers, before its first delta. */
  readonly onModel?: (model: ServingModel) => void;
  /** Told every delta as it comes, however slowly it is read. */
  readonly onDelta?: (delta: Delta) => void;
  /** Told what became of the beginning that a conversation shares with its last request. */
  readonly onPrefix?: (report: PrefixReport) => void;
  /** Told once, when everything has been given back. */
  readonly onEnd?: (error?: unknown) => void;
}

/**
 * Answers a request: progress of loading and prefill, then the deltas of all its choices, each with one end.
 *
 * @throws HadalError as `Models.acquire`, `Answerer.chat` and the engine do.
 * @example for await (const delta of answer(request, { models, caller, signal })) show(delta);
 */
export function answer(request: AnswerRequest, parts: AnsweringParts): AsyncIterableIterator<Delta> {
  const left = new AbortController();
  const signal = AbortSignal.any([parts.signal, left.signal]);
  // Each choice listens.
  setMaxListeners(0, signal);
  const deltas = new EventQueue<Delta>(() => left.abort(new DOMException('the reader left', 'AbortError')));
  const push = (delta: Delta) => {
    parts.onDelta?.(delta);
    deltas.push(delta);
  };
  run(request, { ...parts, signal }, push).then(
    () => {
      deltas.end();
      parts.onEnd?.(signal.aborted ? signal.reason : undefined);
    },
    (error) => {
      // A choice that fails ends the others.
      left.abort(error);
      deltas.end(error);
      parts.onEnd?.(error);
    },
  );
  return deltas;
}

async function run(
  request: AnswerRequest,
  { models, signal, onModel, onPrefix, caller }: AnsweringParts,
  push: (delta: Delta) => void,
): Promise<void> {
  const lease = await models.acquire(request.model, {
    signal,
    onProgress: (done, total) => push({ type: 'progress', choice: 0, stage: 'load', done, total }),
  });
  try {
    const { answerer } = lease.model;
    onModel?.(lease.model);
    const prompts = request.kind === 'completion' ? request.prompts.length : 1;
    await Promise.all(
      Array.from({ length: prompts * request.choices }, async (_, choice) => {
        // All choices have the same prompt: one of them tells of it.
        const more = { ...caller, signal, ...(choice === 0 && onPrefix !== undefined ? { onPrefix } : {}) };
        for await (const delta of deltasOf(answerer, request, choice, more)) push(delta);
      }),
    );
  } finally {
    lease.release(request.keepAliveMs);
  }
}

function deltasOf(
  answerer: Answerer,
  request: AnswerRequest,
  choice: number,
  more: Pick<AnswerOptions, 'tenant' | 'cacheSalt' | 'signal' | 'onPrefix'>,
): AsyncIterable<Delta> {
  const { maxTokens, topLogprobs, stop } = request;
  const { seed } = request.sampling;
  const options: AnswerOptions = {
    // Choices of one seed would be one answer many times.
    sampling: {
      ...request.sampling,
      ...(seed === undefined ? {} : { seed: seed + (choice % request.choices) }),
    },
    stop,
    ...more,
    choice,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(topLogprobs === undefined ? {} : { topLogprobs }),
  };
  if (request.kind === 'completion') {
    const { prompts, suffix, promptLogprobs } = request;
    const prompt = prompts[Math.floor(choice / request.choices)]!;
    if (suffix === undefined) {
      return answerer.complete(prompt, {
        ...options,
        ...(promptLogprobs === undefined ? {} : { promptLogprobs }),
      });
    }
    const prefix = typeof prompt === 'string' ? prompt : answerer.tokenizer.decode(prompt);
    return answerer.infill(prefix, suffix, options);
  }
  return answerer.chat(request.messages, { ...options, ...conversationOptions(request, answerer) });
}

/**
 * How a conversation is to be written.
 *
 * @example answerer.countTokens(request.messages, conversationOptions(request, answerer));
 */
export function conversationOptions(
  request: Pick<ChatRequest, 'tools' | 'toolChoice' | 'thinking' | 'effort' | 'constraint' | 'wishes'>,
  answerer: Pick<Answerer, 'supports'>,
): ConversationOptions {
  const { tools, toolChoice, thinking, effort, constraint } = request;
  const asked: ConversationOptions = {
    ...(tools.length === 0 ? {} : { tools }),
    ...(toolChoice === undefined ? {} : { toolChoice }),
    ...(thinking === undefined ? {} : { thinking }),
    ...(effort === undefined ? {} : { effort }),
    ...(constraint === undefined ? {} : { constraint }),
  };
  const supports = request.wishes ? answerer.supports.chat : undefined;
  return supports === undefined ? asked : granted(supports, asked);
}
