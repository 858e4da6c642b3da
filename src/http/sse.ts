/**
 * Owns: server-sent events and lines of JSON as bytes: events, comments, pings while nothing happens, the reader's pace.
 * Refuses to know: what the events say, any protocol.
 *
 * The stream is pulled: a reader that is slow holds up its own stream and nothing else, and an idle stream costs one
 * timer.
 */
import type { StreamEvent } from '../api/request.ts';

/** An event, or a comment that clients pass over. */
export type SseItem = StreamEvent | { readonly comment: string };

/** How items are written. */
export interface Framing {
  readonly headers: Readonly<Record<string, string>>;
  /** One item; empty where the form has no place for it. */
  text(item: SseItem): string;
}

/** Options of {@link streamBody}. */
export interface StreamOptions {
  readonly framing: Framing;
  /** A comment is sent after so long without an event. */
  readonly pingMs: number;
  /** Called once when the reader has gone. */
  readonly onLeave: () => void;
  /** Called when all has been read, or the reader has gone. */
  readonly onEnd?: () => void;
}

const encoder = new TextEncoder();

/** One item as text. Line breaks inside data become further data lines, as the specification has it. */
export function sseText(item: SseItem): string {
  if ('comment' in item) return `: ${item.comment.replace(/[\r\n]+/g, ' ')}\n\n`;
  const event = item.event === undefined ? '' : `event: ${item.event}\n`;
  return `${event}data: ${item.data.replace(/\r\n|\r|\n/g, '\ndata: ')}\n\n`;
}

const NO_STORE = { 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' };

/** Server-sent events; the last of their headers keeps proxies from collecting them. */
export const EVENTS: Framing = {
  headers: { 'content-type': 'text/event-stream; charset=utf-8', ...NO_STORE },
  text: sseText,
};

/** One JSON document a line; there is no place for comments. */
export const LINES: Framing = {
  headers: { 'content-type': 'application/x-ndjson', ...NO_STORE },
  text: (item) => ('comment' in item ? '' : `${item.data}\n`),
};

/**
 * Headers of a stream. Whoever sends a body of unknown length waits a moment for its end, to tell the length: chunks say
 * that there is none to wait for. HTTP/1.0 has no chunks.
 *
 * @param httpVersion of the request, where it came over a socket
 * @example c.body(body, 200, streamHeaders(EVENTS, c.env.incoming?.httpVersion));
 */
export function streamHeaders(
  { headers }: Framing,
  httpVersion: string | undefined,
): Readonly<Record<string, string>> {
  return httpVersion === '1.0' ? headers : { ...headers, 'transfer-encoding': 'chunked' };
}

/**
 * A body of items. It ends where the source ends; a source that throws must have said why before.
 *
 * @example new Response(streamBody(items, { framing: EVENTS, pingMs: 15_000, onLeave }), { headers: EVENTS.headers });
 */
export function streamBody(
  source: AsyncIterable<SseItem>,
  { framing, pingMs, onLeave, onEnd }: StreamOptions,
): ReadableStream {
  const items = source[Symbol.asyncIterator]();
  const patience = patienceOf(pingMs);
  let next: Promise<IteratorResult<SseItem>> | undefined;
  return new ReadableStream(
    {
      async pull(controller) {
        // A pull must bring something: what the form has no place for is passed over.
        for (;;) {
          next ??= items.next();
          const step = await patience.wait(next);
          if (step !== undefined) next = undefined;
          if (step?.done) {
            patience.end();
            onEnd?.();
            return controller.close();
          }
          const text = framing.text(step === undefined ? { comment: 'ping' } : step.value);
          if (text !== '') return controller.enqueue(encoder.encode(text));
        }
      },
      async cancel() {
        patience.end();
        onLeave();
        onEnd?.();
        await items.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * Waits for one promise after another, each for so long: what it gives, or undefined when it takes longer. One timer serves
 * them all: setting one for every token is a twentieth of what a stream costs the server.
 */
function patienceOf(ms: number) {
  let enough: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  const end = () => clearTimeout(timer);
  return {
    end,
    wait: <T>(promise: Promise<T>): Promise<T | undefined> =>
      new Promise((resolve, reject) => {
        enough = () => resolve(undefined);
        if (timer === undefined) timer = setTimeout(() => enough?.(), ms);
        else timer.refresh();
        promise.then(resolve, (error) => {
          end();
          reject(error);
        });
      }),
  };
}
