/**
 * Owns: laying out GGUF version 3: header, tensor table, padding, data.
 * Refuses to know: files on disk, which keys a model needs, how numbers are encoded.
 */
import { dtype, rowBytes } from '../../dtypes/table.ts';
import { HadalError } from '../../error.ts';
import { aligned, type FileLayout, filled, type TensorPlan } from '../layout.ts';
import type { MetaValue } from '../tensor-info.ts';
import {
  DEFAULT_ALIGNMENT,
  isAlignment,
  MAGIC,
  MOST_ALIGNMENT,
  MOST_DIMENSIONS,
  MOST_KEY_BYTES,
  MOST_NAME_BYTES,
  VALUE_TYPES,
  type ValueType,
} from './types.ts';

/** A metadata value whose type in the file is given; untyped numbers become u32, i32, u64 or i64 when whole, else f32. */
export interface TypedValue {
  readonly type: ValueType;
  readonly value: MetaValue;
}

/** What goes into a file. */
export interface GgufPlan<T extends TensorPlan = TensorPlan> {
  readonly metadata: Iterable<readonly [key: string, value: MetaValue | TypedValue]>;
  readonly tensors: readonly T[];
}

/**
 * Marks a metadata value with its type.
 *
 * @example metadata.set('llama.rope.freq_base', typed('f32', 10000));
 */
export function typed(type: ValueType, value: MetaValue): TypedValue {
  return { type, value };
}

/**
 * Lays out a file for writing piece by piece.
 *
 * @throws HadalError `gguf-unwritable` for names, shapes or values that the format cannot hold.
 * @example const { header, places } = layOutGguf({ metadata, tensors });
 */
export function layOutGguf({ metadata, tensors }: GgufPlan): FileLayout {
  const out = new Sink();
  const pairs = [...metadata];
  const given = pairs.find(([key]) => key === 'general.alignment')?.[1];
  const alignment = given === undefined ? DEFAULT_ALIGNMENT : isTyped(given) ? given.value : given;
  if (!isAlignment(alignment)) {
    throw unwritable('general.alignment', `a power of two up to ${MOST_ALIGNMENT}`, String(alignment));
  }
  out.u32(MAGIC);
  out.u32(3);
  out.u64(tensors.length);
  out.u64(pairs.length);
  for (const [key, value] of pairs) {
    out.text(key, `key "${key}"`, MOST_KEY_BYTES);
    const { type, value: plain } = isTyped(value) ? value : { type: typeOf(key, value), value };
    out.u32(VALUE_TYPES.indexOf(type));
    out.value(key, type, plain);
  }
  let next = 0;
  const places = tensors.map(({ name, dtype: format, shape }) => {
    if (shape.length < 1 || shape.length > MOST_DIMENSIONS || shape.some((n) => !(n >= 1))) {
      throw unwritable(`tensor "${name}"`, `1 to ${MOST_DIMENSIONS} dimensions`, `[${shape.join(', ')}]`);
    }
    const bytes = rowBytes(format, shape[0]!) * shape.slice(1).reduce((a, b) => a * b, 1);
    out.text(name, `tensor "${name}"`, MOST_NAME_BYTES);
    out.u32(shape.length);
    for (const length of shape) out.u64(length);
    out.u32(dtype(format).ggmlId);
    out.u64(next);
    const offset = next;
    next = aligned(next + bytes, alignment);
    return { offset, bytes };
  });
  const header = out.bytes();
  const dataStart = aligned(header.length, alignment);
  return {
    header,
    places: places.map(({ offset, bytes }) => ({ offset: dataStart + offset, bytes })),
    totalBytes: dataStart + next,
  };
}

/**
 * A whole file in memory: for small models and tests.
 *
 * @throws HadalError `gguf-unwritable`, `tensor-bytes`
 * @example const bytes = writeGguf({ metadata: [['general.architecture', 'llama']], tensors: [{ name, dtype: 'F32', shape: [4], data }] });
 */
