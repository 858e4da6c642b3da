/**
 * Owns: the fields that requests for embeddings have in every protocol, and how many inputs one may hold.
 * Refuses to know: any one protocol, how vectors come about.
 */
import { z } from 'zod';
import { honoured } from './fields.ts';

/** Most inputs of one request, as OpenAI has it. */
const MOST_INPUTS = 2048;

const text = z.string();
const ids = z.array(z.int().min(0)).min(1);

/** One text, or several. */
export const textsField = z.union([text, z.array(text).min(1).max(MOST_INPUTS)]);

/** One text, token ids, or a list of either. An empty text is none. */
export const inputsField = z.union([
  text.min(1),
  ids,
  z.array(text.min(1)).min(1).max(MOST_INPUTS),
  z.array(ids).min(1).max(MOST_INPUTS),
]);

/** How hidden states become one vector: a field of ours in every protocol. */
export const poolingField = z.enum(['mean', 'last']).nullish();

/** How many numbers a vector is to have. */
export const dimensionsField = z.int().min(1).nullish();

/** Their lines in every table. */
export const EMBEDDING_RULES = {
  dimensions: honoured("the model's own number; another one is refused: vectors are never cut"),
  pooling: honoured("`mean` or `last`; the configuration's, else the file's own, else `mean`"),
} as const;

/**
 * The inputs of a request as a list.
 *
 * @example inputsOf([1, 2]); // [[1, 2]]: a list of numbers is one input
 */
export function inputsOf(given: z.output<typeof inputsField>): readonly (string | readonly number[])[] {
  if (typeof given === 'string') return [given];
  return typeof given[0] === 'number' ? [given as number[]] : (given as string[] | number[][]);
}
