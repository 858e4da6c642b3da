/**
 * Owns: fetching one file from a Hugging Face hub over HTTP(S): redirects, resuming, stalls.
 * Refuses to know: where the file goes, other sources.
 */
import { HadalError } from '../error.ts';
import type { HuggingFaceSource } from './catalogue.ts';
import type { PartFile } from './part-file.node.ts';
import type { Environment } from './store.node.ts';

/** Options of {@link fetchFromHub}. */
export interface HubOptions {
  readonly env: Environment;
  readonly signal: AbortSignal;
  /** Bytes of the whole file. */
  readonly bytes: number;
  /** Called with the bytes held so far. */
  readonly onProgress: (doneBytes: number) => void;
  /** How long a hub may take to begin an answer. */
  readonly answerMs?: number;
  /** How long no byte may come. */
  readonly stallMs?: number;
}

const MOST_REDIRECTS = 5;
const MOST_BREAKS = 3;

/**
 * Brings a part file to its full length from a hub. A broken connection is taken up again where it broke, three times.
 *
 * @throws HadalError `hub-unreachable` (nothing began within a few seconds), `hub-refused` (a status that will not
 *   change), `hub-broken` (it stopped midway or contradicted itself).
 * @example await fetchFromHub(source, part, { env: process.env, signal, bytes, onProgress });
 */
export async function fetchFromHub(
  source: HuggingFaceSource,
  part: PartFile,
  options: HubOptions,
): Promise<void> {
  const endpoint = hubEndpoint(options.env);
  const url = new URL(
    `${endpoint.pathname.replace(/\/$/, '')}/${source.repo}/resolve/${source.revision}/${source.file}`,
    endpoint,
  );
  let breaks = 0;
  while (part.bytes < options.bytes) {
    const before = part.bytes;
    const answer = await open(url, before, options);
    try {
      await receive(answer, part, before, options);
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason;
      if (!isBreak(error)) throw error;
      breaks = part.bytes > before ? 1 : breaks + 1;
      if (breaks >= MOST_BREAKS) throw error;
    }
  }
}

/**
 * The hub to ask: `HF_ENDPOINT`, else huggingface.co.
 *
 * @throws HadalError `hub-endpoint` when it is no HTTP address.
 */
export function hubEndpoint(env: Environment): URL {
  const text = env.HF_ENDPOINT || 'https://huggingface.co';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') {
    throw new HadalError('hub-endpoint', {
      what: 'HF_ENDPOINT',
      expected: 'an address like https://huggingface.co',
      got: JSON.stringify(text),
      next: 'correct or unset it',
    });
  }
  return url;
}

interface Answer {
  readonly response: Response;
  readonly controller: AbortController;
}

async function open(url: URL, fromByte: number, options: HubOptions): Promise<Answer> {
  const token = options.env.HF_TOKEN;
  let at = url;
  for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
    const headers: Record<string, string> = { 'user-agent': 'hadal', 'accept-encoding': 'identity' };
    if (fromByte > 0) headers.range = `bytes=${fromByte}-`;
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

async function request(url: URL, headers: Record<string, string>, options: HubOptions): Promise<Answer> {
  const answerMs = options.answerMs ?? 5_000;
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(new Error(`no answer within ${answerMs / 1000} s`)),
    answerMs,
  );
  try {
    const signal = AbortSignal.any([controller.signal, options.signal]);
    const response = await fetch(url, { headers, redirect: 'manual', signal });
    return { response, controller };
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
    throw new HadalError('hub-unreachable', {
      what: url.host,
      expected: 'the file',
      got: `status ${status}`,
    });
  }
  throw refusal(url, 'the file', `status ${status}${hint}`);
}

async function receive(
  { response, controller }: Answer,
  part: PartFile,
  fromByte: number,
  options: HubOptions,
): Promise<void> {
  const { bytes, signal, onProgress, stallMs = 30_000 } = options;
  const host = new URL(response.url || hubEndpoint(options.env)).host;
  try {
    if (response.status === 206) {
      const range = response.headers.get('content-range');
      if (range !== `bytes ${fromByte}-${bytes - 1}/${bytes}`) {
        throw broken(
          host,
          `bytes ${fromByte} to ${bytes - 1} of ${bytes}`,
          range ?? 'no Content-Range',
          false,
        );
      }
    } else {
      const length = response.headers.get('content-length');
      if (length !== null && Number(length) !== bytes) throw broken(host, `${bytes} bytes`, length, false);
      if (fromByte > 0) await part.restart();
    }
    const stalled = () =>
      controller.abort(broken(host, 'bytes to keep coming', `none for ${stallMs / 1000} s`, true));
    let timer = setTimeout(stalled, stallMs);
    try {
      for await (const chunk of response.body ?? []) {
        clearTimeout(timer);
        await part.append(chunk as Uint8Array);
        onProgress(part.bytes);
        timer = setTimeout(stalled, stallMs);
      }
    } catch (error) {
      if (error instanceof HadalError || signal.aborted) throw error;
      if (isSystemError(error)) throw error;
      throw broken(host, `${bytes} bytes`, `${part.bytes} and then ${reason(error)}`, true, error);
    } finally {
      clearTimeout(timer);
    }
    if (part.bytes < bytes) throw broken(host, `${bytes} bytes`, `${part.bytes}`, true);
  } finally {
    controller.abort();
  }
}

/** A failure of the disk, not of the network. */
function isSystemError(error: unknown): boolean {
  return (
    error instanceof Error &&
    'syscall' in error &&
    ['write', 'open', 'ftruncate'].includes(`${error.syscall}`)
  );
}

const BREAK = 'hub-broken';

function isBreak(error: unknown): boolean {
  return error instanceof HadalError && error.code === BREAK;
}

function broken(host: string, expected: string, got: string, again: boolean, cause?: unknown): HadalError {
  return new HadalError(again ? BREAK : 'hub-refused', { what: host, expected, got }, { cause });
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
