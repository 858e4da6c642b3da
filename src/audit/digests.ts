/**
 * Owns: digests of byte sources, and lists of digests that publishers give.
 * Refuses to know: where lists come from, what follows from a difference.
 */
import { createHash } from 'node:crypto';
import { HadalError } from '../error.ts';
import type { ByteSource } from '../formats/tensor-info.ts';
import { quoted } from './finding.ts';

/** Large enough that the disk is the limit, small enough that a few of them do not matter. */
const CHUNK_BYTES = 4 << 20;
/** One is digested while the disk is busy with the others. */
const CHUNKS = 3;
/** Node's names of the digests. */
const NAMES = { sha256: 'sha256', blake2b: 'blake2b512' } as const;

/** Options of {@link digestOfSource}. */
export interface DigestOptions {
  readonly algorithm?: keyof typeof NAMES;
  /** All of it when absent. */
  readonly range?: { readonly start: number; readonly end: number };
  /** Bytes read since the last call. */
  readonly onRead?: (bytes: number) => void;
}

/**
 * The digest of a source, hexadecimal. The next pieces are read while one is digested, into the same memory again and again:
 * new memory for each would cost more than half of what the digest does.
 *
 * @throws HadalError as the source's reads do.
 * @example await digestOfSource(source)
 */
export async function digestOfSource(source: ByteSource, options: DigestOptions = {}): Promise<string> {
  const { algorithm = 'sha256', onRead } = options;
  const { start, end } = options.range ?? { start: 0, end: source.size };
  const hash = createHash(NAMES[algorithm]);
  const pending: { readonly memory: Uint8Array; readonly piece: Promise<Uint8Array> }[] = [];
  let at = start;
  const begin = (memory: Uint8Array) => {
    if (at >= end) return;
    const length = Math.min(CHUNK_BYTES, end - at);
    const piece = source.read(at, length, memory);
    // Where an earlier one fails, nobody waits for this one.
    piece.catch(() => undefined);
    pending.push({ memory, piece });
    at += length;
  };
  const bytes = Math.min(CHUNK_BYTES, Math.max(0, end - start));
  while (pending.length < CHUNKS && at < end) begin(new Uint8Array(bytes));
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    const piece = await next.piece;
    hash.update(piece);
    begin(next.memory);
    onRead?.(piece.length);
  }
  return hash.digest('hex');
}

/**
 * Reads a list of SHA-256 digests: lines of `sha256sum`, or a JSON object of names to digests.
 *
 * @returns names, with slashes, to digests
 * @throws HadalError `digests-broken`
 * @example readDigests('9f86…  model.gguf\n', 'SHA256SUMS').get('model.gguf')
 */
export function readDigests(text: string, name: string): ReadonlyMap<string, string> {
  const found = text.trimStart().startsWith('{') ? ofJson(text, name) : ofLines(text, name);
  if (found.size === 0) throw broken(name, 'at least one digest', 'none');
  return found;
}

function ofJson(text: string, name: string): Map<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw broken(name, 'JSON', quoted(text, 40));
  }
  return gathered(Object.entries(json as object), name);
}

function ofLines(text: string, name: string): Map<string, string> {
  const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#'));
  const pairs = lines.map((line): [string, string] => {
    const [, digest, file] = /^([0-9a-fA-F]{64}) [ *](.+)$/.exec(line) ?? [];
    if (digest === undefined || file === undefined) throw broken(name, 'lines of sha256sum', quoted(line));
    return [file, digest];
  });
  return gathered(pairs, name);
}

function gathered(pairs: readonly [string, unknown][], name: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [file, digest] of pairs) {
    const plain = file.replace(/^\.\//, '');
    if (typeof digest !== 'string' || !/^[0-9a-f]{64}$/i.test(digest)) {
      throw broken(name, `a SHA-256 for ${quoted(file)}`, quoted(String(digest)));
    }
    if (found.has(plain)) throw broken(name, 'every file once', `${quoted(file)} twice`);
    found.set(plain, digest.toLowerCase());
  }
  return found;
}

function broken(what: string, expected: string, got: string): HadalError {
  return new HadalError('digests-broken', { what, expected, got, next: "fetch the publisher's list again" });
}
