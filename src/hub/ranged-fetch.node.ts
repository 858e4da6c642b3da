/**
 * Owns: bringing a file whole over HTTP(S): ranges side by side, each tried again where it broke, waits that a host asks.
 * Refuses to know: which file it is, where it goes.
 */
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../error.ts';
import type { Expectation } from './digest.node.ts';
import { demandSpace } from './disk.node.ts';
import { type Answer, askedWaitMs, broken, openUrl, readBody } from './http-get.node.ts';
import { type ByteRange, RangedFile } from './ranged-file.node.ts';

/** Options of {@link fetchRanges}. */
export interface RangesOptions {
  /** Bytes of the whole file. */
  readonly bytes: number;
  readonly signal: AbortSignal;
  readonly token?: string | undefined;
  /** Called with the bytes held so far; never goes back but when everything begins anew. */
  readonly onProgress: (doneBytes: number) => void;
  /** Ranges at the same time; 4 when absent. */
  readonly connections?: number;
  /** Bytes of a range at most. */
  readonly rangeBytes?: number;
  readonly answerMs?: number;
  /** How long no byte may come. */
  readonly stallMs?: number;
  /** How often a range may bring nothing before it is given up, while the host is in trouble; 6 when absent. */
  readonly patience?: number;
  /** The first wait after trouble; each next one is twice as long. */
  readonly waitMs?: number;
}

const CONNECTIONS = 4;
const RANGE_BYTES = 32 << 20;
const MOST_BREAKS = 3;
const PATIENCE = 6;
/** A host may ask for longer, but nobody is kept waiting longer than this at a time. */
const LONGEST_WAIT_MS = 60_000;

/**
 * Fetches everything that is missing of a file.
 *
 * @throws HadalError `hub-unreachable`, `hub-refused`, `hub-broken`; `hub-changed` when the file is another one midway.
 * @example await fetchRanges(url, file, { bytes, signal, onProgress });
 */
export async function fetchRanges(url: URL, file: RangedFile, options: RangesOptions): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const seen: Seen = { tag: undefined };
  const gaps = file.missing(options.rangeBytes ?? RANGE_BYTES);
  const work = async () => {
    for (let gap = gaps.shift(); gap !== undefined; gap = gaps.shift()) {
      await fetchGap(url, file, gap, seen, { ...options, signal });
    }
  };
  // The first range alone shows whether the host knows ranges, before more is asked of it.
  const first = gaps.shift();
  if (first === undefined) return;
  let cause: { readonly error: unknown } | undefined;
  const guarded = (running: Promise<void>) =>
    running.catch((error: unknown) => {
      cause ??= { error };
      failed.abort(error);
    });
  const others: Promise<void>[] = [];
  const startOthers = () => {
    for (let i = 1; i < (options.connections ?? CONNECTIONS) && i <= gaps.length; i++)
      others.push(guarded(work()));
  };
  await guarded(fetchGap(url, file, first, seen, { ...options, signal }, startOthers).then(work));
  await Promise.all(others);
  if (cause === undefined) return;
  if (options.signal.aborted) throw options.signal.reason;
  throw cause.error;
}

