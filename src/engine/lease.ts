/**
 * Owns: what an engine asks for before it computes, so that several on one machine take turns.
 * Refuses to know: how the turns are taken.
 */

/** The right to compute. */
export interface ComputeLease {
  /** Resolves when it is this engine's turn; at once while it still is. */
  take(): Promise<void>;
  /** A step is over: lets another have its turn if one waits. */
  pause(): void;
}
