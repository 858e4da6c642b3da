/**
 * Owns: the byte-level BPE tokenizer: cutting special tokens, splitting, merging, and the way back.
 * Refuses to know: file formats, prompts.
 */
import { HadalError } from '../error.ts';
import type { Merges } from './merges.ts';
import type { PreTokenizer } from './pre-tokenizers.ts';
import { Splitter } from './splitter.ts';
import { TokenCutter } from './token-cutter.ts';
import type { EncodeOptions, Tokenizer } from './tokenizer.ts';
import { TokenKind, type Vocabulary } from './vocabulary.ts';

/** What a byte-level BPE tokenizer is made of. */
export interface ByteLevelParts {
  readonly vocabulary: Vocabulary;
  readonly merges: Merges;
  readonly preTokenizer: PreTokenizer;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly endIds: ReadonlySet<number>;
  readonly addsBos: boolean;
  /** Applied to text between special tokens, where the family normalises (Qwen's tokenizer.json: NFC). */
  readonly normalize?: (text: string) => string;
}

/** Words of up to this many UTF-16 units are remembered; longer slices would keep their whole text alive. */
const MEMO_LENGTH = 12;
const MEMO_WORDS = 1 << 15;

/** What UTF-8 cannot write; encoders put U+FFFD in its place. */
const LONE_SURROGATE = /\p{Surrogate}/gu;

/** A growing list of ids. */
class IdList {
  ids = new Int32Array(256);
  length = 0;

  /** Makes room for `count` more and returns the array. */
  reserve(count: number): Int32Array {
    if (this.length + count > this.ids.length) {
      const larger = new Int32Array(Math.max(this.ids.length * 2, this.length + count));
      larger.set(this.ids.subarray(0, this.length));
      this.ids = larger;
    }
    return this.ids;
  }

  push(id: number): void {
    this.reserve(1)[this.length++] = id;
  }
}

/** Makes a {@link Tokenizer} of checked parts. Example: `byteLevelTokenizer(parts).encode('hi')`. */
export function byteLevelTokenizer(parts: ByteLevelParts): Tokenizer {
  return new ByteLevelBpe(parts);
}

