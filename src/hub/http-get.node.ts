/**
 * Owns: one GET over HTTP(S) that may be misled: redirects, tokens, silence, stalls, refusals, in one kind of error.
 * Refuses to know: where bytes go, which file it is, when to try again.
 *
 * By node:http, not by fetch: at the rates of a local network the web streams of fetch cost more than receiving and the
 * digest together.
 */
import * as http from 'node:http';
import * as https from 'node:https';
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
  /** Its body flows only when somebody listens; `destroy` ends it. */
  readonly response: http.IncomingMessage;
  /** Whom it came from, in messages. */
  readonly host: string;
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
    const { statusCode: status = 0, headers: fields } = answer.response;
    if (status < 300 || status >= 400) return checkStatus(answer, at, token);
    const { location } = fields;
    answer.response.destroy();
    if (location === undefined || !URL.canParse(location, at.href)) {
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
  try {
    const begun = { answerMs, signal: options.signal };
    // A host may close a connection just when it is used once more: that is no trouble, and a new one is opened.
    const response = await begin(url, headers, begun).catch((error: unknown) => {
      if (error instanceof ClosedConnection) return begin(url, headers, begun);
      throw error;
    });
    return { response, host: url.host };
  } catch (error) {
    if (options.signal.aborted) throw options.signal.reason;
    throw new HadalError(
      'hub-unreachable',
      { what: url.host, expected: 'an answer', got: reason(error) },
      { cause: error },
    );
  }
}

/** A connection that was kept from an earlier answer, and is gone. */
class ClosedConnection extends Error {}

/** The head of an answer. */
function begin(
  url: URL,
  headers: Record<string, string>,
  { answerMs, signal }: { readonly answerMs: number; readonly signal: AbortSignal },
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { get } = url.protocol === 'https:' ? https : http;
    const request = get(url, { headers, signal }, (response) => {
      clearTimeout(timer);
      // What goes wrong before somebody reads is found when they do.
      response.on('error', () => undefined);
      resolve(response);
    });
    const silent = new Error(`no answer within ${answerMs / 1000} s`);
    const timer = setTimeout(() => request.destroy(silent), answerMs);
    request.on('error', (error) => {
      clearTimeout(timer);
      const gone = request.reusedSocket && 'code' in error && error.code === 'ECONNRESET';
      reject(gone ? new ClosedConnection(error.message, { cause: error }) : error);
    });
  });
}

function checkStatus(answer: Answer, url: URL, token: string | undefined): Answer {
  const { statusCode: status = 0, headers } = answer.response;
  const encoding = headers['content-encoding'] ?? 'identity';
  if ((status === 200 || status === 206) && encoding === 'identity') return answer;
  answer.response.destroy();
  if (status < 300) throw refusal(url, 'bytes as they are', `them encoded as ${encoding}`);
  const hint =
    status === 401 || status === 403
      ? token
        ? ' (HF_TOKEN was not accepted)'
        : ' (a token in HF_TOKEN may be needed)'
      : '';
  if (status >= 500 || status === 429 || status === 408) {
    const waitMs = retryAfterMs(headers['retry-after']);
    const complaint = { what: url.host, expected: 'the file', got: `status ${status}` };
    throw waitMs === undefined
      ? new HadalError('hub-unreachable', complaint)
      : Object.assign(new HadalError('hub-unreachable', complaint), { waitMs });
  }
  throw refusal(url, 'the file', `status ${status}${hint}`);
}

/**
 * Pieces are gathered up to so many bytes, and for no longer than that: small ones cost more to write than to receive, and many
 * leave a core's second cache before they are written.
 */
const GATHERED_BYTES = 1 << 18;
const GATHERED_MS = 200;

/**
 * Hands on the bytes of an answer as they come, small pieces gathered, and ends it. Bytes that came before it broke are
 * handed on too.
 *
 * @throws HadalError `hub-broken` when it stops midway or no byte comes for `stallMs`; what `onPieces` throws.
 * @example await readBody(answer, { signal, stallMs: 30_000 }, (pieces) => file.write(at, pieces));
 */
export async function readBody(
  { response, host }: Answer,
  { signal, stallMs }: { readonly signal: AbortSignal; readonly stallMs: number },
  onPieces: (pieces: readonly Buffer[]) => Promise<void>,
): Promise<void> {
  const stalled = broken(host, 'bytes to keep coming', `none for ${stallMs / 1000} s`);
  const timer = setTimeout(() => response.destroy(stalled), stallMs);
  let pieces: Buffer[] = [];
  let [gathered, sinceMs] = [0, performance.now()];
  let failed = false;
  const handOn = async () => {
    const whole = pieces;
    pieces = [];
    [gathered, sinceMs] = [0, performance.now()];
    if (whole.length === 0 || failed) return;
    failed = true;
    await onPieces(whole);
    failed = false;
    // The time that was spent here is no stall of the host's.
    timer.refresh();
  };
  try {
    const old = () => performance.now() - sinceMs >= GATHERED_MS;
    await eachPiece(
      response,
      (piece) => {
        timer.refresh();
        pieces.push(piece);
        gathered += piece.length;
        return gathered >= GATHERED_BYTES || old() ? handOn() : undefined;
      },
      () => (gathered > 0 && old() ? handOn() : undefined),
    );
    await handOn();
  } catch (error) {
    if (failed) throw error;
    await handOn();
    if (signal.aborted) throw signal.reason;
    if (error instanceof HadalError) throw error;
    throw broken(host, 'the file to its end', reason(error), error);
  } finally {
    clearTimeout(timer);
    response.destroy();
  }
}

/**
 * Every piece of a body as it came, and a word from time to time when none comes; while something is done about either,
 * nothing more is taken. Iterating would join pieces in new memory.
 */
function eachPiece(
  body: http.IncomingMessage,
  onPiece: (piece: Buffer) => Promise<void> | undefined,
  onQuiet: () => Promise<void> | undefined,
): Promise<void> {
  let ticking: NodeJS.Timeout | undefined;
  return new Promise<void>((resolve, reject) => {
    let work: Promise<void> | undefined;
    const begin = (doing: Promise<void> | undefined) => {
      work = doing;
      if (work === undefined) return;
      body.pause();
      work.then(
        () => {
          work = undefined;
          body.resume();
        },
        (error) => body.destroy(error),
      );
    };
    ticking = setInterval(() => {
      if (work === undefined) begin(onQuiet());
    }, GATHERED_MS);
    if (body.errored) reject(body.errored);
    body.on('error', (error) => {
      if (work === undefined) reject(error);
      else work.then(() => reject(error), reject);
    });
    body.on('end', () => {
      if (work === undefined) resolve();
      else work.then(resolve, reject);
    });
    body.on('data', (piece: Buffer) => begin(onPiece(piece)));
  }).finally(() => clearInterval(ticking));
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
function retryAfterMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

function refusal(url: URL, expected: string, got: string): HadalError {
  return new HadalError('hub-refused', { what: url.host, expected, got });
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? String(error.code) : '';
  return REASONS[code] ?? (error.message || code);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no name service',
  ECONNREFUSED: 'a refused connection',
  ECONNRESET: 'a broken connection',
  EPIPE: 'a broken connection',
  ENETUNREACH: 'no network',
  ETIMEDOUT: 'no connection in time',
};
