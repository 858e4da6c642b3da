/**
 * Owns: regular languages as expressions over characters, and how they read inside of a JSON string.
 * Refuses to know: the syntax of patterns, bytes, automata.
 */
import { ANY_CHAR, type CharSet, charSet, charsOf, minus, pairs } from './char-set.ts';

/** A regular language. */
export type Regular =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'sequence'; readonly parts: readonly Regular[] }
  | { readonly kind: 'choice'; readonly options: readonly Regular[] }
  | { readonly kind: 'repeat'; readonly part: Regular; readonly min: number; readonly max: number }
  /**
   * Any number of `part`, which is every character. What other ways there are to read a text no longer matters once this
   * one is open: an automaton that forgets them stays small.
   */
  | { readonly kind: 'rest'; readonly part: Regular };

/** One character of a set. */
export const oneOf = (set: CharSet): Regular => ({ kind: 'set', set });
/** One after the other; nothing at all where there are no parts. */
export const sequence = (...parts: readonly Regular[]): Regular => ({ kind: 'sequence', parts });
/** One of several; no text at all where there are none. */
export const choice = (...options: readonly Regular[]): Regular => ({ kind: 'choice', options });
/** From `min` to `max` times. */
export const repeat = (part: Regular, min: number, max = Number.POSITIVE_INFINITY): Regular => ({
  kind: 'repeat',
  part,
  min,
  max,
});
/** Once or not at all. */
export const optional = (part: Regular): Regular => repeat(part, 0, 1);
/** Exactly this text. */
export const literal = (text: string): Regular =>
  sequence(...Array.from(text, (char) => oneOf(charsOf(char))));
/** One character from `first` to `last`. Example: `range('0', '9')`. */
export const range = (first: string, last: string): Regular =>
  oneOf([first.codePointAt(0)!, last.codePointAt(0)!]);
/** Any text up to the end of a pattern. */
export const REST: Regular = { kind: 'rest', part: oneOf(ANY_CHAR) };
/** Any text. */
export const ANY_TEXT: Regular = repeat(oneOf(ANY_CHAR), 0);

const HEX = charsOf('0123456789abcdefABCDEF');
/** What JSON strings cannot hold as it is. */
const ESCAPED = charSet([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);
const SHORT: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

/** A character of a JSON string in any of its spellings; half a surrogate pair is none. */
export const JSON_CHAR: Regular = (() => {
  const hex = (set: CharSet) => oneOf(set);
  const low = sequence(hex(charsOf('dD')), hex(charsOf('cdefCDEF')), hex(HEX), hex(HEX));
  const high = sequence(hex(charsOf('dD')), hex(charsOf('89abAB')), hex(HEX), hex(HEX));
  const alone = choice(
    sequence(hex(minus(HEX, charsOf('dD'))), hex(HEX), hex(HEX), hex(HEX)),
    sequence(hex(charsOf('dD')), hex(charsOf('01234567')), hex(HEX), hex(HEX)),
  );
  return choice(
    oneOf(minus(ANY_CHAR, ESCAPED)),
    sequence(
      literal('\\'),
      choice(
        oneOf(charsOf('"\\/bfnrt')),
        sequence(literal('u'), choice(alone, sequence(high, literal('\\u'), low))),
      ),
    ),
  );
})();

/**
 * A language as it reads inside of a JSON string, every character in the one spelling that `JSON.stringify` gives it.
 *
 * @example insideJson(literal('a"b')) // the language of a\"b
 */
export function insideJson(regular: Regular): Regular {
  switch (regular.kind) {
    case 'set':
      return setInsideJson(regular.set);
    case 'sequence':
      return sequence(...regular.parts.map(insideJson));
    case 'choice':
      return choice(...regular.options.map(insideJson));
    case 'repeat':
    case 'rest':
      return { ...regular, part: insideJson(regular.part) };
  }
}

function setInsideJson(set: CharSet): Regular {
  const plain = oneOf(minus(set, ESCAPED));
  const escaped = pairs(minus(set, minus(ANY_CHAR, ESCAPED))).flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, i) => String.fromCharCode(first + i)),
  );
  if (escaped.length === 0) return plain;
  const spelt = escaped.map((char) =>
    literal(SHORT.get(char) ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`),
  );
  return choice(plain, ...spelt);
}
