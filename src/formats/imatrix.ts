/**
 * Owns: the two layouts of an importance matrix, both llama.cpp's: GGUF, and the older one whose files end in .dat.
 * Refuses to know: how activations are collected, what a tensor is for, files on disk.
 *
 * Source: llama.cpp, tools/imatrix. Where nothing is known of a matrix, because nobody chose that expert, GGUF has a count
 * of 0 and the reader takes ones; the older layout has the ones in the file, and one count for all experts.
 */
import { HadalError } from '../error.ts';
import { clipped } from './clipped.ts';
import { readGguf } from './gguf/read.ts';
import { MAGIC } from './gguf/types.ts';
import { layOutGguf, typed } from './gguf/write.ts';
import type { ByteSource, ModelFile } from './tensor-info.ts';

/** Sums of squares of what was multiplied with each column of a tensor. */
export interface ImatrixEntry {
  /** [matrices, cols], matrices one after another. */
  readonly sums: Float32Array | Float64Array;
  /** Rows summed: one number for each expert of a stack, or one for all matrices. */
  readonly counts: Float32Array | Float64Array;
}

/** An importance matrix. */
export interface Imatrix {
  /** Names of the texts that it is made of. */
  readonly datasets: readonly string[];
  readonly chunks: number;
  /** Tokens of a chunk; the older layout does not say, and counts in chunks. */
  readonly chunkTokens?: number;
  /** By the tensors' names. */
  readonly entries: ReadonlyMap<string, ImatrixEntry>;
}

/** A layout by the ending that its files have. */
export type ImatrixFormat = 'gguf' | 'dat';

const SUMS = '.in_sum2';
const COUNTS = '.counts';
const MOST_TEXT_BYTES = 1 << 16;

/**
 * The mean square of each column [matrices * cols]: how much an error in it weighs. Ones where nothing is known.
 *
 * @example meansOf({ sums: Float32Array.of(8, 2), counts: Float32Array.of(2) }) // [4, 1]
 */
export function meansOf({ sums, counts }: ImatrixEntry): Float32Array {
  const each = sums.length / counts.length;
  return Float32Array.from(sums, (sum, i) => {
    const count = counts[Math.floor(i / each)]!;
    return count > 0 ? sum / count : 1;
  });
}

/**
 * Reads an importance matrix in either layout, every bound checked.
 *
 * @throws HadalError `imatrix-invalid`, and what `readGguf` and the source throw.
 * @example const { entries } = await readImatrix(await openFile('model-imatrix.gguf'));
 */
export async function readImatrix(source: ByteSource): Promise<Imatrix> {
  const first = await source.read(0, Math.min(4, source.size));
  const magic = first.length === 4 ? viewOf(first).getUint32(0, true) : undefined;
  const read = magic === MAGIC ? await fromGguf(source) : await fromDat(source);
  if (read.entries.size === 0) throw invalid(source, 'sums of at least one tensor', 'none');
  for (const [name, { sums, counts }] of read.entries) {
    const what = `sums of "${clipped(name)}"`;
    if (sums.length === 0 || counts.length === 0 || sums.length % counts.length !== 0) {
      throw invalid(source, `${what} for each of its matrices`, `${sums.length} for ${counts.length}`);
    }
    for (const numbers of [sums, counts]) {
      for (const number of numbers) {
        if (!(number >= 0 && Number.isFinite(number)))
          throw invalid(source, `${what} that are finite and not below 0`, `${number}`);
      }
    }
  }
  return read;
}

async function fromGguf(source: ByteSource): Promise<Imatrix> {
  const file = await readGguf(source);
  const { metadata, tensors } = file;
  const kind = metadata.get('general.type');
  if (kind !== 'imatrix') {
    throw invalid(source, 'an importance matrix', kind === undefined ? 'a GGUF file' : clipped(`${kind}`));
  }
  const entries = new Map<string, ImatrixEntry>();
  for (const name of tensors.keys()) {
    if (!name.endsWith(SUMS)) continue;
    const of = name.slice(0, -SUMS.length);
    const [sums, counts] = [await numbersOf(file, name), await numbersOf(file, `${of}${COUNTS}`)];
    entries.set(of, { sums, counts });
  }
  const datasets = metadata.get('imatrix.datasets');
  const [chunks, chunkTokens] = ['imatrix.chunk_count', 'imatrix.chunk_size'].map((key) => metadata.get(key));
  return {
    datasets: Array.isArray(datasets) ? datasets.map(String) : [],
    chunks: typeof chunks === 'number' ? chunks : 0,
    ...(typeof chunkTokens === 'number' ? { chunkTokens } : {}),
    entries,
  };
}

