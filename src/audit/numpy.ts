/**
 * Owns: judging a NumPy array file (.npy) by its header: plain numbers, or objects, which are pickles.
 * Refuses to know: what the numbers are for.
 *
 * Source: numpy/lib/format.py, versions 1.0 to 3.0.
 */
import { HadalError } from '../error.ts';
import { quoted } from './finding.ts';

const MAGIC_BYTES = 6;
/** numpy itself refuses longer ones. */
const MOST_HEADER_BYTES = 10_000;
const HEADER =
  /^\{'descr': '([<>|=])([biufc])(\d+)', 'fortran_order': (True|False), 'shape': \(((?:\d+, ?)*\d*),?\), ?\} *\n$/;

/** Longest part of an array file that {@link judgeNumpy} has to see. */
export const NUMPY_HEAD_BYTES = MAGIC_BYTES + 6 + MOST_HEADER_BYTES;

/**
 * Checks that an array file holds plain numbers, as many bytes as its header says.
 *
 * @param head its first {@link NUMPY_HEAD_BYTES} bytes, or all of them
 * @param bytes of the whole file
 * @throws HadalError `numpy-objects` where it holds Python objects or records, `numpy-broken` where it contradicts itself.
 * @example judgeNumpy(head, source.size, 'scales.npy')
 */
export function judgeNumpy(head: Uint8Array, bytes: number, name: string): void {
  const wrong = (code: string, expected: string, got: string) =>
    new HadalError(code, { what: name, expected, got, next: 'do not load it; ask for plain numbers' });
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const version = head.length > 8 ? view.getUint8(6) : 0;
  if (version < 1 || version > 3)
    throw wrong('numpy-broken', 'an array of NumPy, version 1 to 3', `${version}`);
  const start = version === 1 ? 10 : 12;
  if (head.length < start) throw wrong('numpy-broken', 'a whole header', 'a cut one');
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > MOST_HEADER_BYTES || start + length > head.length) {
    throw wrong('numpy-broken', 'a whole header', `one of ${length} bytes`);
  }
  const header = new TextDecoder('latin1').decode(head.subarray(start, start + length));
  const found = HEADER.exec(header);
  if (found === null) {
    throw /'\|?O|\bobject\b|\[/.test(header)
      ? wrong('numpy-objects', 'plain numbers', 'Python objects or records, which are pickles')
      : wrong('numpy-broken', 'a header as numpy.save writes it', quoted(header));
  }
  const shape = (found[5] ?? '').split(',').filter((part) => part.trim() !== '');
  const wanted = shape.reduce((product, part) => product * Number(part), Number(found[3]));
  if (start + length + wanted !== bytes) {
    throw wrong('numpy-broken', `${start + length + wanted} bytes`, `${bytes}`);
  }
}
