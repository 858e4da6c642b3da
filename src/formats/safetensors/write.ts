/**
 * Owns: laying out a safetensors file: length, header, data.
 * Refuses to know: files on disk, which tensors a model needs, how numbers are encoded.
 */
import { HadalError } from '../../error.ts';
import { clipped } from '../clipped.ts';
import { aligned, type FileLayout, filled, type TensorPlan } from '../layout.ts';
import {
  LENGTH_BYTES,
  METADATA,
  MOST_DIMENSIONS,
  MOST_HEADER_BYTES,
  MOST_TENSORS,
  storable,
  storableNames,
} from './types.ts';

/** What goes into a file. */
export interface SafetensorsPlan<T extends TensorPlan = TensorPlan> {
  /** Texts about the file; libraries of Python expect `format: 'pt'`. */
  readonly metadata?: Iterable<readonly [key: string, text: string]>;
  readonly tensors: readonly T[];
}

/** The data begins at a multiple of this, so that numbers of 8 bytes lie where mapped memory wants them. */
const ALIGNMENT = 8;

/**
 * Lays out a file for writing piece by piece. Tensors of large numbers come first, so that every number is aligned, and
 * those of one size by name; `places` keeps the order of the plan.
 *
 * @throws HadalError `safetensors-unwritable` for names, shapes, types or texts that the format cannot hold.
 * @example const { header, places } = layOutSafetensors({ tensors });
 */
export function layOutSafetensors({ metadata = [], tensors }: SafetensorsPlan): FileLayout {
  const header = new Map<string, unknown>();
  const texts = new Map(metadata);
  for (const text of [...texts].flat()) demandText(text);
  if (texts.size > 0) header.set(METADATA, Object.fromEntries(texts));
  if (tensors.length > MOST_TENSORS) {
    throw unwritable('the file', `at most ${MOST_TENSORS} tensors`, `${tensors.length}`);
  }
  const sized = tensors.map((tensor) => ({ tensor, place: { offset: 0, ...sizeOf(tensor) } }));
  let end = 0;
  for (const { tensor, place } of sized.toSorted(largeNumbersFirst)) {
    const { name, dtype, shape } = tensor;
    if (header.has(name))
      throw unwritable(`tensor ${clipped(name)}`, 'a name of its own', 'one that is taken');
    place.offset = end;
    end += place.bytes;
    header.set(name, { dtype, shape: shape.toReversed(), data_offsets: [place.offset, end] });
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const dataStart = aligned(LENGTH_BYTES + json.length, ALIGNMENT);
  if (dataStart - LENGTH_BYTES > MOST_HEADER_BYTES) {
    throw unwritable('the header', `at most ${MOST_HEADER_BYTES} bytes`, `${json.length}`);
  }
  const bytes = new Uint8Array(dataStart).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(dataStart - LENGTH_BYTES), true);
  bytes.set(json, LENGTH_BYTES);
  return {
    header: bytes,
    places: sized.map(({ place }) => ({ offset: dataStart + place.offset, bytes: place.bytes })),
    totalBytes: dataStart + end,
  };
}

/**
 * A whole file in memory: for small models and tests.
 *
 * @throws HadalError `safetensors-unwritable`, `tensor-bytes`
 * @example const bytes = writeSafetensors({ tensors: [{ name: 'a', dtype: 'F32', shape: [4], data }] });
 */
export function writeSafetensors(
  plan: SafetensorsPlan<TensorPlan & { readonly data: Uint8Array }>,
): Uint8Array {
  return filled(layOutSafetensors(plan), plan.tensors);
}

interface Sized {
  readonly tensor: TensorPlan;
  readonly place: { offset: number; readonly bytes: number; readonly numberBytes: number };
}

function largeNumbersFirst(a: Sized, b: Sized): number {
  return b.place.numberBytes - a.place.numberBytes || (a.tensor.name < b.tensor.name ? -1 : 1);
}

function sizeOf({ name, dtype, shape }: TensorPlan): { bytes: number; numberBytes: number } {
  const what = `tensor ${clipped(name)}`;
  demandText(name);
  if (name === '' || name === METADATA) throw unwritable(what, 'a name of its own', 'none');
  const format = storable(dtype);
  if (format === undefined) throw unwritable(what, `one of ${storableNames()}`, dtype);
  const bytes = shape.reduce((product, length) => product * length, format.blockBytes);
  const whole = shape.every((length) => Number.isInteger(length) && length >= 0);
  if (!whole || shape.length > MOST_DIMENSIONS || !Number.isSafeInteger(bytes)) {
    throw unwritable(what, `up to ${MOST_DIMENSIONS} dimensions of a possible size`, `[${shape.join(', ')}]`);
  }
  return { bytes, numberBytes: format.blockBytes };
}

function demandText(text: string): void {
  if (!text.isWellFormed()) throw unwritable(clipped(text), 'text without lone surrogates', 'one');
}

function unwritable(what: string, expected: string, got: string): HadalError {
  return new HadalError('safetensors-unwritable', {
    what,
    expected,
    got,
    next: 'this is not a valid safetensors entry',
  });
}
