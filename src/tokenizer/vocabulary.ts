/**
 * Owns: the tokens of a vocabulary: texts, kinds and bytes, checked once when built.
 * Refuses to know: where they were read from, merges, how text is cut.
 */
import { HadalError } from '../error.ts';
import { type ByteAlphabet, byteAlphabet, bytesOfAlphabetText } from './byte-alphabet.ts';
import { TextTable } from './text-table.ts';

/** Kinds of tokens, with the numbers of `tokenizer.ggml.token_type`. */
export const TokenKind = {
  NORMAL: 1,
  UNKNOWN: 2,
  CONTROL: 3,
  USER_DEFINED: 4,
  UNUSED: 5,
  BYTE: 6,
} as const;

/** How normal tokens write text: bytes in GPT-2's alphabet, or characters with U+2581 for a space. */
export type Writing = 'byte-alphabet' | 'metaspace';

/** What stands for a space in vocabularies of characters. */
export const METASPACE = '\u2581';

/** Most tokens that are accepted: eight times the largest vocabulary known today. */
export const MOST_TOKENS = 1 << 21;

/**
 * Whether a token is written like a control token. llama.cpp's converter takes such added tokens as control tokens, and
 * so do we, lest a user's text open a turn. Source: `does_token_look_special` of convert_hf_to_gguf.py.
 *
 * @example looksLikeControl('<｜User｜>') // true
 */
export function looksLikeControl(text: string): boolean {
  return /^<[|｜].*[|｜]>$/s.test(text);
}

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** An immutable list of tokens with lookups in both directions. */
export class Vocabulary {
  readonly alphabet: ByteAlphabet = byteAlphabet();
  readonly #texts: readonly string[];
  readonly #kinds: Uint8Array;
  readonly #writing: Writing;
  /** Ids by text. */
  readonly table: TextTable;

  /**
   * @param texts text of every id; a hole is `''`. [tokens]
   * @param kinds {@link TokenKind} of every id. [tokens]
   * @param writing how normal tokens write their bytes.
   * @throws HadalError `tokenizer-vocabulary` when it is empty, too large or holds a text twice.
   */
  constructor(texts: readonly string[], kinds: Uint8Array, writing: Writing = 'byte-alphabet') {
    if (texts.length === 0 || texts.length > MOST_TOKENS) {
      throw bad('the number of tokens', `1 to ${MOST_TOKENS}`, `${texts.length}`);
    }
    this.table = new TextTable(texts);
    if (this.table.crowded)
      throw bad('the vocabulary', 'tokens of no particular order', 'tokens chosen to collide');
    const { duplicate } = this.table;
    if (duplicate >= 0) {
      const text = texts[duplicate] as string;
      throw bad(
        'the vocabulary',
        'every token once',
        `${quote(text)} as tokens ${texts.indexOf(text)} and ${duplicate}`,
      );
    }
    this.#writing = writing;
    this.#texts = texts;
    this.#kinds = kinds.map((kind, id) =>
      kind === TokenKind.USER_DEFINED && looksLikeControl(texts[id] as string) ? TokenKind.CONTROL : kind,
    );
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
    const id = this.table.find(text);
    return id < 0 ? undefined : id;
  }

  /** Ids whose kind is in `kinds`, ascending. */
  idsOfKind(...kinds: readonly number[]): number[] {
    const ids: number[] = [];
    for (let id = 0; id < this.#kinds.length; id++)
      if (kinds.includes(this.#kinds[id] as number)) ids.push(id);
    return ids;
  }

  /**
   * Bytes of an id: of normal tokens as the vocabulary writes them, of byte tokens the byte, of others their text in UTF-8.
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
    if (kind !== TokenKind.NORMAL) return new TextEncoder().encode(text);
    if (this.#writing === 'metaspace') return new TextEncoder().encode(text.replaceAll(METASPACE, ' '));
    return bytesOfAlphabetText(text, this.alphabet) ?? new TextEncoder().encode(text);
  }

  /** Id of the `<0xHH>` of a byte, or undefined. Example: `vocabulary.byteFallback(10) === vocabulary.idOf('<0x0A>')`. */
  byteFallback(byte: number): number | undefined {
    return this.idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  }

  /** The token of each single byte: its character of the alphabet, else `<0xHH>`, else -1. [256] */
  byteIds(): Int32Array {
    const ofByte = (byte: number) =>
      this.idOf(this.alphabet.charOfByte[byte] as string) ?? this.byteFallback(byte) ?? -1;
    return Int32Array.from({ length: 256 }, (_, byte) => ofByte(byte));
  }
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 40));

function bad(what: string, expected: string, got: string): HadalError {
  return new HadalError('tokenizer-vocabulary', { what, expected, got, next: 'use an intact model file' });
}
