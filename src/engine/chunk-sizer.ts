/**
 * Owns: how many prompt rows go into one step, by how long such rows took before.
 * Refuses to know: whose rows they are, how a step is computed.
 */

/** How long prompt rows may hold up a step while somebody waits for the next token of an answer, where nobody says. */
const WHILE_OTHERS_DECODE_MS = 250;
/** Of that what is aimed at, so that a step that takes longer than the last ones did still keeps within it. */
const AIM = 0.8;
/** Before anything was measured. */
const FIRST_ROWS = 32;
/** Panels of so many rows are computed as fast as one that is not full. */
const PANEL_ROWS = 16;
/** Where chunks are small it is measured anew after so many of them what a step without any takes: answers come and go. */
const MEASURE_EVERY = 64;
/** While answers become more, what they take would be held against the rows, and chunks would come down to one of these. */
const MEASURE_GROWING_EVERY = 4;
const NEWEST = 0.5;

/**
 * Sizes the chunks of prompts. Sizes never change bits, only waiting times. What a step takes without prompt rows is
 * measured by a step that has none, where chunks would be small: dividing whole steps by their rows would make chunks ever
 * smaller, down to one row, where reading the weights alone takes most of a step.
 */
export class ChunkSizer {
  readonly #maxRows: number;
  readonly #aimMs: number;
  #rowMs: number | undefined;
  #lastRows = FIRST_ROWS;
  /** A step of answers alone, and of how many. */
  #baseMs: number | undefined;
  #baseAnswers = 0;
  #answers = 0;
  #chunks = 0;

  /**
   * @param maxRows of one step; what a prompt gets when nobody decodes.
   * @param whileOthersDecodeMs how long prompt rows may hold a step up; 250 when absent.
   */
  constructor(maxRows: number, whileOthersDecodeMs: number = WHILE_OTHERS_DECODE_MS) {
    this.#maxRows = maxRows;
    this.#aimMs = AIM * whileOthersDecodeMs;
  }

  /** Prompt rows of the next step, in which so many answers go on; now and then none while there are any. */
  rows(answers: number): number {
    if (answers === 0) return this.#maxRows;
    this.#answers = answers;
    if (this.#rowMs === undefined) return Math.min(this.#maxRows, FIRST_ROWS);
    // At most twice as many as were measured: the time of a row falls as there are more, and grows with the context.
    const fitting = Math.min(this.#aimMs / this.#rowMs, 2 * this.#lastRows, this.#maxRows);
    const every = answers > this.#baseAnswers ? MEASURE_GROWING_EVERY : MEASURE_EVERY;
    if (fitting < FIRST_ROWS && (this.#baseMs === undefined || this.#chunks >= every)) return 0;
    const whole = fitting < PANEL_ROWS ? Math.floor(fitting) : Math.floor(fitting / PANEL_ROWS) * PANEL_ROWS;
    return Math.max(1, whole);
  }

  /** Notes how long a step with so many prompt rows took. */
  measured(rows: number, ms: number): void {
    if (rows === 0) {
      const known = this.#baseMs !== undefined && this.#answers === this.#baseAnswers;
      this.#baseMs = known ? this.#baseMs! + NEWEST * (ms - this.#baseMs!) : ms;
      this.#baseAnswers = this.#answers;
      this.#chunks = 0;
      return;
    }
    this.#chunks++;
    this.#lastRows = rows;
    this.#rowMs = Math.max(0, ms - (this.#baseMs ?? 0)) / rows;
  }
}