class ByteLevelBpe implements Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly endIds: ReadonlySet<number>;
  readonly addsBos: boolean;

  readonly #vocabulary: Vocabulary;
  readonly #merges: Merges;
  readonly #splitter: Splitter;
  readonly #ignoreMerges: boolean;
  readonly #normalize: ((text: string) => string) | undefined;
  readonly #byteIds: Int32Array; // [256]
  readonly #always: TokenCutter; // user-defined tokens
  readonly #special: TokenCutter; // those and control tokens
  readonly #memo = new Map<string, Int32Array>();
  #scratch = new Uint8Array(256);

  constructor(parts: ByteLevelParts) {
    const { vocabulary } = parts;
    this.vocabSize = vocabulary.size;
    this.bosId = parts.bosId;
    this.eosId = parts.eosId;
    this.endIds = parts.endIds;
    this.addsBos = parts.addsBos;
    this.#vocabulary = vocabulary;
    this.#merges = parts.merges;
    this.#splitter = new Splitter(parts.preTokenizer);
    this.#ignoreMerges = parts.preTokenizer.ignoreMerges;
    this.#normalize = parts.normalize;
    this.#byteIds = vocabulary.byteIds();
    const { USER_DEFINED, CONTROL, UNKNOWN } = TokenKind;
    const texts = (ids: readonly number[]) => ids.map((id) => [vocabulary.textOf(id), id] as const);
    this.#always = new TokenCutter(texts(vocabulary.idsOfKind(USER_DEFINED)));
    this.#special = new TokenCutter(texts(vocabulary.idsOfKind(USER_DEFINED, CONTROL, UNKNOWN)));
  }

  encode(text: string, { special = false, bos = false }: EncodeOptions = {}): Int32Array {
    const out = new IdList();
    if (bos && this.addsBos && this.bosId !== undefined) out.push(this.bosId);
    const whole = text.replace(LONE_SURROGATE, '\ufffd');
    const cutter = special ? this.#special : this.#always;
    let at = 0;
    for (let cut = cutter.find(whole, 0, whole.length); cut; cut = cutter.find(whole, at, whole.length)) {
      this.#encodePlain(whole, at, cut.start, out);
      out.push(cut.id);
      at = cut.end;
    }
    this.#encodePlain(whole, at, whole.length, out);
    return out.ids.slice(0, out.length);
  }

  decode(ids: ArrayLike<number>, { special = false }: { readonly special?: boolean } = {}): string {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      if (!special && this.isSpecial(id)) continue;
      const bytes = this.#vocabulary.bytesOf(id);
      parts.push(bytes);
      length += bytes.length;
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const bytes of parts) {
      all.set(bytes, at);
      at += bytes.length;
    }
    return decoder.decode(all);
  }

  bytesOf(id: number): Uint8Array {
    return this.#vocabulary.bytesOf(id);
  }

  tokenText(id: number): string {
    return this.#vocabulary.textOf(id);
  }

  idOf(tokenText: string): number | undefined {
    return this.#vocabulary.idOf(tokenText);
  }

  isSpecial(id: number): boolean {
    const kind = this.#vocabulary.kindOf(id);
    return kind === TokenKind.CONTROL || kind === TokenKind.UNKNOWN || kind === TokenKind.UNUSED;
  }

  /** Encodes text that holds no token to be cut out. */
  #encodePlain(whole: string, from: number, to: number, out: IdList): void {
    if (from >= to) return;
    let text = whole;
    let start = from;
    let end = to;
    if (this.#normalize !== undefined) {
      text = this.#normalize(whole.slice(from, to));
      start = 0;
      end = text.length;
    }
    for (const stop of this.#splitter.split(text, start, end)) {
      this.#encodePiece(text, start, stop, out);
      start = stop;
    }
  }

  #encodePiece(text: string, from: number, to: number, out: IdList): void {
    const word = to - from <= MEMO_LENGTH ? text.slice(from, to) : undefined;
    const known = word === undefined ? undefined : this.#memo.get(word);
    if (known !== undefined) {
      out.reserve(known.length).set(known, out.length);
      out.length += known.length;
      return;
    }
    const start = out.length;
    this.#mergePiece(text, from, to, out);
    if (word === undefined) return;
    if (this.#memo.size >= MEMO_WORDS) this.#memo.clear();
    this.#memo.set(word, out.ids.slice(start, out.length));
  }

  #mergePiece(text: string, from: number, to: number, out: IdList): void {
    const bytes = this.#bytesOfPiece(text, from, to);
    if (this.#ignoreMerges) {
      const { charOfByte } = this.#vocabulary.alphabet;
      let token = '';
      for (const byte of bytes) token += charOfByte[byte];
      const id = this.#vocabulary.idOf(token);
      if (id !== undefined) {
        out.push(id);
        return;
      }
    }
    const ids = out.reserve(bytes.length).subarray(out.length, out.length + bytes.length);
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      const id = this.#byteIds[byte] as number;
      if (id < 0) {
        const piece = this.#writable(text.slice(from, to), byte);
        return this.#mergePiece(piece, 0, piece.length, out);
      }
      ids[i] = id;
    }
    out.length += this.#merges.apply(ids, bytes.length);
  }

  /**
   * The piece with U+FFFD for characters that the vocabulary lacks bytes for: SmolLM has none for a few control
   * characters and for planes without characters. Leaving the byte out, as others do, would join what it stood between.
   */
  #writable(piece: string, missing: number): string {
    const lacks = (char: string) =>
      this.#bytesOfPiece(char, 0, char.length).some((byte) => (this.#byteIds[byte] as number) < 0);
    if (lacks('\ufffd')) throw this.#unknownByte(missing);
    return Array.from(piece, (char) => (lacks(char) ? '\ufffd' : char)).join('');
  }

  /** UTF-8 of a piece, in a buffer that the next call overwrites. */
  #bytesOfPiece(text: string, from: number, to: number): Uint8Array {
    const most = (to - from) * 3;
    if (most > this.#scratch.length) this.#scratch = new Uint8Array(most * 2);
    const bytes = this.#scratch;
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
    return bytes.subarray(0, length);
  }

  #unknownByte(byte: number): HadalError {
    return new HadalError('tokenizer-byte', {
      what: 'text to encode',
      expected: 'bytes that the vocabulary can write',
      got: `byte 0x${byte.toString(16).padStart(2, '0')}, for which it has no token`,
      next: 'use a model with a complete byte-level vocabulary',
    });
  }
}
