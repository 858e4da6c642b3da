/**
 * Owns: a neutral request as an HTTP response: one document, or a stream with pings, progress and late errors.
 * Refuses to know: any protocol's documents, how answers are made.
 */

import type { AnswerRequest, ResponseContext, StreamEncoder } from '../api/request.ts';
import type { Delta } from '../chat/delta.ts';
import { HadalError } from '../error.ts';
import { saltOf } from '../http/keys.ts';
import { problemOf } from '../http/problems.ts';
import { EVENTS, type SseItem, streamBody, streamHeaders } from '../http/sse.ts';
import { answer, type ServingModel } from './answering.ts';
import type { ServerContext, ServerParts } from './context.ts';
import { watchAnswer } from './observing.ts';
import type { Protocol } from './protocol.ts';
import { allowed } from './visible.ts';

/** How a protocol writes an answer down. */
export interface AnswerCodec {
  readonly protocol: Protocol;
  /** Beginning of the response's id, e.g. `chatcmpl-`. */
  readonly idPrefix: string;
  stream(context: ResponseContext): StreamEncoder;
  document(deltas: readonly Delta[], context: ResponseContext): object;
  readonly withoutEffect: readonly string[];
}

/** Names the fields of a request that changed nothing. */
export const WITHOUT_EFFECT_HEADER = 'hadal-fields-without-effect';

/**
 * Names fields in that header; without any there is none.
 *
 * @example nameWithoutEffect(c, ['user']); // hadal-fields-without-effect: user
 */
export function nameWithoutEffect(c: ServerContext, fields: readonly string[]): void {
  if (fields.length > 0) c.header(WITHOUT_EFFECT_HEADER, fields.join(', '));
}

/**
 * Answers a request in a protocol. Failures before the first event have their status; later ones are told in the stream.
 *
 * @throws HadalError as `answer` does.
 */
export async function respond(
  c: ServerContext,
  parts: ServerParts,
  request: AnswerRequest,
  codec: AnswerCodec,
): Promise<Response> {
  const key = c.get('key');
  const served = allowed(parts.models, request.model, key);
  if (parts.closing.aborted) throw parts.closing.reason;
  const place = parts.limiter.enter(key);
  const watch = watchAnswer(parts.observers, {
    requestId: c.get('requestId'),
    key: key?.name,
    model: served.name,
    operation: request.kind === 'chat' ? 'chat' : 'text_completion',
    streamed: request.stream,
  });
  c.set('answering', true);
  const gone = new AbortController();
  const signal = AbortSignal.any([c.req.raw.signal, parts.stop, gone.signal]);
  let model: ServingModel | undefined;
  let streams = false;
  const deltas = answer(request, {
    models: parts.models,
    caller: { tenant: key?.name ?? '', cacheSalt: parts.sharedCache || key === undefined ? '' : saltOf(key) },
    signal,
    onModel: (one) => {
      model = one;
    },
    onDelta: watch.delta,
    onPrefix: watch.prefix,
    onEnd: (error) => {
      const left = c.req.raw.signal.aborted || gone.signal.aborted;
      // What a slow reader has not read yet is in memory still.
      if (!streams || left) place.leave();
      watch.end(left ? new HadalError('client-left', { what: 'the client left' }) : error);
    },
  });
  const context: ResponseContext = {
    id: `${codec.idPrefix}${c.get('requestId')}`,
    model: request.model,
    createdSeconds: Math.floor(Date.now() / 1000),
    bytesOf: (id) => {
      const { tokenizer } = model!.answerer;
      // Models have ids beyond their tokens, which only fill matrices up.
      return id < tokenizer.vocabSize ? tokenizer.bytesOf(id) : new Uint8Array();
    },
  };
  nameWithoutEffect(c, codec.withoutEffect);
  if (!request.stream) {
    const all: Delta[] = [];
    for await (const delta of deltas) if (delta.type !== 'progress') all.push(delta);
    return c.json(codec.document(all, context));
  }
  streams = true;
  const first = deltas.next();
  await begun(first, parts.pingMs).catch((error: unknown) => {
    place.leave();
    throw error;
  });
  const items = streamItems(first, deltas, codec.stream(context), codec.protocol);
  const framing = codec.protocol.framing ?? EVENTS;
  const { pingMs } = parts;
  const onEnd = () => place.leave();
  const body = streamBody(items, { framing, pingMs, onLeave: () => gone.abort(), onEnd });
  return c.body(body, 200, streamHeaders(framing, c.env?.incoming?.httpVersion));
}

/** Waits for the first delta, but not for long: a client that hears nothing gives up. Rejects as the delta does. */
async function begun(first: Promise<unknown>, atMostMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const enough = new Promise((resolve) => {
    timer = setTimeout(resolve, atMostMs);
  });
  await Promise.race([first, enough]).finally(() => clearTimeout(timer));
}

async function* streamItems(
  first: Promise<IteratorResult<Delta>>,
  rest: AsyncIterableIterator<Delta>,
  encoder: StreamEncoder,
  protocol: Protocol,
): AsyncGenerator<SseItem> {
  try {
    for (let step = await first; !step.done; step = await rest.next()) {
      const delta = step.value;
      if (delta.type === 'progress') yield { comment: progressText(delta) };
      yield* encoder.push(delta);
    }
    yield* encoder.end();
  } catch (error) {
    yield* protocol.streamError(problemOf(error));
  } finally {
    await rest.return?.();
  }
}

const STAGES = { load: 'loading', queue: 'queued behind', prefill: 'prefill' } as const;

function progressText({ stage, done, total }: Extract<Delta, { type: 'progress' }>): string {
  return stage === 'queue' ? `${STAGES.queue} ${total}` : `${STAGES[stage]} ${done}/${total}`;
}
