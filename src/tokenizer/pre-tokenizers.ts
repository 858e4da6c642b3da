/**
 * Owns: the pre-tokenizers by name, each the published patterns written as rules that match in linear time.
 * Refuses to know: how the rules are run, vocabularies, merges.
 *
 * A pre-tokenizer is a list of steps; each step splits the pieces left by the former. A step is a list of
 * alternatives tried in order at every position; what no alternative matches becomes pieces of its own.
 */
import { CharClass } from './char-classes.ts';

/** One alternative of a step. Class fields are unions of {@link CharClass} bits. */
export type Rule =
  /** `lead? head many{1,most} tail*`; the lead is given back when the rest does not match. */
  | {
      readonly kind: 'run';
      readonly lead?: number;
      readonly head?: number;
      readonly many: number;
      readonly most?: number;
      readonly tail?: number;
    }
  /** `'s|'t|'re|'ve|'m|'ll|'d`. */
  | { readonly kind: 'contraction'; readonly anyCase: boolean }
  /** `\s*[\r\n]+`. */
  | { readonly kind: 'space-to-newline' }
  /** `\s+(?!\S)`. */
  | { readonly kind: 'space-but-last' }
  /** `\s+$`. */
  | { readonly kind: 'space-at-end' };

export type Step = readonly Rule[];

/** How text is cut into pieces before merging, and what else hangs on the family's name. */
export interface PreTokenizer {
  readonly steps: readonly Step[];
  /** A piece that is a token as a whole is taken without merging (Llama 3). */
  readonly ignoreMerges: boolean;
  /** Whether a beginning-of-sequence token is added where the file does not say. */
  readonly addsBos: boolean;
}

const {
  BLANK,
  SPACE,
  NEWLINE,
  LETTER,
  MARK,
  NUMBER,
  PUNCTUATION,
  SYMBOL,
  OTHER,
  LEAD_LLAMA,
  LEAD_DEEPSEEK,
  ASCII_LETTER,
  ASCII_PUNCTUATION,
  EAST_ASIAN,
  HAN_KANA,
  CASED_LETTER,
  PUNCTUATION_LLM,
} = CharClass;

const SINGLE_DIGITS: Step = [{ kind: 'run', many: NUMBER, most: 1 }]; // \p{N}
const SINGLE_NEWLINES: Step = [{ kind: 'run', many: NEWLINE, most: 1 }]; // [\r\n]
const EAST_ASIAN_RUNS: Step = [{ kind: 'run', many: EAST_ASIAN }]; // [一-龥ࠀ-一가-퟿]+

/** `\s*[\r\n]+|\s+(?!\S)|\s+`. */
const WHITESPACE: Step = [
  { kind: 'space-to-newline' },
  { kind: 'space-but-last' },
  { kind: 'run', many: SPACE },
];

/** `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`. */
const GPT2: Step = [
  { kind: 'contraction', anyCase: false },
  { kind: 'run', lead: BLANK, many: LETTER },
  { kind: 'run', lead: BLANK, many: NUMBER },
  { kind: 'run', lead: BLANK, many: OTHER },
  { kind: 'space-but-last' },
  { kind: 'run', many: SPACE },
];

/** ``(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|…``, digits by threes or singly. */
const llama3 = (mostDigits: number): Step => [
  { kind: 'contraction', anyCase: true },
  { kind: 'run', lead: LEAD_LLAMA, many: LETTER },
  { kind: 'run', many: NUMBER, most: mostDigits },
  { kind: 'run', lead: BLANK, many: OTHER, tail: NEWLINE },
  ...WHITESPACE,
];

const QWEN2: PreTokenizer = { steps: [llama3(1)], ignoreMerges: false, addsBos: false };

const DEEPSEEK_V3: PreTokenizer = {
  steps: [
    [{ kind: 'run', many: NUMBER, most: 3 }],
    [{ kind: 'run', many: HAN_KANA }],
    [
      { kind: 'run', head: ASCII_PUNCTUATION, many: ASCII_LETTER },
      { kind: 'run', lead: LEAD_DEEPSEEK, many: LETTER | MARK },
      { kind: 'run', lead: BLANK, many: PUNCTUATION | SYMBOL, tail: NEWLINE },
      ...WHITESPACE,
    ],
  ],
  ignoreMerges: false,
  addsBos: false,
};

/** Pre-tokenizers by the name that `tokenizer.ggml.pre` gives. Source: the tokenizer.json of each family. */
export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map(
  Object.entries({
    'gpt-2': { steps: [GPT2], ignoreMerges: false, addsBos: false },
    smollm: { steps: [SINGLE_DIGITS, GPT2], ignoreMerges: false, addsBos: false },
    'llama-bpe': { steps: [llama3(3)], ignoreMerges: true, addsBos: true },
    qwen2: QWEN2,
    'deepseek-r1-qwen': QWEN2,
    'deepseek-llm': {
      steps: [
        SINGLE_NEWLINES,
        [{ kind: 'run', lead: SPACE, many: CASED_LETTER }],
        [{ kind: 'run', lead: SPACE, many: PUNCTUATION_LLM }],
        [{ kind: 'space-at-end' }],
        EAST_ASIAN_RUNS,
        SINGLE_DIGITS,
      ],
      ignoreMerges: false,
      addsBos: false,
    },
    'deepseek-coder': {
      steps: [
        SINGLE_NEWLINES,
        [{ kind: 'run', lead: SPACE, many: LETTER }],
        [{ kind: 'run', lead: SPACE, many: PUNCTUATION }],
        EAST_ASIAN_RUNS,
        SINGLE_DIGITS,
      ],
      ignoreMerges: false,
      addsBos: false,
    },
    'deepseek-v3': DEEPSEEK_V3,
    'joyai-llm': DEEPSEEK_V3,
  }),
);
