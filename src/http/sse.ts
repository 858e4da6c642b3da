/**
 * Owns: server-sent events as bytes: events, comments, pings while nothing happens, the reader's pace.
 * Refuses to know: what the events say, any protocol.
 *
 * The stream is pulled: a reader that is slow holds up its own stream and nothing else, and an idle stream costs one
 * timer.
 */
import type { StreamEvent } from '../api/request.ts';

/** An event, or a comment that clients pass over. */
export type SseItem = StreamEvent | { readonly comment: string };

/** Options of {@link sseBody}. */
export interface SseOptions {
  /** A comment is sent after so long without an event. */
  readonly pingMs: number;
  /** Called once when the reader has gone. */
  readonly onLeave: () => void;
}

const encoder = new TextEncoder();

/** One item as text. Line breaks inside data become further data lines, as the specification has it. */
export function sseText(item: SseItem): string {
  if ('comment' in item) return `: ${item.comment.replace(/[\r\n]+/g, ' ')}\n\n`;
  const event = item.event === undefined ? '' : `event: ${item.event}\n`;
  return `${event}data: ${item.data.replace(/\r\n|\r|\n/g, '\ndata: ')}\n\n`;
}

/**
 * A body of server-sent events. It ends where the source ends; a source that throws must have said why before.
 *
 * @example new Response(sseBody(items, { pingMs: 15_000, onLeave: () => abort() }), { headers: SSE_HEADERS });
 */
export function sseBody(source: AsyncIterable<SseItem>, { pingMs, onLeave }: SseOptions): ReadableStream {
  const items = source[Symbol.asyncIterator]();
  let next: Promise<IteratorResult<SseItem>> | undefined;
  return new ReadableStream(
    {
      async pull(controller) {
        next ??= items.next();
        const step = await orAfter(next, pingMs);
        if (step === undefined) {
          controller.enqueue(encoder.encode(sseText({ comment: 'ping' })));
          return;
        }
        next = undefined;
        if (step.done) controller.close();
        else controller.enqueue(encoder.encode(sseText(step.value)));
      },
      async cancel() {
        onLeave();
        await items.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** Headers of an event stream; the last keeps proxies from collecting it. */
export const SSE_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
};

/** What `promise` gives, or undefined when it takes longer. */
function orAfter<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), ms);
    const settled = () => clearTimeout(timer);
    promise.then(resolve, reject).finally(settled);
  });
}
