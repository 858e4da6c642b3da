/**
 * Owns: how many prompt rows go into one step, by how long such rows took before.
 * Refuses to know: whose rows they are, how a step is computed.
 */

/** How long a step may take while somebody waits for the next token of an answer. */
const WHILE_OTHERS_DECODE_MS = 250;
/** What is aimed at, so that a step that takes longer than the last ones did still keeps within that. */
const AIM_MS = 0.8 * WHILE_OTHERS_DECODE_MS;
/** Before anything was measured. */
const FIRST_ROWS = 32;
/** Panels of so many rows are computed as fast as one that is not full. */
const PANEL_ROWS = 16;

/** Sizes the chunks of prompts. Sizes never change bits, only waiting times. */
export class ChunkSizer {
  readonly #maxRows: number;
  #rowMs: number | undefined;
  #lastRows = FIRST_ROWS;

  /** @param maxRows of one step; what a prompt gets when nobody decodes. */
  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  /** Prompt rows of the next step. */
  rows(othersDecode: boolean): number {
    if (!othersDecode) return this.#maxRows;
    if (this.#rowMs === undefined) return Math.min(this.#maxRows, FIRST_ROWS);
    // At most twice as many as were measured: the time of a row falls as there are more, and grows with the context.
    const fitting = Math.min(AIM_MS / this.#rowMs, 2 * this.#lastRows, this.#maxRows);
    const whole = fitting < PANEL_ROWS ? Math.floor(fitting) : Math.floor(fitting / PANEL_ROWS) * PANEL_ROWS;
    return Math.max(1, whole);
  }

  /** Notes how long a step with so many prompt rows took. */
  measured(rows: number, ms: number): void {
    if (rows === 0) return;
    this.#lastRows = rows;
    this.#rowMs = ms / rows;
  }
}
