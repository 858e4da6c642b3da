/**
 * Owns: the tokens of a vocabulary: texts, kinds and bytes, checked once when built.
 * Refuses to know: where they were read from, merges, how text is cut.
 */
import { HadalError } from '../error.ts';
import { type ByteAlphabet, byteAlphabet, bytesOfAlphabetText } from './byte-alphabet.ts';

/** Kinds of tokens, with the numbers of `tokenizer.ggml.token_type`. */
export const TokenKind = {
  NORMAL: 1,
  UNKNOWN: 2,
  CONTROL: 3,
  USER_DEFINED: 4,
  UNUSED: 5,
  BYTE: 6,
} as const;

/** Most tokens that are accepted: eight times the largest vocabulary known today. */
export const MOST_TOKENS = 1 << 21;

/** Longest token text accepted, in UTF-16 units. */
export const MOST_TOKEN_LENGTH = 1 << 16;

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** An immutable list of tokens with lookups in both directions. */
export class Vocabulary {
  readonly alphabet: ByteAlphabet = byteAlphabet();
  readonly #texts: readonly string[];
  readonly #kinds: Uint8Array;
  readonly #ids = new Map<string, number>();

  /**
   * @param texts text of every id; a hole is `''` and must be of kind UNUSED. [tokens]
   * @param kinds {@link TokenKind} of every id. [tokens]
   * @throws HadalError `tokenizer-vocabulary` when it is empty, too large or holds a text twice.
   */
  constructor(texts: readonly string[], kinds: Uint8Array) {
    if (texts.length === 0 || texts.length > MOST_TOKENS) {
      throw bad('the number of tokens', `1 to ${MOST_TOKENS}`, `${texts.length}`);
    }
    for (let id = 0; id < texts.length; id++) {
      const text = texts[id] as string;
      if (text === '' && kinds[id] === TokenKind.UNUSED) continue;
      if (text.length > MOST_TOKEN_LENGTH) {
        throw bad(`token ${id}`, `at most ${MOST_TOKEN_LENGTH} characters`, `${text.length}`);
      }
      this.#ids.set(text, id);
    }
    this.#texts = texts;
    this.#kinds = kinds;
    this.#refuseDuplicates();
  }

  get size(): number {
    return this.#texts.length;
  }

  /** Text of an id. @throws HadalError `token-id` outside the vocabulary. */
  textOf(id: number): string {
    const text = this.#texts[id];
    if (text === undefined) {
      throw new HadalError('token-id', {
        what: 'token id',
        expected: `a whole number from 0 to ${this.#texts.length - 1}`,
        got: String(id),
        next: 'use the ids of this model only',
      });
    }
    return text;
  }

  /** {@link TokenKind} of an id. @throws HadalError `token-id` outside the vocabulary. */
  kindOf(id: number): number {
    const kind = this.#kinds[id];
    if (kind === undefined) this.textOf(id); // throws
    return kind as number;
  }

  idOf(text: string): number | undefined {
    return this.#ids.get(text);
  }

  /** Ids whose kind is in `kinds`, ascending. */
  idsOfKind(...kinds: readonly number[]): number[] {
    const ids: number[] = [];
    for (let id = 0; id < this.#kinds.length; id++)
      if (kinds.includes(this.#kinds[id] as number)) ids.push(id);
    return ids;
  }

  /**
   * Bytes of an id: of normal tokens through the byte alphabet, of byte tokens the byte, of others their text in UTF-8.
   *
   * @throws HadalError `token-id` outside the vocabulary.
   */
  bytesOf(id: number): Uint8Array {
    const text = this.textOf(id);
    const kind = this.#kinds[id] as number;
    if (kind === TokenKind.BYTE) {
      const hex = BYTE_TOKEN.exec(text)?.[1];
      if (hex !== undefined) return Uint8Array.of(Number.parseInt(hex, 16));
    }
    const bytes = kind === TokenKind.NORMAL ? bytesOfAlphabetText(text, this.alphabet) : undefined;
    return bytes ?? new TextEncoder().encode(text);
  }

  /** The token of each single byte: its character of the alphabet, else `<0xHH>`, else -1. [256] */
  byteIds(): Int32Array {
    return Int32Array.from({ length: 256 }, (_, byte) => {
      const hex = byte.toString(16).toUpperCase().padStart(2, '0');
      return this.#ids.get(this.alphabet.charOfByte[byte] as string) ?? this.#ids.get(`<0x${hex}>`) ?? -1;
    });
  }

  #refuseDuplicates(): void {
    let holes = 0;
    for (const text of this.#texts) if (text === '') holes++;
    if (this.#ids.has('')) holes = 0;
    if (this.#ids.size + holes === this.#texts.length) return;
    const id = this.#texts.findIndex((text, at) => text !== '' && this.#ids.get(text) !== at);
    throw bad(
      'the vocabulary',
      'every token once',
      `${JSON.stringify(this.#texts[id]?.slice(0, 40))} as tokens ${id} and ${this.#ids.get(this.#texts[id] ?? '')}`,
    );
  }
}

function bad(what: string, expected: string, got: string): HadalError {
  return new HadalError('tokenizer-vocabulary', { what, expected, got, next: 'use an intact model file' });
}
