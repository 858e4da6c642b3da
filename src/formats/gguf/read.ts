/**
 * Owns: reading the header of one GGUF file (versions 2 and 3): metadata, tensor table; every bound checked.
 * Refuses to know: which keys or tensors a model needs, shards, tensor data.
 *
 * Nothing in a file is believed: counts are held against the bytes that are left before anything is allocated.
 */
import { DTYPES, dtypeOfGgml } from '../../dtypes/table.ts';
import { HadalError } from '../../error.ts';
import { clipped } from '../clipped.ts';
import { aligned } from '../layout.ts';
import type { ByteSource, MetaValue, ModelFile, TensorInfo } from '../tensor-info.ts';
import { Cursor } from './cursor.ts';
import { notGguf } from './other-formats.ts';
import {
  DEFAULT_ALIGNMENT,
  isAlignment,
  MAGIC,
  MOST_ALIGNMENT,
  MOST_DEPTH,
  MOST_DIMENSIONS,
  MOST_KEY_BYTES,
  MOST_NAME_BYTES,
  MOST_PAIRS,
  MOST_TENSORS,
  MOST_TEXT_BYTES,
  MOST_VALUES,
  VALUE_BYTES,
  VALUE_TYPES,
  type ValueType,
} from './types.ts';

/** Smallest entries that a file can hold: they bound the counts of its header. */
const LEAST_PAIR_BYTES = 8 + 1 + 4 + 1;
const LEAST_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8;

/**
 * Reads a GGUF header; no tensor data is read.
 *
 * @throws HadalError `gguf-truncated`, `gguf-magic`, `gguf-version`, `gguf-lies` (a field that contradicts the rest),
 *   `gguf-limits` (more than any model needs), `gguf-dtype` (an unknown tensor type), and the source's own.
 * @example const file = await readGguf(await openFile('model.gguf'));
 */
export async function readGguf(source: ByteSource): Promise<ModelFile> {
  const cursor = new Cursor(source);
  const { pairs, tensors: tensorCount } = await readCounts(source, cursor);
  const metadata = new Map<string, MetaValue>();
  const metadataTypes = new Map<string, ValueType>();
  for (let i = 0; i < pairs; i++) {
    const key = await readText(source, cursor, `key ${i + 1} of ${pairs}`, MOST_KEY_BYTES);
    if (key === '' || metadata.has(key)) {
      throw lies(
        source,
        `key ${i + 1}`,
        'a name of its own',
        key === '' ? 'none' : `${clipped(key)} once more`,
      );
    }
    const type = await readType(source, cursor, key);
    metadata.set(key, await readValue(source, cursor, key, type, 0));
    metadataTypes.set(key, type);
  }
  const alignment = alignmentOf(source, metadata, metadataTypes);
  const headers: TensorHeader[] = [];
  for (let i = 0; i < tensorCount; i++) headers.push(await readTensorHeader(source, cursor, i, tensorCount));
  const tensors = placed(source, headers, aligned(cursor.offset, alignment), alignment);
  return { format: 'gguf', sources: [source], metadata, metadataTypes, tensors };
}

async function readCounts(source: ByteSource, cursor: Cursor): Promise<{ pairs: number; tensors: number }> {
  if (source.size < 24) {
    const start = await source.read(0, source.size);
    throw notGguf(source, start) ?? truncated(source, 'the header', 24);
  }
  await cursor.fill(24, 'the header');
  const magic = cursor.u32();
  if (magic !== MAGIC) {
    const start = await source.read(0, Math.min(source.size, 256));
    throw (
      notGguf(source, start) ??
      new HadalError('gguf-magic', {
        what: source.name,
        expected: 'a GGUF file, which begins with "GGUF"',
        got: `the bytes ${Array.from(start.subarray(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join(' ')}`,
        next: 'name a GGUF file',
      })
    );
  }
  const version = cursor.u32();
  if (version !== 2 && version !== 3) {
    const swapped = version === 0x02000000 || version === 0x03000000;
    throw new HadalError('gguf-version', {
      what: source.name,
      expected: 'GGUF version 2 or 3, little-endian',
      got: swapped ? 'a big-endian file' : `version ${version}`,
      next: 'convert it with a current converter',
    });
  }
  const [tensors, pairs] = [cursor.size(), cursor.size()];
  const least = pairs * LEAST_PAIR_BYTES + tensors * LEAST_TENSOR_BYTES;
  if (least > cursor.remaining) {
    throw lies(
      source,
      'the header',
      `at most ${cursor.remaining} bytes of entries`,
      `${tensors} tensors, ${pairs} keys`,
    );
  }
  if (pairs > MOST_PAIRS) throw cursor.beyond('the header', MOST_PAIRS, 'keys');
  if (tensors > MOST_TENSORS) throw cursor.beyond('the header', MOST_TENSORS, 'tensors');
  return { pairs, tensors };
}

