/**
 * Owns: the classes of characters that pre-tokenizers speak of, as bits of one number per code point.
 * Refuses to know: which pre-tokenizer uses which class.
 */

/** Bits of the classes. A code point may be of many. */
export const CharClass = {
  /** A plain U+0020. */
  BLANK: 1 << 0,
  /** Unicode White_Space, which is what `\s` means in the published patterns. */
  SPACE: 1 << 1,
  /** `\r` or `\n`. */
  NEWLINE: 1 << 2,
  LETTER: 1 << 3,
  MARK: 1 << 4,
  NUMBER: 1 << 5,
  PUNCTUATION: 1 << 6,
  SYMBOL: 1 << 7,
  /** `[^\s\p{L}\p{N}]`. */
  OTHER: 1 << 8,
  /** `[^\r\n\p{L}\p{N}]`: what may stand before a word in Llama 3 and Qwen 2. */
  LEAD_LLAMA: 1 << 9,
  /** `[^\r\n\p{L}\p{P}\p{S}]`: what may stand before a word in DeepSeek V3. */
  LEAD_DEEPSEEK: 1 << 10,
  ASCII_LETTER: 1 << 11,
  ASCII_PUNCTUATION: 1 << 12,
  /** `[一-龥ࠀ-一가-퟿]`, as DeepSeek LLM and Coder write it. */
  EAST_ASIAN: 1 << 13,
  /** `[一-龥぀-ゟ゠-ヿ]`, as DeepSeek V3 writes it. */
  HAN_KANA: 1 << 14,
  /** The cased alphabets that DeepSeek LLM lists. */
  CASED_LETTER: 1 << 15,
  /** ``[!-/:-~！-／：-～‘-‟　-。]``, as DeepSeek LLM writes it. */
  PUNCTUATION_LLM: 1 << 16,
} as const;

/** Set in every computed entry, so that 0 means "not computed yet". */
const KNOWN = 1 << 30;

/** Classes that are a matter of Unicode properties or of fixed ranges. */
const PATTERNS: readonly (readonly [bit: number, pattern: RegExp])[] = [
  [CharClass.BLANK, / /u],
  [CharClass.SPACE, /\p{White_Space}/u],
  [CharClass.NEWLINE, /[\r\n]/u],
  [CharClass.LETTER, /\p{L}/u],
  [CharClass.MARK, /\p{M}/u],
  [CharClass.NUMBER, /\p{N}/u],
  [CharClass.PUNCTUATION, /\p{P}/u],
  [CharClass.SYMBOL, /\p{S}/u],
  [CharClass.ASCII_LETTER, /[A-Za-z]/u],
  [CharClass.ASCII_PUNCTUATION, /[!-/:-@[-`{-~]/u],
  [CharClass.EAST_ASIAN, /[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]/u],
  [CharClass.HAN_KANA, /[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]/u],
  [CharClass.PUNCTUATION_LLM, /[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]/u],
];

/**
 * DeepSeek LLM's list of cased letters, code points in hexadecimal.
 * Source: the second pattern of the pre-tokenizer in the tokenizer.json of deepseek-llm-7b.
 */
const CASED_RANGES = `
  41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386
  388-38a 38c 38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba
  1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59
  1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec
  1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139
  213c-213f 2145-2149 214e 2183 2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b
  a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f
  104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943
`;

/** Pairs of first and last code point. */
const CASED: readonly (readonly [first: number, last: number])[] = CASED_RANGES.trim()
  .split(/\s+/)
  .map((range) => {
    const [first = '', last = first] = range.split('-');
    return [Number.parseInt(first, 16), Number.parseInt(last, 16)] as const;
  });

/** The list as the body of a character class, which is how the published pattern has it. */
export const CASED_CLASS: string = CASED.map(([first, last]) =>
  [...new Set([first, last])].map((end) => String.fromCodePoint(end)).join('-'),
).join('');

/** The bits of one code point, computed from scratch. */
function classBits(codePoint: number): number {
  const char = String.fromCodePoint(codePoint);
  let bits = KNOWN;
  for (const [bit, pattern] of PATTERNS) if (pattern.test(char)) bits |= bit;
  if (CASED.some(([first, last]) => codePoint >= first && codePoint <= last)) bits |= CharClass.CASED_LETTER;
  const { SPACE, NEWLINE, LETTER, NUMBER, PUNCTUATION, SYMBOL } = CharClass;
  if (!(bits & (SPACE | LETTER | NUMBER))) bits |= CharClass.OTHER;
  if (!(bits & (NEWLINE | LETTER | NUMBER))) bits |= CharClass.LEAD_LLAMA;
  if (!(bits & (NEWLINE | LETTER | PUNCTUATION | SYMBOL))) bits |= CharClass.LEAD_DEEPSEEK;
  return bits;
}

/** A lazily filled map from code points to their class bits. Belongs to one tokenizer. */
export class CharClasses {
  readonly #pages: (Int32Array | undefined)[] = new Array(0x1100).fill(undefined);

  /**
   * The class bits of a code point.
   *
   * @example (classes.of(0x41) & CharClass.LETTER) !== 0 // true
   */
  of(codePoint: number): number {
    let page = this.#pages[codePoint >> 8];
    if (page === undefined) {
      page = new Int32Array(256);
      this.#pages[codePoint >> 8] = page;
    }
    const known = page[codePoint & 255] as number;
    if (known !== 0) return known;
    const bits = classBits(codePoint);
    page[codePoint & 255] = bits;
    return bits;
  }
}
