/**
 * Owns: reading the header of one safetensors file: tensor table and texts about it; every bound checked.
 * Refuses to know: config.json, which tensors a model needs, shards, tensor data.
 *
 * Nothing in a file is believed; the bytes of the tensors must follow one another from the first to the last of the file,
 * as the format demands, so that no two readers can find different things in it.
 */
import type { DTypeName } from '../../dtypes/dtype.ts';
import { HadalError } from '../../error.ts';
import { clipped } from '../clipped.ts';
import type { ByteSource, MetaValue, ModelFile, TensorInfo } from '../tensor-info.ts';
import { HeaderText } from './header-text.ts';
import {
  LENGTH_BYTES,
  METADATA,
  MOST_DIMENSIONS,
  MOST_HEADER_BYTES,
  MOST_TENSORS,
  storable,
  storableNames,
} from './types.ts';

/**
 * Reads a safetensors header; no tensor data is read. `metadata` has the texts under `__metadata__`.
 *
 * @throws HadalError `safetensors-truncated`, `safetensors-header` (text that is no header), `safetensors-lies` (an entry
 *   that contradicts the rest), `safetensors-dtype` (an unknown number type), and the source's own.
 * @example const file = await readSafetensors(await openFile('model.safetensors'));
 */
export async function readSafetensors(source: ByteSource): Promise<ModelFile> {
  const headerBytes = await readLength(source);
  const dataStart = LENGTH_BYTES + headerBytes;
  const text = new HeaderText(source, LENGTH_BYTES, dataStart);
  const entries = new Map<string, Entry>();
  let metadata: ReadonlyMap<string, MetaValue> | undefined;
  for (let more = await text.piece(begun); more; more = await text.piece(followed)) {
    const entry = await text.piece((piece) => readEntry(source, piece));
    if (entry instanceof Map) {
      if (metadata !== undefined) throw twice(source, METADATA);
      metadata = entry;
      continue;
    }
    if (entries.has(entry.name)) throw twice(source, entry.name);
    if (entries.size === MOST_TENSORS) {
      throw lies(source, 'its header', `at most ${MOST_TENSORS} tensors`, 'more');
    }
    entries.set(entry.name, entry);
  }
  if ((await text.peekPastSpace()) !== -1) throw text.wrong('spaces behind the closing brace', 'more text');
  return {
    format: 'safetensors',
    sources: [source],
    metadata: metadata ?? new Map(),
    tensors: placed(source, [...entries.values()], dataStart),
  };
}

/** A tensor's entry as it stands in the file. */
interface Entry {
  readonly name: string;
  readonly dtype: string;
  /** Row-major: the length of a row last. */
  readonly shape: readonly number[];
  /** From the start of the data, end not included. */
  readonly begin: number;
  readonly end: number;
}

async function readLength(source: ByteSource): Promise<number> {
  if (source.size < LENGTH_BYTES + 2) throw truncated(source, 'its header', LENGTH_BYTES + 2);
  const bytes = await source.read(0, LENGTH_BYTES + 1);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (bytes[LENGTH_BYTES] !== 0x7b || length < 2n || length > BigInt(MOST_HEADER_BYTES)) {
    throw new HadalError('safetensors-header', {
      what: source.name,
      expected: `a safetensors file: the length of its header (up to ${MOST_HEADER_BYTES}) and "{"`,
      got: `the length ${length} and the byte ${bytes[LENGTH_BYTES]!.toString(16).padStart(2, '0')}`,
      next: 'name a safetensors file, or fetch it again',
    });
  }
  const headerBytes = Number(length);
  if (LENGTH_BYTES + headerBytes > source.size) throw truncated(source, 'its header', headerBytes);
  return headerBytes;
}

/** Whether an entry comes after the opening brace. */
function begun(text: HeaderText): boolean {
  text.expect('{');
  return !text.accept('}');
}

/** Whether an entry comes after another. */
function followed(text: HeaderText): boolean {
  if (text.accept(',')) return true;
  text.expect('}');
  return false;
}