async function readType(source: ByteSource, cursor: Cursor, key: string): Promise<ValueType> {
  if (!cursor.has(4)) await cursor.fill(4, `key ${clipped(key)}`);
  const id = cursor.u32();
  const type = VALUE_TYPES[id];
  if (type === undefined) {
    throw lies(source, `key ${clipped(key)}`, `a value type from 0 to ${VALUE_TYPES.length - 1}`, `${id}`);
  }
  return type;
}

async function readText(
  source: ByteSource,
  cursor: Cursor,
  what: string,
  mostBytes: number,
): Promise<string> {
  if (!cursor.has(8)) await cursor.fill(8, what);
  const length = cursor.size();
  if (length > mostBytes || length > cursor.remaining) {
    throw lies(source, what, `a text of at most ${Math.min(mostBytes, cursor.remaining)} bytes`, `${length}`);
  }
  if (!cursor.has(length)) await cursor.fill(length, what);
  const text = cursor.text(length);
  if (text === undefined) throw lies(source, what, 'text in UTF-8', 'other bytes');
  return text;
}

async function readValue(
  source: ByteSource,
  cursor: Cursor,
  key: string,
  type: ValueType,
  depth: number,
): Promise<MetaValue> {
  if (type === 'string') return readText(source, cursor, `key ${clipped(key)}`, MOST_TEXT_BYTES);
  if (type === 'array') return readArray(source, cursor, key, depth);
  const bytes = VALUE_BYTES[type]!;
  if (!cursor.has(bytes)) await cursor.fill(bytes, `key ${clipped(key)}`);
  if (type === 'u64' || type === 'i64') return whole(cursor[type]());
  return type === 'bool' ? truth(source, key, cursor.u8()) : cursor[type]();
}

async function readArray(source: ByteSource, cursor: Cursor, key: string, depth: number): Promise<MetaValue> {
  const what = `key ${clipped(key)}`;
  if (depth >= MOST_DEPTH) throw lies(source, what, `lists at most ${MOST_DEPTH} deep`, 'deeper ones');
  const type = await readType(source, cursor, key);
  if (!cursor.has(8)) await cursor.fill(8, what);
  const count = cursor.size();
  const least = VALUE_BYTES[type] ?? (type === 'string' ? 8 : 12);
  if (count * least > cursor.remaining) {
    throw lies(source, what, `at most ${Math.floor(cursor.remaining / least)} values`, `${count}`);
  }
  if (count > MOST_VALUES) throw cursor.beyond(what, MOST_VALUES, 'values');
  if (type === 'string') return readTexts(source, cursor, what, count);
  if (type === 'array') {
    cursor.countLists(count, what);
    const lists: MetaValue[] = [];
    for (let i = 0; i < count; i++) lists.push(await readArray(source, cursor, key, depth + 1));
    return lists;
  }
  if (!cursor.has(count * least)) await cursor.fill(count * least, what);
  const bytes = cursor.bytes(count * least);
  return type === 'bool' ? Array.from(bytes, (byte) => truth(source, key, byte)) : TYPED[type]!(bytes.buffer);
}

/** Many strings: waits only where the window ends. */
async function readTexts(source: ByteSource, cursor: Cursor, what: string, count: number): Promise<string[]> {
  cursor.countTexts(count, what);
  const texts: string[] = new Array(count);
  for (let i = 0; i < count; i++) {
    if (!cursor.has(8)) await cursor.fill(8, what);
    const length = cursor.size();
    if (!cursor.has(length)) {
      const most = Math.min(MOST_TEXT_BYTES, cursor.remaining);
      if (length > most) throw lies(source, what, `texts of at most ${most} bytes`, `${length}`);
      await cursor.fill(length, what);
    }
    const text = cursor.text(length);
    if (text === undefined) throw lies(source, `${what}, text ${i}`, 'UTF-8', 'other bytes');
    texts[i] = text;
  }
  return texts;
}

const TYPED: Readonly<Partial<Record<ValueType, (buffer: ArrayBufferLike) => MetaValue>>> = {
  u8: (buffer) => new Uint8Array(buffer),
  i8: (buffer) => new Int8Array(buffer),
  u16: (buffer) => new Uint16Array(buffer),
  i16: (buffer) => new Int16Array(buffer),
  u32: (buffer) => new Uint32Array(buffer),
  i32: (buffer) => new Int32Array(buffer),
  f32: (buffer) => new Float32Array(buffer),
  f64: (buffer) => new Float64Array(buffer),
  u64: (buffer) => new BigUint64Array(buffer),
  i64: (buffer) => new BigInt64Array(buffer),
};

/** A tensor's entry as it stands in the file. */
interface TensorHeader {
  readonly name: string;
  readonly shape: readonly number[];
  readonly ggmlId: number;
  /** From the start of the data section. */
  readonly offset: number;
}

