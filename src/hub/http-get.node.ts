/**
 * Owns: one GET over HTTP(S) that may be misled: redirects, tokens, silence, stalls, refusals, in one kind of error.
 * Refuses to know: where bytes go, which file it is, when to try again.
 */
import { HadalError } from '../error.ts';

/** Options of {@link openUrl}. */
export interface GetOptions {
  readonly signal: AbortSignal;
  /** Goes to the host of the first address alone. */
  readonly token?: string | undefined;
  /** First and last byte that are wanted; to the end without a last one. */
  readonly range?: { readonly from: number; readonly to?: number };
  /** How long a host may take to begin an answer. */
  readonly answerMs?: number;
}

/** An answer that has begun with status 200 or 206. */
export interface Answer {
  readonly response: Response;
  /** Whom it came from, in messages. */
  readonly host: string;
  /** Ends it. */
  readonly controller: AbortController;
}

const MOST_REDIRECTS = 5;

/**
 * Asks for an address and follows where it leads. A token never follows to another origin.
 *
 * @throws HadalError `hub-unreachable` (nothing began, or the host is in trouble), `hub-refused` (a status that will not
 *   change, a redirect that leads nowhere).
 * @example const { response } = await openUrl(url, { signal, token, range: { from: 0, to: 99 } });
 */
export async function openUrl(url: URL, options: GetOptions): Promise<Answer> {
  const { token, range } = options;
  let at = url;
  for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
    const headers: Record<string, string> = { 'user-agent': 'hadal', 'accept-encoding': 'identity' };
    if (range !== undefined) headers.range = `bytes=${range.from}-${range.to ?? ''}`;
    // A token belongs to the hub alone: it never follows a redirect to another host.
    if (token && at.origin === url.origin) headers.authorization = `Bearer ${token}`;
    const answer = await request(at, headers, options);
    const { status, headers: fields } = answer.response;
    if (status < 300 || status >= 400) return checkStatus(answer, at, token);
    const location = fields.get('location');
    answer.controller.abort();
    if (location === null || !URL.canParse(location, at.href)) {
      throw refusal(at, 'a redirect with an address', `status ${status} without one`);
    }
    const next = new URL(location, at);
    if (next.protocol !== 'https:' && next.protocol !== at.protocol) {
      throw refusal(at, 'to stay on HTTPS', `a redirect to ${next.protocol}//${next.host}`);
    }
    at = next;
  }
  throw refusal(url, `at most ${MOST_REDIRECTS} redirects`, 'more');
}

async function request(url: URL, headers: Record<string, string>, options: GetOptions): Promise<Answer> {
  const answerMs = options.answerMs ?? 5_000;
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(new Error(`no answer within ${answerMs / 1000} s`)),
    answerMs,
  );
  try {
    const signal = AbortSignal.any([controller.signal, options.signal]);
    const response = await fetch(url, { headers, redirect: 'manual', signal });
    return { response, host: url.host, controller };
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    throw new HadalError(
      'hub-unreachable',
      { what: url.host, expected: 'an answer', got: reason(error) },
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}

function checkStatus(answer: Answer, url: URL, token: string | undefined): Answer {
  const { status } = answer.response;
  if (status === 200 || status === 206) return answer;
  answer.controller.abort();
  const hint =
    status === 401 || status === 403
      ? token
        ? ' (HF_TOKEN was not accepted)'
        : ' (a token in HF_TOKEN may be needed)'
      : '';
  if (status >= 500 || status === 429 || status === 408) {
    const waitMs = retryAfterMs(answer.response.headers.get('retry-after'));
    const complaint = { what: url.host, expected: 'the file', got: `status ${status}` };
    throw waitMs === undefined
      ? new HadalError('hub-unreachable', complaint)
      : Object.assign(new HadalError('hub-unreachable', complaint), { waitMs });
  }
  throw refusal(url, 'the file', `status ${status}${hint}`);
}

/** Bytes are gathered up to so many, and for no longer than that: small pieces cost more to write than to receive. */
const GATHERED_BYTES = 1 << 20;
const GATHERED_MS = 200;

/**
 * Hands on the bytes of an answer as they come, small pieces gathered, and ends it. Bytes that came before it broke are
 * handed on too. The bytes are the caller's only until `onBytes` has ended.
 *
 * @throws HadalError `hub-broken` when it stops midway or no byte comes for `stallMs`; what `onBytes` throws.
 * @example await readBody(answer, { signal, stallMs: 30_000 }, (chunk) => file.write(at, chunk));
 */
export async function readBody(
  { response, host, controller }: Answer,
  { signal, stallMs }: { readonly signal: AbortSignal; readonly stallMs: number },
  onBytes: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const stalled = () =>
    controller.abort(broken(host, 'bytes to keep coming', `none for ${stallMs / 1000} s`));
  let timer = setTimeout(stalled, stallMs);
  const buffer = Buffer.allocUnsafe(GATHERED_BYTES);
  let [gathered, sinceMs] = [0, performance.now()];
  let failed = false;
  const handOn = async (bytes: Uint8Array) => {
    [gathered, sinceMs] = [0, performance.now()];
    if (bytes.length === 0 || failed) return;
    failed = true;
    await onBytes(bytes);
    failed = false;
  };
  try {
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      const bytes = chunk as Uint8Array;
      if (gathered + bytes.length > buffer.length) await handOn(buffer.subarray(0, gathered));
      if (bytes.length > buffer.length) await handOn(bytes);
      else {
        buffer.set(bytes, gathered);
        gathered += bytes.length;
        if (performance.now() - sinceMs >= GATHERED_MS) await handOn(buffer.subarray(0, gathered));
      }
      timer = setTimeout(stalled, stallMs);
    }
    await handOn(buffer.subarray(0, gathered));
  } catch (error) {
    if (failed) throw error;
    await handOn(buffer.subarray(0, gathered));
    if (signal.aborted) throw signal.reason;
    if (error instanceof HadalError) throw error;
    throw broken(host, 'the file to its end', reason(error), error);
  } finally {
    clearTimeout(timer);
    controller.abort();
  }
}

/** A connection that stopped or contradicted itself: worth another try. */
export function broken(host: string, expected: string, got: string, cause?: unknown): HadalError {
  return new HadalError('hub-broken', { what: host, expected, got }, { cause });
}

/** How long a host asks to be left alone, by an error of {@link openUrl}. */
export function askedWaitMs(error: unknown): number | undefined {
  return error instanceof HadalError && 'waitMs' in error && typeof error.waitMs === 'number'
    ? error.waitMs
    : undefined;
}

/** `Retry-After` is a number of seconds or a date. */
function retryAfterMs(text: string | null): number | undefined {
  if (text === null) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

function refusal(url: URL, expected: string, got: string): HadalError {
  return new HadalError('hub-refused', { what: url.host, expected, got });
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause;
  if (cause instanceof Error) {
    const code = 'code' in cause ? String(cause.code) : '';
    return REASONS[code] ?? (cause.message || code);
  }
  return error.message;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no name service',
  ECONNREFUSED: 'a refused connection',
  ECONNRESET: 'a broken connection',
  ENETUNREACH: 'no network',
  UND_ERR_SOCKET: 'a broken connection',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  ETIMEDOUT: 'no connection in time',
};
