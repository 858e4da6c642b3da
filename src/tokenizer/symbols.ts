/**
 * Owns: what a piece of text is before merging: ids of bytes, or of characters with bytes as the fallback.
 * Refuses to know: merges, pieces, tokens that are cut out of text.
 */
import { HadalError } from '../error.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Buffers of this many bytes are kept between pieces; a megabyte of one word is not. */
const KEPT_BYTES = 4096;

/** Turns pieces into the ids that merging starts from. */
export interface Symbols {
  /**
   * Ids of the symbols of `text[from, to)`, in a buffer that the caller may write to and the next call overwrites.
   *
   * @throws HadalError `tokenizer-symbol` where the vocabulary can write neither a character nor U+FFFD in its place.
   */
  ids(text: string, from: number, to: number): Int32Array;
  /** The token that is the whole piece, or undefined. */
  whole(text: string, from: number, to: number): number | undefined;
}

/**
 * Symbols of a byte-level vocabulary: one a byte.
 *
 * A character with a byte that the vocabulary lacks is read as U+FFFD: SmolLM has none for a few control characters and
 * for planes without characters. Leaving the byte out, as others do, would join what it stood between.
 */
export class ByteSymbols implements Symbols {
  readonly #vocabulary: Vocabulary;
  readonly #byteIds: Int32Array; // [256]
  #bytes = new Uint8Array(KEPT_BYTES);
  readonly #ids = new Int32Array(KEPT_BYTES);

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    this.#byteIds = vocabulary.byteIds();
  }

  ids(text: string, from: number, to: number): Int32Array {
    const length = this.#utf8(text, from, to);
    const ids = length > KEPT_BYTES ? new Int32Array(length) : this.#ids;
    for (let i = 0; i < length; i++) {
      const id = this.#byteIds[this.#bytes[i] as number] as number;
      if (id < 0) {
        const piece = this.#writable(text.slice(from, to));
        return this.ids(piece, 0, piece.length);
      }
      ids[i] = id;
    }
    return ids.subarray(0, length);
  }

  whole(text: string, from: number, to: number): number | undefined {
    const { charOfByte } = this.#vocabulary.alphabet;
    const length = this.#utf8(text, from, to);
    let token = '';
    for (let i = 0; i < length; i++) token += charOfByte[this.#bytes[i] as number];
    return this.#vocabulary.idOf(token);
  }

  #lacks(char: string): boolean {
    const length = this.#utf8(char, 0, char.length);
    return this.#bytes.subarray(0, length).some((byte) => (this.#byteIds[byte] as number) < 0);
  }

  /** The piece with U+FFFD for characters that the vocabulary lacks bytes for. */
  #writable(piece: string): string {
    if (this.#lacks('\ufffd')) throw unwritable(Array.from(piece).find((char) => this.#lacks(char)) ?? '');
    return Array.from(piece, (char) => (this.#lacks(char) ? '\ufffd' : char)).join('');
  }

  /** Writes UTF-8 of a piece to the buffer and returns its length. */
  #utf8(text: string, from: number, to: number): number {
    const most = (to - from) * 3;
    if (most > this.#bytes.length) this.#bytes = new Uint8Array(most);
    else if (this.#bytes.length > KEPT_BYTES) this.#bytes = new Uint8Array(Math.max(most, KEPT_BYTES));
    const bytes = this.#bytes;
    let length = 0;
    for (let i = from; i < to; i++) {
      let code = text.charCodeAt(i);
      if (code < 0x80) {
        bytes[length++] = code;
        continue;
      }
      if ((code & 0xfc00) === 0xd800) code = text.codePointAt(i++) as number;
      if (code < 0x800) {
        bytes[length++] = 0xc0 | (code >> 6);
      } else {
        if (code < 0x10000) {
          bytes[length++] = 0xe0 | (code >> 12);
        } else {
          bytes[length++] = 0xf0 | (code >> 18);
          bytes[length++] = 0x80 | ((code >> 12) & 63);
        }
        bytes[length++] = 0x80 | ((code >> 6) & 63);
      }
      bytes[length++] = 0x80 | (code & 63);
    }
    return length;
  }
}

/** Symbols of a vocabulary of characters with byte fallback: one a character, else the `<0xHH>` of each of its bytes. */
export class CharacterSymbols implements Symbols {
  readonly #vocabulary: Vocabulary;
  readonly #utf8 = new TextEncoder();

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
  }

  ids(text: string, from: number, to: number): Int32Array {
    const ids = new Int32Array((to - from) * 3);
    let length = 0;
    for (let i = from; i < to; i++) {
      const char = String.fromCodePoint(text.codePointAt(i) as number);
      i += char.length - 1;
      const id = this.#vocabulary.idOf(char);
      if (id !== undefined) ids[length++] = id;
      else for (const byte of this.#utf8.encode(char)) ids[length++] = this.#byteId(byte, char);
    }
    return ids.subarray(0, length);
  }

  whole(text: string, from: number, to: number): number | undefined {
    return this.#vocabulary.idOf(text.slice(from, to));
  }

  #byteId(byte: number, char: string): number {
    const id = this.#vocabulary.byteFallback(byte);
    if (id === undefined) throw unwritable(char);
    return id;
  }
}

function unwritable(char: string): HadalError {
  const code = char.codePointAt(0) ?? 0;
  return new HadalError('tokenizer-symbol', {
    what: 'text to encode',
    expected: 'characters that the vocabulary can write',
    got: `U+${code.toString(16).toUpperCase().padStart(4, '0')}, for which it has no tokens`,
    next: 'use a model with a complete vocabulary',
  });
}