async function readTensorHeader(
  source: ByteSource,
  cursor: Cursor,
  index: number,
  count: number,
): Promise<TensorHeader> {
  const what = `tensor ${index + 1} of ${count}`;
  const name = await readText(source, cursor, what, MOST_NAME_BYTES);
  if (!cursor.has(4)) await cursor.fill(4, what);
  const dimensions = cursor.u32();
  if (dimensions < 1 || dimensions > MOST_DIMENSIONS) {
    throw lies(source, `tensor ${clipped(name)}`, `1 to ${MOST_DIMENSIONS} dimensions`, `${dimensions}`);
  }
  if (!cursor.has(dimensions * 8 + 12)) await cursor.fill(dimensions * 8 + 12, what);
  const shape = Array.from({ length: dimensions }, () => cursor.size());
  if (shape.some((length) => length === 0) || !Number.isSafeInteger(product(shape))) {
    throw lies(source, `tensor ${clipped(name)}`, 'dimensions of a possible size', `[${shape.join(', ')}]`);
  }
  return { name, shape, ggmlId: cursor.u32(), offset: cursor.size() };
}

/** Puts tensors at their bytes and refuses those that cannot lie there. */
function placed(
  source: ByteSource,
  headers: readonly TensorHeader[],
  dataStart: number,
  alignment: number,
): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  for (const { name, shape, ggmlId, offset: relative } of headers) {
    const what = `tensor ${clipped(name)}`;
    if (name === '' || tensors.has(name)) {
      throw lies(source, what, 'a name of its own', name === '' ? 'none' : 'the same name twice');
    }
    const dtype = dtypeOfGgml(ggmlId);
    if (dtype === undefined) {
      throw new HadalError('gguf-dtype', {
        what: `${source.name}, ${what}`,
        expected: `one of ${DTYPES.filter((known) => known.ggmlId >= 0)
          .map((known) => known.name)
          .join(', ')}`,
        got: `the number type ${ggmlId}, which is not known`,
        next: 'use a file in one of these types',
      });
    }
    const [row] = shape;
    if (row! % dtype.blockElements !== 0) {
      throw lies(
        source,
        what,
        `rows of whole blocks of ${dtype.blockElements}`,
        `rows of ${row} in ${dtype.name}`,
      );
    }
    const bytes = (product(shape) / dtype.blockElements) * dtype.blockBytes;
    const offset = dataStart + relative;
    if (relative % alignment !== 0)
      throw lies(source, what, `an offset in steps of ${alignment}`, `${relative}`);
    if (!(offset + bytes <= source.size)) {
      throw truncated(source, `${what} at byte ${offset}`, bytes);
    }
    tensors.set(name, { name, dtype: dtype.name, shape, source: 0, offset, bytes });
  }
  refuseOverlaps(source, [...tensors.values()]);
  return tensors;
}

function refuseOverlaps(source: ByteSource, tensors: TensorInfo[]): void {
  tensors.sort((a, b) => a.offset - b.offset);
  for (const [i, tensor] of tensors.entries()) {
    const before = tensors[i - 1];
    if (before !== undefined && before.offset + before.bytes > tensor.offset) {
      throw lies(
        source,
        `tensor ${clipped(tensor.name)}`,
        'bytes of its own',
        `bytes of ${clipped(before.name)} too`,
      );
    }
  }
}

function alignmentOf(
  source: ByteSource,
  metadata: ReadonlyMap<string, MetaValue>,
  types: ReadonlyMap<string, ValueType>,
): number {
  const key = 'general.alignment';
  const alignment = metadata.get(key);
  if (alignment === undefined) return DEFAULT_ALIGNMENT;
  if (types.get(key) === 'u32' && isAlignment(alignment)) return alignment;
  const got = `${types.get(key)} ${clipped(String(alignment))}`;
  throw lies(source, key, `a power of two up to ${MOST_ALIGNMENT}, as u32`, got);
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

function whole(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function truth(source: ByteSource, key: string, byte: number): boolean {
  if (byte > 1) throw lies(source, `key ${clipped(key)}`, 'a truth value, 0 or 1', `${byte}`);
  return byte === 1;
}

function truncated(source: ByteSource, what: string, bytes: number): HadalError {
  return new HadalError('gguf-truncated', {
    what: `${source.name}, ${what}`,
    expected: `${bytes} bytes`,
    got: `a file that ends at byte ${source.size}`,
    next: 'it was cut short or damaged: fetch it again',
  });
}

function lies(source: ByteSource, what: string, expected: string, got: string): HadalError {
  return new HadalError('gguf-lies', {
    what: `${source.name}, ${what}`,
    expected,
    got,
    next: 'the file is damaged or was made to mislead: fetch it again from a source you trust',
  });
}
