/**
 * Owns: the contract of a tokenizer: text to ids and back.
 * Refuses to know: prompts, messages, models, files.
 */

/** Options of {@link Tokenizer.encode}. */
export interface EncodeOptions {
  /** Recognise special tokens written in the text (a rendered prompt); off for text of a user. */
  readonly special?: boolean;
  /** Put the beginning-of-sequence token first where the model wants one (`add_bos_token`). */
  readonly bos?: boolean;
  /** Put the end-of-sequence token last where the model wants one (`add_eos_token`); of texts that nothing follows. */
  readonly eos?: boolean;
}

/** Work that can be left lying between two steps; the last one has the result. */
export type Steps<T> = Generator<void, T, void>;

/**
 * The result of all steps at once.
 *
 * @example finished(tokenizer.encodeInSteps('hello'));
 */
export function finished<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** A vocabulary with its rules. Ids are row numbers of the embedding table. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  /** All ids that end a generation (end of sequence, end of turn). */
  readonly endIds: ReadonlySet<number>;
  /** Whether {@link EncodeOptions.bos} has an effect. */
  readonly addsBos: boolean;
  /** Whether decoding leaves out a space at the very start of a text, because encoding puts one there. */
  readonly dropsLeadingSpace?: boolean;
  encode(text: string, options?: EncodeOptions): Int32Array;
  /** As {@link Tokenizer.encode}, in steps of some milliseconds at most: whoever serves others does so between them. */
  encodeInSteps(text: string, options?: EncodeOptions): Steps<Int32Array>;
  /** Text of ids; bytes that are not UTF-8 become U+FFFD. Special tokens are left out unless `special`. */
  decode(ids: ArrayLike<number>, options?: { readonly special?: boolean }): string;
  /** The raw bytes one id stands for (UTF-8 of a special token's text included). */
  bytesOf(id: number): Uint8Array;
  /** The text of an id as the vocabulary writes it. */
  tokenText(id: number): string;
  /** The id of a token by its exact vocabulary text, or undefined. */
  idOf(tokenText: string): number | undefined;
  /** Whether the id is a control token, never part of an answer's text. */
  isSpecial(id: number): boolean;
}
