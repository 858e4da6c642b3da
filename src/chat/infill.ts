/**
 * Owns: fill-in-the-middle: which vocabularies have the tokens for it, and how a prompt is written with them.
 * Refuses to know: conversations, editors, the engine.
 */
import { HadalError } from '../error.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { PromptPart } from './prompt.ts';

/** DeepSeek's tokens, of Coder, Coder-V2, V3 and later alike: prefix, hole, suffix, and the model writes the middle. */
const BEGIN = '<｜fim▁begin｜>';
const HOLE = '<｜fim▁hole｜>';
const END = '<｜fim▁end｜>';
const TOKENS = [BEGIN, HOLE, END];

/**
 * Whether a vocabulary has the tokens of fill-in-the-middle.
 *
 * @example supportsInfill(tokenizer) // true for DeepSeek-Coder-V2-Lite
 */
export function supportsInfill(tokenizer: Tokenizer): boolean {
  return TOKENS.every((token) => tokenizer.idOf(token) !== undefined);
}

/**
 * The prompt whose continuation belongs between two texts. Source: DeepSeek-Coder's README, "Code Insertion".
 *
 * @throws HadalError `infill-unsupported` where the vocabulary lacks the tokens.
 * @example encodePrompt(tokenizer, infillParts(tokenizer, 'def add(a, b):\n    ', '\n'));
 */
export function infillParts(tokenizer: Tokenizer, prefix: string, suffix: string): readonly PromptPart[] {
  const missing = TOKENS.find((token) => tokenizer.idOf(token) === undefined);
  if (missing !== undefined) {
    throw new HadalError('infill-unsupported', {
      what: 'this model',
      expected: `the token ${missing} in the vocabulary, to fill in the middle`,
      got: `${tokenizer.vocabSize} tokens without it`,
      next: 'take one that was trained for it, such as DeepSeek-Coder-V2-Lite-Base',
    });
  }
  return [
    { kind: 'control', text: BEGIN },
    { kind: 'text', text: prefix },
    { kind: 'control', text: HOLE },
    { kind: 'text', text: suffix },
    { kind: 'control', text: END },
  ];
}

/**
 * Ids that end a middle: the model's own ends, and a token of the prompt that comes again.
 *
 * @example engine.generate({ ...request, endIds: infillEnds(tokenizer) });
 */
export function infillEnds(tokenizer: Tokenizer): readonly number[] {
  const again = TOKENS.map((token) => tokenizer.idOf(token)).filter((id) => id !== undefined);
  return [...new Set([...tokenizer.endIds, ...again])];
}
