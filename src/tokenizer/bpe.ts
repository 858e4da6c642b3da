/**
 * Owns: the BPE tokenizer: cutting added tokens, splitting, merging, and the way back.
 * Refuses to know: file formats, prompts, what symbols merging starts from.
 */
import type { Merges } from './merges.ts';
import type { PreTokenizer } from './pre-tokenizers.ts';
import { Splitter } from './splitter.ts';
import type { Symbols } from './symbols.ts';
import { type AddedToken, TokenCutter } from './token-cutter.ts';
import { type EncodeOptions, finished, type Steps, type Tokenizer } from './tokenizer.ts';
import { TokenKind, type Vocabulary } from './vocabulary.ts';

/** Rewrites a stretch of text between added tokens; `first` says whether the whole text starts with it. */
export type Normalize = (text: string, first: boolean) => string;

/** What a BPE tokenizer is made of. */
export interface BpeParts {
  readonly vocabulary: Vocabulary;
  readonly merges: Merges;
  readonly symbols: Symbols;
  readonly preTokenizer: Pick<PreTokenizer, 'steps' | 'ignoreMerges'>;
  /** Tokens that are found in text as they stand. */
  readonly added: readonly AddedToken[];
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly endIds: ReadonlySet<number>;
  readonly addsBos: boolean;
  readonly addsEos: boolean;
  /** Applied to text between added tokens, where the family normalises (Qwen's tokenizer.json: NFC). */
  readonly normalize?: Normalize | undefined;
  /** Decoding leaves out a space at the very start (vocabularies that put one there when encoding). */
  readonly dropsLeadingSpace?: boolean;
}

/** Words of up to this many UTF-16 units are remembered; longer slices would keep their whole text alive. */
const MEMO_LENGTH = 12;
const MEMO_WORDS = 1 << 15;

/** A step ends after so many UTF-16 units, and a piece that has more of them is merged in steps of its own. */
const STEP_UNITS = 1 << 13;

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

/** Makes a {@link Tokenizer} of checked parts. Example: `bpeTokenizer(parts).encode('hi')`. */
export function bpeTokenizer(parts: BpeParts): Tokenizer {
  return new Bpe(parts);
}

