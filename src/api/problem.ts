/**
 * Owns: a failure in neutral terms, as every protocol writes it down in its own shape.
 * Refuses to know: any one protocol's shape, how failures come about.
 */

/** What a caller is told of a failure: a fixed code and one sentence, never internals. */
export interface Problem {
  /** HTTP status. */
  readonly status: number;
  /** Stable, e.g. `model-unknown`. */
  readonly code: string;
  readonly message: string;
  /** When it is worth trying again. */
  readonly retryAfterSeconds?: number;
  /** It will be the same until a person changes something: clients that try again by themselves only make theirs wait. */
  readonly lasting?: true;
}