/** Options of {@link download}. */
export interface DownloadOptions extends Omit<RangesOptions, 'bytes'> {
  /** Called when there is room for the file, before anything is fetched. */
  readonly onBegin?: () => void;
  readonly onVerify?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Brings a file to a path, whole and checked, or not at all; what an interrupted run left is continued.
 *
 * @throws HadalError what {@link fetchRanges} throws; `disk-full`; `digest-mismatch`
 * @example await download(url, path, { bytes, sha256 }, { signal, onProgress });
 */
export async function download(
  url: URL,
  path: string,
  expected: Expectation,
  { onBegin, onVerify, ...options }: DownloadOptions,
): Promise<void> {
  const { bytes } = expected;
  const file = await RangedFile.open(path, expected);
  try {
    await demandSpace(dirname(path), bytes - file.heldBytes);
    onBegin?.();
    const resumed = file.heldBytes > 0;
    const attempt = async () => {
      await fetchRanges(url, file, { ...options, bytes });
      await file.finish((done) => onVerify?.(done, bytes), options.signal);
    };
    // What an earlier run left may be damaged, or of another time: it gets one chance, then everything is fetched anew.
    await attempt().catch(async (error: unknown) => {
      const code = error instanceof HadalError ? error.code : '';
      if (code === 'hub-changed') await file.restart();
      if (!resumed || (code !== 'digest-mismatch' && code !== 'hub-changed')) throw error;
      await attempt();
    });
  } finally {
    await file.close();
  }
}

/** What the first answer said of the file; later ones have to say the same. */
interface Seen {
  tag: string | undefined;
}

async function fetchGap(
  url: URL,
  file: RangedFile,
  gap: ByteRange,
  seen: Seen,
  options: RangesOptions,
  onRanges?: () => void,
): Promise<void> {
  let at = gap.from;
  let breaks = 0;
  let troubles = 0;
  let tell = onRanges;
  while (at < gap.to) {
    const before = at;
    try {
      const answer = await openUrl(url, {
        signal: options.signal,
        token: options.token,
        range: { from: at, to: gap.to - 1 },
        ...(options.answerMs === undefined ? {} : { answerMs: options.answerMs }),
      });
      const whole = checkAnswer(answer, { from: at, to: gap.to }, seen, options.bytes);
      if (!whole) {
        tell?.();
        tell = undefined;
      }
      let place = whole ? 0 : at;
      await readBody(
        answer,
        { signal: options.signal, stallMs: options.stallMs ?? 30_000 },
        async (pieces) => {
          const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
          if (place + length > (whole ? options.bytes : gap.to)) {
            throw broken(answer.host, `${gap.to - before} bytes`, 'more');
          }
          await file.write(place, pieces);
          place += length;
          at = Math.max(at, place);
          options.onProgress(file.heldBytes);
        },
      );
      const end = whole ? options.bytes : gap.to;
      if (place < end) throw broken(answer.host, `${end} bytes`, `${place}`);
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason;
      const code = error instanceof HadalError ? error.code : '';
      const advanced = at > before;
      if (code === 'hub-broken') {
        breaks = advanced ? 1 : breaks + 1;
        if (breaks >= MOST_BREAKS) throw error;
      } else if (code === 'hub-unreachable') {
        troubles = advanced ? 1 : troubles + 1;
        if (troubles >= (options.patience ?? PATIENCE)) throw error;
        const waitMs = askedWaitMs(error) ?? (options.waitMs ?? 500) * 2 ** (troubles - 1);
        await sleep(Math.min(waitMs, LONGEST_WAIT_MS), undefined, { signal: options.signal });
      } else throw error;
    }
  }
}

/** Whether the answer is the whole file instead of the range. */
function checkAnswer(
  { response, host }: Answer,
  { from, to }: ByteRange,
  seen: Seen,
  bytes: number,
): boolean {
  const refuse = (expected: string, got: string, code = 'hub-refused'): HadalError => {
    response.destroy();
    return new HadalError(code, { what: host, expected, got });
  };
  const tag = response.headers.etag;
  if (seen.tag !== undefined && tag !== undefined && tag !== seen.tag) {
    throw refuse('the same file to its end', 'another one midway', 'hub-changed');
  }
  seen.tag ??= tag;
  if (response.statusCode === 206) {
    const range = response.headers['content-range'];
    if (range === `bytes ${from}-${to - 1}/${bytes}`) return false;
    throw refuse(`bytes ${from} to ${to - 1} of ${bytes}`, range ?? 'no Content-Range');
  }
  const length = response.headers['content-length'];
  if (length !== undefined && Number(length) !== bytes) throw refuse(`${bytes} bytes`, length);
  return true;
}
