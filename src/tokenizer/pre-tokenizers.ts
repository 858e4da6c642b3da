/**
 * Owns: the pre-tokenizers by name, each the published patterns written as rules that match in linear time.
 * Refuses to know: how the rules are run, vocabularies, merges.
 *
 * A pre-tokenizer is a list of steps; each step splits the pieces left by the former. A step is a list of
 * alternatives tried in order at every position; what no alternative matches becomes pieces of its own.
 */
import { CASED_CLASS, CharClass } from './char-classes.ts';

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

/** `\s*[\r\n]+|\s+(?!\S)|\s+`. */
const WHITESPACE: Step = [
  { kind: 'space-to-newline' },
  { kind: 'space-but-last' },
  { kind: 'run', many: SPACE },
];

const llama3 = (mostDigits: number): Step => [
  { kind: 'contraction', anyCase: true },
  { kind: 'run', lead: LEAD_LLAMA, many: LETTER },
  { kind: 'run', many: NUMBER, most: mostDigits },
  { kind: 'run', lead: BLANK, many: OTHER, tail: NEWLINE },
  ...WHITESPACE,
];

const llama3Pattern = (digits: string): string =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

/** A step with the pattern that it stands for, as the tokenizer.json of its family writes it. */
interface NamedStep {
  readonly pattern: string;
  readonly step: Step;
}

/** The steps that families are made of. */
export const NAMED_STEPS = {
  newline: { pattern: '[\\r\\n]', step: [{ kind: 'run', many: NEWLINE, most: 1 }] },
  digit: { pattern: '\\p{N}', step: [{ kind: 'run', many: NUMBER, most: 1 }] },
  digits: { pattern: '\\p{N}+', step: [{ kind: 'run', many: NUMBER }] },
  threeDigits: { pattern: '\\p{N}{1,3}', step: [{ kind: 'run', many: NUMBER, most: 3 }] },
  eastAsian: { pattern: '[一-龥\u0800-一가-\ud7ff]+', step: [{ kind: 'run', many: EAST_ASIAN }] },
  hanKana: { pattern: '[一-龥\u3040-ゟ゠-ヿ]+', step: [{ kind: 'run', many: HAN_KANA }] },
  spaceAtEnd: { pattern: '\\s+$', step: [{ kind: 'space-at-end' }] },
  letters: { pattern: '\\s?\\p{L}+', step: [{ kind: 'run', lead: SPACE, many: LETTER }] },
  punctuation: { pattern: '\\s?\\p{P}+', step: [{ kind: 'run', lead: SPACE, many: PUNCTUATION }] },
  casedLetters: {
    pattern: `\\s?[${CASED_CLASS}]+`,
    step: [{ kind: 'run', lead: SPACE, many: CASED_LETTER }],
  },
  listedPunctuation: {
    pattern: '\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+',
    step: [{ kind: 'run', lead: SPACE, many: PUNCTUATION_LLM }],
  },
  gpt2: {
    pattern: "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    step: [
      { kind: 'contraction', anyCase: false },
      { kind: 'run', lead: BLANK, many: LETTER },
      { kind: 'run', lead: BLANK, many: NUMBER },
      { kind: 'run', lead: BLANK, many: OTHER },
      { kind: 'space-but-last' },
      { kind: 'run', many: SPACE },
    ],
  },
  llama3: { pattern: llama3Pattern('\\p{N}{1,3}'), step: llama3(3) },
  qwen2: { pattern: llama3Pattern('\\p{N}'), step: llama3(1) },
  deepseekV3: {
    pattern:
      '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
    step: [
      { kind: 'run', head: ASCII_PUNCTUATION, many: ASCII_LETTER },
      { kind: 'run', lead: LEAD_DEEPSEEK, many: LETTER | MARK },
      { kind: 'run', lead: BLANK, many: PUNCTUATION | SYMBOL, tail: NEWLINE },
      ...WHITESPACE,
    ],
  },
} as const satisfies Readonly<Record<string, NamedStep>>;

const { newline, digit, threeDigits, eastAsian, hanKana, spaceAtEnd, letters, punctuation } = NAMED_STEPS;
const { casedLetters, listedPunctuation, gpt2, llama3: llama, qwen2, deepseekV3 } = NAMED_STEPS;

const steps = (...named: readonly NamedStep[]): PreTokenizer => ({
  steps: named.map(({ step }) => step),
  ignoreMerges: false,
  addsBos: false,
});

const LLAMA3: PreTokenizer = { ...steps(llama), ignoreMerges: true, addsBos: true };

/** Pre-tokenizers by the name that `tokenizer.ggml.pre` gives. Source: the tokenizer.json of each family. */
export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map(
  Object.entries({
    'gpt-2': steps(gpt2),
    smollm: steps(digit, gpt2),
    'llama-bpe': LLAMA3,
    llama3: LLAMA3,
    'llama-v3': LLAMA3,
    qwen2: steps(qwen2),
    'deepseek-r1-qwen': steps(qwen2),
    'deepseek-llm': steps(newline, casedLetters, listedPunctuation, spaceAtEnd, eastAsian, digit),
    'deepseek-coder': steps(newline, letters, punctuation, eastAsian, digit),
    'deepseek-v3': steps(threeDigits, hanKana, deepseekV3),
    'joyai-llm': steps(threeDigits, hanKana, deepseekV3),
  }),
);
