/**
 * Owns: guessing how a text goes on from where it, or its prompt, went on like this before.
 * Refuses to know: whether a guess is right, what it costs.
 */

/** Lengths of the endings that are looked up, longest first: a long one seldom misleads, a short one is often there. */
const LENGTHS = [6, 4, 3] as const;

/** Knows one sequence's ids; {@link NgramDrafter.draft} takes note of new ones first. */
export class NgramDrafter {
  /** For each length: where the id stands that last came after an ending, by the ending's ids. */
  readonly #after = LENGTHS.map(() => new Map<string, number>());
  #known = 0;

  /**
   * At most `most` ids that may follow `ids`; none where no ending of it came before.
   *
   * @param ids the whole sequence; what it began with at the last call must still be its beginning.
   * @example new NgramDrafter().draft([1, 2, 3, 9, 1, 2, 3], 2) // [9, 1]
   */
  draft(ids: readonly number[], most: number): number[] {
    for (; this.#known < ids.length; this.#known++) {
      LENGTHS.forEach((length, i) => {
        const from = this.#known - length;
        if (from >= 0) this.#after[i]!.set(keyOf(ids, from, length), this.#known);
      });
    }
    for (const [i, length] of LENGTHS.entries()) {
      if (ids.length < length) continue;
      const at = this.#after[i]!.get(keyOf(ids, ids.length - length, length));
      if (at !== undefined) return ids.slice(at, at + most);
    }
    return [];
  }
}

function keyOf(ids: readonly number[], from: number, length: number): string {
  return ids.slice(from, from + length).join(',');
}