class Bpe implements Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly endIds: ReadonlySet<number>;
  readonly addsBos: boolean;
  readonly dropsLeadingSpace: boolean;

  readonly #vocabulary: Vocabulary;
  readonly #merges: Merges;
  readonly #symbols: Symbols;
  readonly #splitter: Splitter;
  readonly #ignoreMerges: boolean;
  readonly #addsEos: boolean;
  readonly #normalize: Normalize | undefined;
  readonly #plainCuts: Cutters;
  readonly #specialCuts: Cutters;
  readonly #memo = new Map<string, Int32Array>();

  constructor(parts: BpeParts) {
    const { vocabulary } = parts;
    this.vocabSize = vocabulary.size;
    this.bosId = parts.bosId;
    this.eosId = parts.eosId;
    this.endIds = parts.endIds;
    this.addsBos = parts.addsBos;
    this.#addsEos = parts.addsEos;
    this.dropsLeadingSpace = parts.dropsLeadingSpace ?? false;
    this.#vocabulary = vocabulary;
    this.#merges = parts.merges;
    this.#symbols = parts.symbols;
    this.#splitter = new Splitter(parts.preTokenizer);
    this.#ignoreMerges = parts.preTokenizer.ignoreMerges;
    this.#normalize = parts.normalize;
    this.#plainCuts = cutters(
      parts.added.filter(({ control }) => !control),
      parts.normalize,
    );
    this.#specialCuts = cutters(parts.added, parts.normalize);
  }

  encode(text: string, options?: EncodeOptions): Int32Array {
    return finished(this.encodeInSteps(text, options));
  }

  *encodeInSteps(
    text: string,
    { special = false, bos = false, eos = false }: EncodeOptions = {},
  ): Steps<Int32Array> {
    const out = new IdList();
    if (bos && this.addsBos && this.bosId !== undefined) out.push(this.bosId);
    const whole = text.replace(LONE_SURROGATE, '\ufffd');
    const { raw, normalized } = special ? this.#specialCuts : this.#plainCuts;
    let at = 0;
    for (const { start, end, id } of raw.cuts(whole, 0, whole.length)) {
      yield* this.#encodeBetween(whole, at, start, normalized, out);
      out.push(id);
      at = end;
    }
    yield* this.#encodeBetween(whole, at, whole.length, normalized, out);
    if (eos && this.#addsEos && this.eosId !== undefined) out.push(this.eosId);
    return out.ids.slice(0, out.length);
  }

  decode(ids: ArrayLike<number>, { special = false }: { readonly special?: boolean } = {}): string {
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
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(all);
    return this.dropsLeadingSpace && text.startsWith(' ') ? text.slice(1) : text;
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

  /** Encodes what lies between tokens found in the raw text. */
  *#encodeBetween(
    whole: string,
    from: number,
    to: number,
    normalized: TokenCutter,
    out: IdList,
  ): Steps<void> {
    if (from >= to) return;
    let text = whole;
    let at = from;
    let end = to;
    if (this.#normalize !== undefined) {
      text = this.#normalize(whole.slice(from, to), from === 0);
      at = 0;
      end = text.length;
    }
    for (const cut of normalized.cuts(text, at, end)) {
      yield* this.#encodePlain(text, at, cut.start, out);
      out.push(cut.id);
      at = cut.end;
    }
    yield* this.#encodePlain(text, at, end, out);
  }

  /** Encodes text that holds no token to be cut out. */
  *#encodePlain(text: string, from: number, to: number, out: IdList): Steps<void> {
    let start = from;
    let rested = from;
    for (const stop of yield* this.#splitter.splitInSteps(text, from, to)) {
      if (stop - start > STEP_UNITS) yield* this.#mergeLongPiece(text, start, stop, out);
      else this.#encodePiece(text, start, stop, out);
      start = stop;
      if (stop - rested < STEP_UNITS) continue;
      rested = stop;
      yield;
    }
  }

  #encodePiece(text: string, from: number, to: number, out: IdList): void {
    if (to - from > MEMO_LENGTH) {
      this.#mergePiece(text, from, to, out);
      return;
    }
    const word = text.slice(from, to);
    const known = this.#memo.get(word);
    if (known !== undefined) {
      out.reserve(known.length).set(known, out.length);
      out.length += known.length;
      return;
    }
    const start = out.length;
    this.#mergePiece(text, from, to, out);
    if (this.#memo.size >= MEMO_WORDS) this.#memo.clear();
    this.#memo.set(word, out.ids.slice(start, out.length));
  }

  #mergePiece(text: string, from: number, to: number, out: IdList): void {
    if (this.#putWhole(text, from, to, out)) return;
    const ids = this.#symbols.ids(text, from, to);
    put(ids.subarray(0, this.#merges.apply(ids, ids.length)), out);
  }

  *#mergeLongPiece(text: string, from: number, to: number, out: IdList): Steps<void> {
    if (this.#putWhole(text, from, to, out)) return;
    const ids = this.#symbols.ids(text, from, to);
    put(ids.subarray(0, yield* this.#merges.applyInSteps(ids, ids.length)), out);
  }

  /** Where a family takes pieces that are tokens as they are; whether this one was. */
  #putWhole(text: string, from: number, to: number, out: IdList): boolean {
    const whole = this.#ignoreMerges ? this.#symbols.whole(text, from, to) : undefined;
    if (whole === undefined) return false;
    out.push(whole);
    return true;
  }
}

function put(ids: Int32Array, out: IdList): void {
  out.reserve(ids.length).set(ids, out.length);
  out.length += ids.length;
}

/** Finders of added tokens: in raw text, then in what is left once it is normalised. */
interface Cutters {
  readonly raw: TokenCutter;
  readonly normalized: TokenCutter;
}

function cutters(added: readonly AddedToken[], normalize: Normalize = (text) => text): Cutters {
  const late = added.filter(({ normalized }) => normalized);
  return {
    raw: new TokenCutter(added.filter(({ normalized }) => !normalized)),
    normalized: new TokenCutter(late.map((token) => ({ ...token, text: normalize(token.text, true) }))),
  };
}
