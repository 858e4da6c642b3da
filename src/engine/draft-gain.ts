/**
 * Owns: what drafting gained: tokens for each step, and the time that plain steps would have taken against what was taken.
 * Refuses to know: who drafts, what a step is.
 */

/** One step of one sequence. */
export interface StepShare {
  /** Tokens that it gave. */
  readonly tokens: number;
  /** What as many steps of one token would have taken. */
  readonly plainMs: number;
  /** What it took, guessing included. */
  readonly spentMs: number;
}

/** Adds up steps. Example: `gain.add({ tokens: 2, plainMs: 20, spentMs: 13 })`. */
export class DraftGain {
  #steps = 0;
  #sum: StepShare = { tokens: 0, plainMs: 0, spentMs: 0 };

  add({ tokens, plainMs, spentMs }: StepShare): void {
    this.#steps++;
    const { tokens: t, plainMs: p, spentMs: s } = this.#sum;
    this.#sum = { tokens: t + tokens, plainMs: p + plainMs, spentMs: s + spentMs };
  }

  /** Both are 1 before anything was measured. */
  get figures(): { readonly tokensPerStep: number; readonly gain: number } {
    const { tokens, plainMs, spentMs } = this.#sum;
    return {
      tokensPerStep: this.#steps === 0 ? 1 : tokens / this.#steps,
      gain: spentMs === 0 ? 1 : plainMs / spentMs,
    };
  }
}
