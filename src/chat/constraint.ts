/**
 * Owns: what an answer can be held to, as it is asked for.
 * Refuses to know: how it is enforced, tokens, models.
 */

/**
 * What the content of an answer must be. Thinking before it is free.
 *
 * @example const constraint: ConstraintSpec = { kind: 'json-schema', schema: { type: 'object' } };
 */
export type ConstraintSpec =
  | { readonly kind: 'json' }
  | { readonly kind: 'json-schema'; readonly schema: unknown }
  | { readonly kind: 'regex'; readonly pattern: string };
