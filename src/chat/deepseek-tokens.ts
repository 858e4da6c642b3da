/**
 * Owns: the spelling of DeepSeek's tokens, in one place: ｜ is U+FF5C and ▁ is U+2581, never their lookalikes.
 * Refuses to know: where they stand in a prompt or an answer.
 */

export const BOS = '<｜begin▁of▁sentence｜>';
export const EOS = '<｜end▁of▁sentence｜>';
export const USER = '<｜User｜>';
export const ASSISTANT = '<｜Assistant｜>';
/** V4.1 alone. */
export const SYSTEM = '<｜System｜>';
export const THINK = '<think>';
export const THINK_END = '</think>';

/** Tool calls of V3, R1 and V3.1. */
export const CALLS = '<｜tool▁calls▁begin｜>';
export const CALLS_END = '<｜tool▁calls▁end｜>';
export const CALL = '<｜tool▁call▁begin｜>';
export const CALL_END = '<｜tool▁call▁end｜>';
export const CALL_SEP = '<｜tool▁sep｜>';
export const OUTPUTS = '<｜tool▁outputs▁begin｜>';
export const OUTPUTS_END = '<｜tool▁outputs▁end｜>';
export const OUTPUT = '<｜tool▁output▁begin｜>';
export const OUTPUT_END = '<｜tool▁output▁end｜>';

/** DeepSeek's markup language, of V3.2 and later. */
export const DSML = '｜DSML｜';

/** Tokens with a meaning that vocabularies may hold as ordinary ones; the text of a message must not become them. */
export const MARKS: readonly string[] = [THINK, THINK_END, DSML];
