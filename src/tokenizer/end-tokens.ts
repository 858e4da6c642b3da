/**
 * Owns: which tokens end a generation.
 * Refuses to know: stop strings, who generates.
 */
import { TokenKind, type Vocabulary } from './vocabulary.ts';

/** Texts that end an answer or a turn wherever they are control tokens. */
const END_TEXTS: readonly string[] = [
  '<｜end▁of▁sentence｜>',
  '<|EOT|>',
  '<|im_end|>',
  '<|endoftext|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end_of_text|>',
  '<|end|>',
  '<end_of_turn>',
  '</s>',
];

/**
 * The ids that end a generation: those that the file names and the well-known ones that are control tokens.
 *
 * @example endIds(vocabulary, [2]) // Set { 2, 0 } for SmolLM2: <|im_end|> and <|endoftext|>
 */
export function endIds(vocabulary: Vocabulary, named: Iterable<number | undefined>): ReadonlySet<number> {
  const ids = new Set<number>();
  for (const id of named) if (id !== undefined) ids.add(id);
  for (const text of END_TEXTS) {
    const id = vocabulary.idOf(text);
    if (id !== undefined && vocabulary.kindOf(id) === TokenKind.CONTROL) ids.add(id);
  }
  return ids;
}
