/**
 * Owns: reading little-endian values one after the other from a source, a window at a time, and no more of it than a
 * header may hold.
 * Refuses to know: what the values are for.
 *
 * Callers write `if (!cursor.has(n)) await cursor.fill(n)` before reading n bytes, so that a vocabulary of a hundred
 * thousand strings does not wait a hundred thousand times.
 */
import { HadalError } from '../../error.ts';
import type { ByteSource } from '../tensor-info.ts';
import { MOST_HEADER_BYTES, MOST_LISTS, MOST_TEXTS } from './types.ts';

const WINDOW_BYTES = 1 << 20;
/** Below this, decoding by hand beats the decoder's call. */
const SHORT_BYTES = 24;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A place in a source. */
export class Cursor {
  readonly #source: ByteSource;
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Offset in the source of the window's first byte. */
  #start = 0;
  /** Offset in the window of the next byte. */
  #next = 0;
  /** UTF-16 units of the text that is being read. */
  readonly #units = new Uint16Array(SHORT_BYTES);
  #texts = 0;
  #lists = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Offset in the source of the next byte. */
  get offset(): number {
    return this.#start + this.#next;
  }

  /** Bytes of the source after this place. */
  get remaining(): number {
    return this.#source.size - this.offset;
  }

  /** Whether the next `bytes` bytes are in the window. */
  has(bytes: number): boolean {
    return this.#next + bytes <= this.#bytes.length;
  }

  /**
   * Brings the next `bytes` bytes into the window.
   *
   * @param what names what is being read, for the message.
   * @throws HadalError `gguf-truncated` where the file ends before that, `gguf-limits` behind the longest header.
   */
  async fill(bytes: number, what: string): Promise<void> {
    const { offset } = this;
    if (bytes > this.remaining) {
      throw new HadalError('gguf-truncated', {
        what: `${this.#source.name}, ${what}`,
        expected: `${bytes} bytes at byte ${offset}`,
        got: `a file that ends at byte ${this.#source.size}`,
        next: 'it was cut short or damaged: fetch it again',
      });
    }
    if (offset + bytes > MOST_HEADER_BYTES)
      throw this.beyond(what, MOST_HEADER_BYTES, 'bytes before the data');
    this.#bytes = await this.#source.read(offset, Math.min(this.remaining, Math.max(bytes, WINDOW_BYTES)));
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    this.#start = offset;
    this.#next = 0;
  }

  /** Counts texts of lists; throws `gguf-limits` for more than a header may hold. */
  countTexts(count: number, what: string): void {
    this.#texts += count;
    if (this.#texts > MOST_TEXTS) throw this.beyond(what, MOST_TEXTS, 'texts in all lists');
  }

  /** Counts lists inside lists; throws `gguf-limits` for more than a header may hold. */
  countLists(count: number, what: string): void {
    this.#lists += count;
    if (this.#lists > MOST_LISTS) throw this.beyond(what, MOST_LISTS, 'lists inside lists');
  }

  /** The error of a header that holds more than any model needs. */
  beyond(what: string, most: number, of: string): HadalError {
    return new HadalError('gguf-limits', {
      what: `${this.#source.name}, ${what}`,
      expected: `at most ${most} ${of}`,
      got: 'more',
      next: 'no model needs so much, so the file was made to mislead: fetch it from a source you trust',
    });
  }

  #take(bytes: number): number {
    const at = this.#next;
    this.#next += bytes;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  i8(): number {
    return this.#view.getInt8(this.#take(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  i16(): number {
    return this.#view.getInt16(this.#take(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  i32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }
  f32(): number {
    return this.#view.getFloat32(this.#take(4), true);
  }
  f64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }
  i64(): bigint {
    return this.#view.getBigInt64(this.#take(8), true);
  }

  /** A 64-bit count as a number; those beyond 2^53 become Infinity and fail any bound. */
  size(): number {
    const low = this.#view.getUint32(this.#next, true);
    const high = this.#view.getUint32(this.#next + 4, true);
    this.#next += 8;
    return high >= 0x200000 ? Number.POSITIVE_INFINITY : high * 0x100000000 + low;
  }

  /** A copy of the next bytes, in a buffer of its own (`slice` of Node's Buffer would give a view). */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return new Uint8Array(this.#bytes.subarray(at, at + length));
  }

  /** The next `length` bytes as text, or undefined where they are not UTF-8. */
  text(length: number): string | undefined {
    const bytes = this.#bytes;
    const at = this.#take(length);
    if (length <= SHORT_BYTES) {
      const units = this.#units;
      const end = at + length;
      let count = 0;
      let i = at;
      for (; i < end; i++) {
        const first = bytes[i]!;
        if (first < 0x80) units[count++] = first;
        else if (first >= 0xc2 && first < 0xe0 && i + 1 < end && (bytes[i + 1]! & 0xc0) === 0x80) {
          units[count++] = ((first & 0x1f) << 6) | (bytes[++i]! & 0x3f);
        } else break;
      }
      if (i === end) return textOf(units, count);
    }
    try {
      return decoder.decode(bytes.subarray(at, at + length));
    } catch {
      return undefined;
    }
  }
}

/** In as few calls and intermediate texts as there can be: the texts of a vocabulary are most of the work of opening. */
function textOf(u: Uint16Array, count: number): string {
  let text = '';
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const [a, b, c, d] = [u[i]!, u[i + 1]!, u[i + 2]!, u[i + 3]!];
    text += String.fromCharCode(a, b, c, d, u[i + 4]!, u[i + 5]!, u[i + 6]!, u[i + 7]!);
  }
  if (count & 4) text += String.fromCharCode(u[i++]!, u[i++]!, u[i++]!, u[i++]!);
  if (count & 2) text += String.fromCharCode(u[i++]!, u[i++]!);
  return count & 1 ? text + String.fromCharCode(u[i]!) : text;
}
