/**
 * Owns: turning ids into text one at a time without ever showing half a character.
 * Refuses to know: stop strings, deltas.
 */
import type { Tokenizer } from './tokenizer.ts';

/**
 * Decodes a stream of ids. The texts that {@link push} and {@link end} return, joined, equal `tokenizer.decode` of all ids.
 *
 * @example const decoder = new StreamDecoder(tokenizer); for (const id of ids) out += decoder.push(id); out += decoder.end();
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #special: boolean;
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  #started = false;

  /** @param options `special`: show control tokens as their text instead of leaving them out. */
  constructor(tokenizer: Tokenizer, { special = false }: { readonly special?: boolean } = {}) {
    this.#tokenizer = tokenizer;
    this.#special = special;
  }

  /** Text that is complete with this id; `''` while a character lacks bytes. @throws HadalError `token-id`. */
  push(id: number): string {
    if (!this.#special && this.#tokenizer.isSpecial(id)) return '';
    return this.#shown(this.#utf8.decode(this.#tokenizer.bytesOf(id), { stream: true }));
  }

  /** As {@link push}, of what a model chose: ids beyond the vocabulary, which only fill up its matrices, have no text. */
  pushChosen(id: number): string {
    return id < this.#tokenizer.vocabSize ? this.push(id) : '';
  }

  /** Text of what was held back: U+FFFD where bytes of a character never came. The decoder starts anew. */
  end(): string {
    const text = this.#shown(this.#utf8.decode());
    this.#started = false;
    return text;
  }

  #shown(text: string): string {
    if (this.#started || text === '') return text;
    this.#started = true;
    return this.#tokenizer.dropsLeadingSpace && text.startsWith(' ') ? text.slice(1) : text;
  }
}
