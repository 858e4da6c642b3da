/**
 * Owns: how names out of a file are shown in messages.
 * Refuses to know: what they name.
 */

const MOST_CHARACTERS = 80;

/**
 * A name in quotes, with control characters as escapes, cut where it is too long to read.
 *
 * @example clipped('blk.0.attn_q.weight') // '"blk.0.attn_q.weight"'
 */
export function clipped(name: string): string {
  return JSON.stringify(name.length > MOST_CHARACTERS ? `${name.slice(0, MOST_CHARACTERS)}…` : name);
}
