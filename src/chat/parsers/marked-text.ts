/**
 * Owns: an answer's tokens as one stream of characters, in which a token with a meaning is one character of its own.
 * Refuses to know: what the marks mean, deltas.
 */
import { StreamDecoder } from '../../tokenizer/stream-decoder.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { PromptPart } from '../prompt.ts';

/**
 * A mark is two high surrogates. Decoding UTF-8 never gives one after the other, so no text can pretend to be a mark,
 * and neither half can be found inside a character.
 */
const MARK = '\ud800';
const FIRST_MARK = 0xd801;
const MARKS_IN_TEXT = /\ud800[\ud801-\ud8ff]/g;

/**
 * Decodes tokens. A mark that the vocabulary has as a token is recognised as that token alone: text that spells it, as
 * a model writes it that quotes what it read, stays text. Where the vocabulary lacks the token, the text is the mark.
 *
 * @example
 * const marked = new MarkedText(tokenizer, ['</think>']);
 * marked.push(id) === marked.pattern('</think>');
 */
export class MarkedText {
  readonly #tokenizer: Tokenizer;
  readonly #decoder: StreamDecoder;
  readonly #marks: readonly string[];
  readonly #ids = new Map<number, string>();

  constructor(tokenizer: Tokenizer, marks: readonly string[]) {
    this.#tokenizer = tokenizer;
    this.#decoder = new StreamDecoder(tokenizer);
    this.#marks = marks;
    for (const [index, mark] of marks.entries()) {
      const id = tokenizer.idOf(mark);
      if (id !== undefined) this.#ids.set(id, markOf(index));
    }
  }

  /** Characters that are certain with this token; control tokens that are no marks give none. */
  push(id: number): string {
    const mark = this.#ids.get(id);
    if (mark === undefined) return this.#decoder.pushChosen(id);
    return this.#decoder.end() + mark;
  }

  /** What was held back of a character. */
  end(): string {
    return this.#decoder.end();
  }

  /** The characters to look for, of a text that may hold marks. */
  pattern(text: string): string {
    let pattern = text;
    for (const [index, mark] of this.#marks.entries()) {
      if (this.#tokenizer.idOf(mark) !== undefined) {
        pattern = pattern.replaceAll(mark, markOf(index));
      }
    }
    return pattern;
  }

  /** The characters of parts that the prompt wrote. */
  patternOf(parts: readonly PromptPart[]): string {
    return parts.map(({ kind, text }) => (kind === 'control' ? this.pattern(text) : text)).join('');
  }

  /** Text as people read it: marks that nobody understood are spelled out. */
  spelled(text: string): string {
    return text.replace(MARKS_IN_TEXT, (mark) => this.#marks[mark.charCodeAt(1) - FIRST_MARK] ?? '');
  }
}

const markOf = (index: number): string => MARK + String.fromCharCode(FIRST_MARK + index);
