/**
 * Owns: asking the server that this page came from: documents, streams, what goes wrong.
 * Refuses to know: what the answers are used for.
 */
import { createParser } from 'eventsource-parser';

/** What the server said of a failure, or what the browser did when there was no answer. */
export class ServerError extends Error {
  /** 0 where no answer came. */
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** How a request is made. */
export interface Asking {
  readonly key: string;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** A JSON document. Throws {@link ServerError}; the signal's reason. */
export async function ask<T>(path: string, asking: Asking): Promise<T> {
  const response = await request(path, asking);
  return (await response.json()) as T;
}

/** Events of a stream, as they come. */
export interface Listener {
  data(json: unknown): void;
  /** Comments, which tell of progress. */
  comment(text: string): void;
}

/** Reads a stream to its `[DONE]`. Throws {@link ServerError}, also for a stream that ends before; the signal's reason. */
export async function listen(path: string, asking: Asking, listener: Listener): Promise<void> {
  const response = await request(path, asking);
  let done = false;
  const parser = createParser({
    onEvent: ({ data }) => {
      if (data === '[DONE]') done = true;
      else listener.data(checked(JSON.parse(data)));
    },
    onComment: (text) => listener.comment(text.trim()),
  });
  const decoder = new TextDecoder();
  const reader = response.body!.getReader();
  for (;;) {
    const step = await reader.read().catch((error) => {
      throw asking.signal?.aborted ? asking.signal.reason : gone(error);
    });
    if (step.done) break;
    parser.feed(decoder.decode(step.value, { stream: true }));
  }
  if (!done) throw gone();
}

async function request(path: string, { key, body, signal }: Asking): Promise<Response> {
  if (!/^[!-~]*$/.test(key)) throw new ServerError(401, 'key-wrong', 'this is no key');
  const response = await fetch(path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      ...(key === '' ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  }).catch((error) => {
    throw signal?.aborted ? signal.reason : gone(error);
  });
  if (response.ok) return response;
  const document: unknown = await response.json().catch(() => undefined);
  const { code, message } = errorOf(document) ?? {
    code: 'unreadable',
    message: `the server answered with ${response.status}`,
  };
  throw new ServerError(response.status, code, message);
}

/** An event of a stream may tell of a failure that came too late for a status. */
function checked(document: unknown): unknown {
  const error = errorOf(document);
  if (error !== undefined) throw new ServerError(200, error.code, error.message);
  return document;
}

function errorOf(document: unknown): { code: string; message: string } | undefined {
  if (typeof document !== 'object' || document === null || !('error' in document)) return undefined;
  const { error } = document;
  if (typeof error !== 'object' || error === null) return undefined;
  const { code, message } = error as { code?: unknown; message?: unknown };
  return { code: String(code), message: String(message) };
}

function gone(cause?: unknown): ServerError {
  const error = new ServerError(0, 'server-gone', 'the server went away before it had answered');
  error.cause = cause;
  return error;
}
