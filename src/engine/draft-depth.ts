/**
 * Owns: how many tokens are worth drafting: what share of drafts is right, what rows cost, and the gain of each depth.
 * Refuses to know: who drafts, what is drafted.
 */

/** Weight of the newest measurement in each average. */
const NEWEST = 0.1;
/** Part of all drafts that is taken to be right before any was measured, for the first token and each after it. */
const HOPE = 0.7;
/** Where nothing is worth drafting, one draft in so many is made all the same, to see whether that has changed. */
const EXPLORE_EVERY = 32;

/** Measures drafts and steps, and chooses depths. */
export class DraftDepth {
  /** Part of the drafts of more than i tokens whose first i + 1 were right. */
  readonly #right: number[];
  readonly #cost: StepCost;
  readonly #draftMs: () => number;
  #sinceExplored = 0;

  /**
   * @param most tokens of a draft at most.
   * @param cost of steps; shared by all that draft for the same engine.
   * @param draftMs what one more token of a draft costs to guess.
   */
  constructor(most: number, cost = new StepCost(), draftMs = () => 0) {
    this.#cost = cost;
    this.#draftMs = draftMs;
    this.#right = Array.from({ length: most }, (_, i) => HOPE ** (i + 1));
  }

  /**
   * Tokens to draft for one of `rows` sequences: as many as give most tokens for the time, 0 to the most.
   *
   * @example depth.choose(1) // 3
   */
  choose(rows: number): number {
    const { depth } = this.best(rows);
    if (depth > 0) {
      this.#sinceExplored = 0;
      return depth;
    }
    this.#sinceExplored = (this.#sinceExplored + 1) % EXPLORE_EVERY;
    return this.#sinceExplored === 0 ? Math.min(2, this.#right.length) : 0;
  }

  /** Notes how many tokens of a draft were right, counted from its first. */
  verified(drafted: number, right: number): void {
    for (let i = 0; i < Math.min(drafted, this.#right.length); i++) {
      this.#right[i] = this.#right[i]! * (1 - NEWEST) + (right > i ? NEWEST : 0);
    }
  }

  /** The depth with the most tokens for the time, at most `most`, and how many that is in a millisecond. */
  best(rows: number, most = this.#right.length): { readonly depth: number; readonly rate: number } {
    let best = { depth: 0, rate: rows / this.#cost.of(rows) };
    let tokens = rows;
    for (const [i, right] of this.#right.slice(0, most).entries()) {
      tokens += right;
      const rate = tokens / (this.#cost.of(rows + i + 1) + (i + 1) * this.#draftMs());
      if (rate > best.rate) best = { depth: i + 1, rate };
    }
    return best;
  }
}

/** What steps cost: the straight line through their times by their decoded rows, newer ones weighing more. */
export class StepCost {
  #weight = 0;
  #rows = 0;
  #ms = 0;
  #rowsRows = 0;
  #rowsMs = 0;

  /** Notes how long a step of `rows` decoded rows took. */
  add(rows: number, ms: number): void {
    const keep = 1 - NEWEST / 4;
    this.#weight = this.#weight * keep + 1;
    this.#rows = this.#rows * keep + rows;
    this.#ms = this.#ms * keep + ms;
    this.#rowsRows = this.#rowsRows * keep + rows * rows;
    this.#rowsMs = this.#rowsMs * keep + rows * ms;
  }

  /** Milliseconds; any unit before two different numbers of rows were seen: rows are free then, which gets them seen. */
  of(rows: number): number {
    if (this.#weight === 0) return 1;
    const [meanRows, meanMs] = [this.#rows / this.#weight, this.#ms / this.#weight];
    const spread = this.#rowsRows / this.#weight - meanRows ** 2;
    const slope = spread > 1e-9 ? (this.#rowsMs / this.#weight - meanRows * meanMs) / spread : 0;
    // A row that makes a step shorter is noise.
    return Math.max(meanMs / 100, meanMs + Math.max(0, slope) * (rows - meanRows));
  }
}
