/**
 * Owns: finding added tokens written in a text (leftmost first, the longest at one place) and their manners: white
 * space that they swallow, words that they must not be part of.
 * Refuses to know: which of them are looked for when, and what becomes of the text between.
 */
import { HadalError } from '../error.ts';

/** A token that is found in text as it stands, before any merging. */
export interface AddedToken {
  readonly id: number;
  readonly text: string;
  /** Found only where special tokens are asked for. */
  readonly control: boolean;
  /** Looked for after the family's normalisation, in what other tokens left. */
  readonly normalized: boolean;
  /** Swallows the white space before it. */
  readonly lstrip: boolean;
  /** Swallows the white space after it. */
  readonly rstrip: boolean;
  /** Not found inside a word. */
  readonly singleWord: boolean;
}

interface Node {
  token: AddedToken | undefined; // that ends here
  next: Map<number, Node> | undefined; // by UTF-16 unit
}

/** A token found in a text, `[start, end)` in UTF-16 units. */
export interface Cut {
  readonly start: number;
  readonly end: number;
  readonly id: number;
}

/** UTF-16 units that a token may have, and all of them together: ten times what is known today. */
const MOST_UNITS = 512;
const MOST_UNITS_OF_ALL = 1 << 19;

const SPACE = /\p{White_Space}/u;
/** What Rust's `\w` means, by which Hugging Face `tokenizers` tells words. */
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** A prefix tree over token texts. */
export class TokenCutter {
  readonly #root: Node = { token: undefined, next: undefined };

  /** @throws HadalError `tokenizer-vocabulary` when the tokens are longer than any that are meant to be found. */
  constructor(tokens: readonly AddedToken[]) {
    let units = 0;
    for (const token of tokens) {
      const { text } = token;
      if (text === '') continue;
      units += text.length;
      if (text.length > MOST_UNITS || units > MOST_UNITS_OF_ALL) throw tooLong(text, tokens.length);
      let node = this.#root;
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i);
        node.next ??= new Map();
        let child = node.next.get(unit);
        if (child === undefined) {
          child = { token: undefined, next: undefined };
          node.next.set(unit, child);
        }
        node = child;
      }
      node.token ??= token;
    }
  }

  /**
   * The tokens of `text[from, to)`, in order; its ends count as ends of words.
   *
   * @example new TokenCutter([{ id: 7, text: '<a>', … }]).cuts('x<a>', 0, 4) // [{ start: 1, end: 4, id: 7 }]
   */
  cuts(text: string, from: number, to: number): Cut[] {
    const cuts: Cut[] = [];
    const first = this.#root.next;
    if (first === undefined) return cuts;
    let free = from; // end of the last cut
    for (let at = from; at < to; at++) {
      let node = first.get(text.charCodeAt(at));
      if (node === undefined) continue;
      let token: AddedToken | undefined;
      for (let end = at + 1; node !== undefined; end++) {
        token = node.token ?? token;
        node = end < to ? node.next?.get(text.charCodeAt(end)) : undefined;
      }
      if (token === undefined) continue;
      let end = at + token.text.length;
      if (!token.singleWord || !touchesWord(text, from, at, end, to)) {
        let start = at;
        if (token.lstrip) while (start > free && SPACE.test(text.charAt(start - 1))) start--;
        if (token.rstrip) while (end < to && SPACE.test(text.charAt(end))) end++;
        cuts.push({ start, end, id: token.id });
        free = end;
      }
      at = end - 1;
    }
    return cuts;
  }
}

/** Whether a character of a word stands next to `text[start, end)` in `text[from, to)`. */
function touchesWord(text: string, from: number, start: number, end: number, to: number): boolean {
  const before = Array.from(text.slice(Math.max(from, start - 2), start)).at(-1) ?? '';
  const after = Array.from(text.slice(end, Math.min(end + 2, to)))[0] ?? '';
  return WORD.test(before) || WORD.test(after);
}

function tooLong(text: string, count: number): HadalError {
  return new HadalError('tokenizer-vocabulary', {
    what: 'tokens that are found in text as they stand',
    expected: `at most ${MOST_UNITS} characters each and ${MOST_UNITS_OF_ALL} in all`,
    got: `${text.length} in one of ${count}, ${JSON.stringify(text.slice(0, 40))}`,
    next: 'use an intact model file',
  });
}
