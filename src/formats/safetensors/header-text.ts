/**
 * Owns: reading the JSON of a safetensors header piece by piece from a source, a window at a time, in its strict grammar.
 * Refuses to know: what the pieces are for.
 *
 * JSON.parse would keep the last of two equal keys and hold the whole header, which a file may claim to be 100 MB long.
 * So a piece is parsed from the window; where the window ends inside it, the window grows and the piece is parsed anew.
 */
import { HadalError } from '../../error.ts';
import type { ByteSource } from '../tensor-info.ts';

const WINDOW_BYTES = 1 << 18;
/** Longest piece (an entry of the table, all metadata together). */
const MOST_PIECE_BYTES = 1 << 24;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const NINE = 0x39;

/** Thrown where a piece goes on behind the window; never leaves {@link HeaderText.piece}. */
const BEHIND_WINDOW = Symbol('the window ends inside the piece');

/** A place in the JSON of a header. */
export class HeaderText {
  readonly #source: ByteSource;
  /** Offset in the source behind the last byte of the JSON. */
  readonly #end: number;
  #bytes: Uint8Array = new Uint8Array(0);
  /** Offset in the source of the window's first byte. */
  #start: number;
  /** Offset in the window of the next byte. */
  #next = 0;

  /** The text at [start, end) of the source, which must lie inside it. */
  constructor(source: ByteSource, start: number, end: number) {
    this.#source = source;
    this.#start = start;
    this.#end = end;
  }

  /**
   * Parses one piece with the functions below.
   *
   * @throws HadalError `safetensors-header` where the text is not what `parse` asks for, or the piece is too long.
   */
  async piece<T>(parse: (text: HeaderText) => T): Promise<T> {
    for (let bytes = WINDOW_BYTES; ; bytes = Math.min(bytes * 4, MOST_PIECE_BYTES)) {
      const at = this.#next;
      try {
        return parse(this);
      } catch (error) {
        if (error !== BEHIND_WINDOW) throw error;
        this.#next = at;
      }
      const seen = this.#bytes.length - at;
      if (seen >= MOST_PIECE_BYTES) {
        throw this.wrong(`entries of at most ${MOST_PIECE_BYTES} bytes`, 'a longer one');
      }
      if (seen < bytes) await this.#slide(bytes);
    }
  }

  /** Passes over spaces and line breaks, however many, and shows the next byte; -1 at the end. */
  async peekPastSpace(): Promise<number> {
    for (;;) {
      while (this.#next < this.#bytes.length && isSpace(this.#bytes[this.#next]!)) this.#next++;
      if (this.#next < this.#bytes.length) return this.#bytes[this.#next]!;
      if (this.#start + this.#next >= this.#end) return -1;
      await this.#slide(WINDOW_BYTES);
    }
  }

  /** Passes over spaces and this character, which must be there. */
  expect(character: string): void {
    if (!this.accept(character)) throw this.wrong(JSON.stringify(character), this.#found());
  }

  /** Passes over spaces, and over this character if it is next; whether it was. */
  accept(character: string): boolean {
    this.#skipSpace();
    if (this.#byte() !== character.charCodeAt(0)) return false;
    this.#next++;
    return true;
  }

  /** A string. */
  string(): string {
    this.expect('"');
    const start = this.#next;
    let escaped = false;
    for (let byte = this.#byte(); byte !== QUOTE; byte = this.#byte()) {
      if (byte < 0x20) throw this.wrong('a string in JSON', `the control character ${byte} in one`);
      if (byte === BACKSLASH) {
        escaped = true;
        this.#next++;
        this.#byte();
      }
      this.#next++;
    }
    const inside = this.#bytes.subarray(start, this.#next++);
    try {
      const text = decoder.decode(inside);
      const value: unknown = escaped ? JSON.parse(`"${text}"`) : text;
      if (typeof value === 'string' && value.isWellFormed()) return value;
    } catch {
      // Falls through to the one error below.
    }
    throw this.wrong('a string in UTF-8 and in the grammar of JSON', 'other bytes in one');
  }

  /** A whole number from 0 up that is exact in a double. */
  whole(): number {
    this.#skipSpace();
    const first = this.#byte();
    if (first < ZERO || first > NINE) throw this.wrong('a whole number', this.#found());
    let value = 0;
    let digits = 0;
    for (let byte = first; byte >= ZERO && byte <= NINE; byte = this.#byte()) {
      value = value * 10 + (byte - ZERO);
      digits++;
      this.#next++;
      if (value > Number.MAX_SAFE_INTEGER) throw this.wrong('a number up to 2^53', 'a larger one');
    }
    if (digits > 1 && first === ZERO) throw this.wrong('a whole number', 'one that begins with 0');
    return value;
  }

  /** A list of at most `most` whole numbers. */
  wholes(most: number): number[] {
    const values: number[] = [];
    this.expect('[');
    if (this.accept(']')) return values;
    do {
      if (values.length === most) throw this.wrong(`lists of at most ${most} numbers`, 'a longer one');
      values.push(this.whole());
    } while (this.accept(','));
    this.expect(']');
    return values;
  }

  /** The complaint of this place. */
  wrong(expected: string, got: string): HadalError {
    return new HadalError('safetensors-header', {
      what: `${this.#source.name}, its header at byte ${this.#start + this.#next}`,
      expected,
      got,
      next: 'the file is damaged or is no safetensors file: fetch it again from a source you trust',
    });
  }

  #skipSpace(): void {
    while (isSpace(this.#byte())) this.#next++;
  }

  /** The next byte of the window. */
  #byte(): number {
    const byte = this.#bytes[this.#next];
    if (byte !== undefined) return byte;
    if (this.#start + this.#bytes.length < this.#end) throw BEHIND_WINDOW;
    throw this.wrong('more text', 'the end of the header');
  }

  #found(): string {
    return JSON.stringify(String.fromCharCode(this.#byte()));
  }

  /** A window of up to `bytes` bytes from the next one on. */
  async #slide(bytes: number): Promise<void> {
    const start = this.#start + this.#next;
    this.#bytes = await this.#source.read(start, Math.min(bytes, this.#end - start));
    this.#start = start;
    this.#next = 0;
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