async function numbersOf({ tensors, sources }: ModelFile, name: string): Promise<Float32Array> {
  const source = sources[0]!;
  const tensor = tensors.get(name);
  if (tensor?.dtype !== 'F32') {
    throw invalid(source, `a tensor "${clipped(name)}" in F32`, tensor === undefined ? 'none' : tensor.dtype);
  }
  return floatsOf(await source.read(tensor.offset, tensor.bytes));
}

async function fromDat(source: ByteSource): Promise<Imatrix> {
  let at = 0;
  const take = async (bytes: number, what: string) => {
    if (bytes < 0 || bytes > source.size - at) {
      throw invalid(
        source,
        `an importance matrix with ${what}`,
        `a file that ends, or is something else, at byte ${at}`,
      );
    }
    at += bytes;
    return source.read(at - bytes, bytes);
  };
  const int = async (what: string) => viewOf(await take(4, what)).getInt32(0, true);
  const word = async (what: string) => {
    const bytes = await int(`the length of ${what}`);
    return new TextDecoder().decode(await take(bytes > MOST_TEXT_BYTES ? -1 : bytes, what));
  };
  const count = await int('a number of tensors');
  const entries = new Map<string, ImatrixEntry>();
  for (let i = 0; i < count; i++) {
    const name = await word(`the name of tensor ${i + 1}`);
    const calls = await int('a number of calls');
    const values = await int('a number of values');
    const sums = floatsOf(await take(values < 1 ? -1 : values * 4, `${values} values`));
    entries.set(name, { sums, counts: Float32Array.of(Math.max(1, calls)) });
  }
  // The oldest files end here.
  const chunks = at < source.size ? await int('a number of chunks') : 0;
  const datasets = at < source.size ? [await word('the name of a text')] : [];
  return { datasets, chunks, entries };
}

/**
 * The bytes of a file, in order. The older layout leaves out tensors of which nothing is known.
 *
 * @example for (const bytes of imatrixBytes(imatrix, 'gguf')) await handle.write(bytes);
 */
export function imatrixBytes(imatrix: Imatrix, format: ImatrixFormat): Iterable<Uint8Array> {
  return format === 'gguf' ? asGguf(imatrix) : asDat(imatrix);
}

function* asGguf({ datasets, chunks, chunkTokens, entries }: Imatrix): Generator<Uint8Array> {
  const tensors = sorted(entries).flatMap(([name, { sums, counts }]) => {
    const tensor = (ending: string, values: typeof sums) => ({
      name: `${name}${ending}`,
      dtype: 'F32' as const,
      shape: [values.length / counts.length, counts.length],
      values,
    });
    return [tensor(SUMS, sums), tensor(COUNTS, counts)];
  });
  const metadata = [
    ['general.type', 'imatrix'],
    ['imatrix.datasets', datasets],
    ['imatrix.chunk_count', typed('u32', chunks)],
    ['imatrix.chunk_size', typed('u32', chunkTokens ?? 1)],
  ] as const;
  const { header, places, totalBytes } = layOutGguf({ metadata, tensors });
  yield header;
  let at = header.length;
  for (const [i, { values }] of tensors.entries()) {
    const { offset } = places[i]!;
    yield new Uint8Array(offset - at);
    const bytes = bytesOf(values);
    yield bytes;
    at = offset + bytes.length;
  }
  yield new Uint8Array(totalBytes - at);
}

function* asDat({ datasets, chunks, chunkTokens = 1, entries }: Imatrix): Generator<Uint8Array> {
  const known = sorted(entries).filter(([, { counts }]) => counts.some((count) => count > 0));
  yield ints(known.length);
  for (const [name, entry] of known) {
    const calls = Math.ceil(Math.max(...entry.counts) / chunkTokens);
    yield* textBytes(name);
    yield ints(calls, entry.sums.length);
    yield bytesOf(meansOf(entry).map((mean) => mean * calls));
  }
  yield ints(chunks);
  yield* textBytes(datasets.at(-1) ?? '');
}

function sorted(entries: Imatrix['entries']): [string, ImatrixEntry][] {
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
}

function* textBytes(text: string): Generator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  yield ints(bytes.length);
  yield bytes;
}

function ints(...numbers: number[]): Uint8Array {
  const bytes = new Uint8Array(numbers.length * 4);
  for (const [i, number] of numbers.entries()) viewOf(bytes).setInt32(i * 4, number, true);
  return bytes;
}

function bytesOf(values: Float32Array | Float64Array): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** A copy, since the bytes may lie anywhere. */
function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

function invalid({ name }: ByteSource, expected: string, got: string): HadalError {
  const next = 'name a file that `hadal imatrix` or llama-imatrix wrote';
  return new HadalError('imatrix-invalid', { what: name, expected, got, next });
}
