/**
 * Owns: how much work and memory one grammar may take before it is refused.
 * Refuses to know: what the work is.
 */
import { HadalError } from '../../error.ts';

/** Most of each, for one grammar. A refusal comes within about a second and 100 MB; what is kept is at most some 30 MB. */
const MOST = {
  /** Steps of building automata. */
  work: 4_000_000,
  /** Entries of transition tables. */
  cells: 6_000_000,
  /** Places of the grammar. */
  places: 200_000,
} as const;

/** What is left for one grammar. */
export class Budget {
  readonly #left: Record<keyof typeof MOST, number> = { ...MOST };

  /** Takes some. Throws `grammar-too-large` when there is not so much left. */
  spend(kind: keyof typeof MOST, amount = 1): void {
    this.#left[kind] -= amount;
    if (this.#left[kind] < 0) {
      throw new HadalError('grammar-too-large', {
        what: 'the schema or pattern',
        expected: `one that takes at most ${MOST[kind].toLocaleString('en')} ${NAMES[kind]}`,
        got: 'a larger one',
        next: 'use smaller counts, fewer alternatives or simpler patterns',
      });
    }
  }
}

const NAMES = { work: 'steps to compile', cells: 'transitions', places: 'places' } as const;