export function writeGguf(plan: GgufPlan<TensorPlan & { readonly data: Uint8Array }>): Uint8Array {
  return filled(layOutGguf(plan), plan.tensors);
}

function isTyped(value: MetaValue | TypedValue): value is TypedValue {
  return typeof value === 'object' && 'type' in value && 'value' in value;
}

const TYPED_ARRAYS: readonly (readonly [new (n: number) => object, ValueType])[] = [
  [Uint8Array, 'u8'],
  [Int8Array, 'i8'],
  [Uint16Array, 'u16'],
  [Int16Array, 'i16'],
  [Uint32Array, 'u32'],
  [Int32Array, 'i32'],
  [Float32Array, 'f32'],
  [Float64Array, 'f64'],
  [BigUint64Array, 'u64'],
  [BigInt64Array, 'i64'],
];

function typeOf(key: string, value: MetaValue): ValueType {
  switch (typeof value) {
    case 'string':
      return 'string';
    case 'boolean':
      return 'bool';
    case 'bigint':
      return value < 0n ? 'i64' : 'u64';
    case 'number':
      if (!Number.isInteger(value)) return 'f32';
      if (value < 0) return value >= -0x80000000 ? 'i32' : 'i64';
      return value <= 0xffffffff ? 'u32' : 'u64';
    default:
      if (Array.isArray(value) || TYPED_ARRAYS.some(([kind]) => value instanceof kind)) return 'array';
      throw unwritable(`key "${key}"`, 'a value that GGUF can hold', typeof value);
  }
}

/** Bytes that grow. */
class Sink {
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  #room(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#room(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  text(text: string, what: string, mostBytes = Number.POSITIVE_INFINITY): void {
    if (!text.isWellFormed()) throw unwritable(what, 'text without lone surrogates', JSON.stringify(text));
    const bytes = new TextEncoder().encode(text);
    if (bytes.length > mostBytes) throw unwritable(what, `at most ${mostBytes} bytes`, `${bytes.length}`);
    this.u64(bytes.length);
    this.raw(bytes);
  }

  value(key: string, type: ValueType, value: MetaValue): void {
    const what = `key "${key}"`;
    if (type === 'string') this.text(String(value), what);
    else if (type === 'array') this.#array(key, value as ArrayLike<MetaValue> & object);
    else this.#scalar(type, value as number | bigint | boolean);
  }

  #array(key: string, values: ArrayLike<MetaValue> & object): void {
    const first = values[0];
    const type =
      TYPED_ARRAYS.find(([kind]) => values instanceof kind)?.[1] ??
      (first === undefined ? 'u32' : typeOf(key, first));
    this.u32(VALUE_TYPES.indexOf(type));
    this.u64(values.length);
    for (let i = 0; i < values.length; i++) this.value(key, type, values[i]!);
  }

  #scalar(type: ValueType, value: number | bigint | boolean): void {
    const number = Number(value);
    switch (type) {
      case 'u8':
      case 'i8':
      case 'bool': {
        const at = this.#room(1);
        this.#view.setUint8(at, number);
        return;
      }
      case 'u16':
      case 'i16': {
        const at = this.#room(2);
        this.#view.setUint16(at, number, true);
        return;
      }
      case 'f32': {
        const at = this.#room(4);
        this.#view.setFloat32(at, number, true);
        return;
      }
      case 'f64': {
        const at = this.#room(8);
        this.#view.setFloat64(at, number, true);
        return;
      }
      case 'u64':
      case 'i64': {
        const at = this.#room(8);
        this.#view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
        return;
      }
      default: {
        const at = this.#room(4);
        this.#view.setUint32(at, number, true);
      }
    }
  }

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}

function unwritable(what: string, expected: string, got: string): HadalError {
  return new HadalError('gguf-unwritable', { what, expected, got, next: 'this is not a valid GGUF entry' });
}