function readEntry(source: ByteSource, text: HeaderText): Entry | Map<string, MetaValue> {
  const name = text.string();
  text.expect(':');
  text.expect('{');
  if (name === METADATA) return readTexts(source, text);
  if (name === '') throw lies(source, 'a tensor', 'a name of its own', 'none');
  const what = `tensor ${clipped(name)}`;
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  do {
    const field = text.string();
    text.expect(':');
    if (field === 'dtype' && dtype === undefined) dtype = text.string();
    else if (field === 'shape' && shape === undefined) shape = text.wholes(MOST_DIMENSIONS);
    else if (field === 'data_offsets' && offsets === undefined) offsets = text.wholes(2);
    else throw lies(source, what, 'dtype, shape and data_offsets, each once', clipped(field));
  } while (text.accept(','));
  text.expect('}');
  const [begin, end] = offsets ?? [];
  if (dtype === undefined || shape === undefined || begin === undefined || end === undefined) {
    throw lies(source, what, 'dtype, shape and two data_offsets', 'an entry without all of them');
  }
  return { name, dtype, shape, begin, end };
}

function readTexts(source: ByteSource, text: HeaderText): Map<string, MetaValue> {
  const texts = new Map<string, MetaValue>();
  if (text.accept('}')) return texts;
  do {
    const key = text.string();
    text.expect(':');
    if (texts.has(key)) throw twice(source, key);
    texts.set(key, text.string());
  } while (text.accept(','));
  text.expect('}');
  return texts;
}

/** Puts tensors at their bytes and refuses those that cannot lie there. */
function placed(source: ByteSource, entries: Entry[], dataStart: number): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  for (const entry of entries) tensors.set(entry.name, placedEntry(source, entry, dataStart));
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const entry of entries) {
    if (entry.begin !== end) {
      const got = entry.begin < end ? 'bytes of another tensor too' : 'bytes before it that belong to none';
      throw lies(
        source,
        `tensor ${clipped(entry.name)}`,
        `data from byte ${end} on, where the last ended`,
        got,
      );
    }
    end = entry.end;
  }
  if (dataStart + end !== source.size) {
    throw lies(source, 'its data', `an end at byte ${dataStart + end}`, `a file of ${source.size} bytes`);
  }
  return tensors;
}

function placedEntry(source: ByteSource, entry: Entry, dataStart: number): TensorInfo {
  const { name, dtype: named, shape, begin, end } = entry;
  const what = `tensor ${clipped(name)}`;
  const dtype = storable(named);
  if (dtype === undefined) {
    throw new HadalError('safetensors-dtype', {
      what: `${source.name}, ${what}`,
      expected: `one of ${storableNames()}`,
      got: `the number type ${clipped(named)}, which is not known`,
      next: 'use a file in one of these types',
    });
  }
  const bytes = shape.reduce((product, length) => product * length, dtype.blockBytes);
  if (!Number.isSafeInteger(bytes)) {
    throw lies(source, what, 'dimensions of a possible size', `[${shape.join(', ')}]`);
  }
  if (end - begin !== bytes) {
    throw lies(source, what, `${bytes} bytes for [${shape.join(', ')}] in ${named}`, `${begin} to ${end}`);
  }
  if (dataStart + end > source.size) throw truncated(source, `${what} at byte ${dataStart + begin}`, bytes);
  return {
    name,
    dtype: dtype.name satisfies DTypeName,
    shape: shape.toReversed(),
    source: 0,
    offset: dataStart + begin,
    bytes,
  };
}

function twice(source: ByteSource, name: string): HadalError {
  return lies(source, 'its header', 'every name once', `${clipped(name)} twice`);
}

function truncated(source: ByteSource, what: string, bytes: number): HadalError {
  return new HadalError('safetensors-truncated', {
    what: `${source.name}, ${what}`,
    expected: `${bytes} bytes`,
    got: `a file that ends at byte ${source.size}`,
    next: 'it was cut short or damaged: fetch it again',
  });
}

function lies(source: ByteSource, what: string, expected: string, got: string): HadalError {
  return new HadalError('safetensors-lies', {
    what: `${source.name}, ${what}`,
    expected,
    got,
    next: 'the file is damaged or was made to mislead: fetch it again from a source you trust',
  });
}
