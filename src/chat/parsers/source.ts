/**
 * Owns: text that arrives in pieces, read by routines that run until they need more.
 * Refuses to know: tokens, deltas, any format.
 */

/** Runs until it has to wait for more text; returns what it found. */
export type Routine<T = void> = Generator<undefined, T, undefined>;

/**
 * A text as far as it has come. What routines read from it does not depend on how it was cut into pieces.
 *
 * @example
 * const source = new Source();
 * source.feed('a</thi');
 * const routine = source.until(['</think>'], (text) => show(text));
 * routine.next(); // shows 'a', then waits: '</thi' may become the tag
 */
export class Source {
  #text = '';
  #over = false;

  feed(text: string): void {
    this.#text += text;
  }

  /** No more text comes. */
  end(): void {
    this.#over = true;
  }

  /**
   * Passes text on up to the first of `stops` and takes the stop away; of stops that begin at the same place the
   * longest wins. Gives undefined when the text is over first: then all of it was passed on.
   */
  *until(stops: readonly string[], pass: (text: string) => void): Routine<string | undefined> {
    for (;;) {
      const found = this.#first(stops);
      const certain = found?.at ?? this.#text.length - this.#held(stops);
      if (certain > 0) pass(this.#text.slice(0, certain));
      this.#text = this.#text.slice(certain);
      if (found !== undefined && !this.#mayGrow(found.stop, stops)) {
        this.#text = this.#text.slice(found.stop.length);
        return found.stop;
      }
      if (this.#over) {
        if (found !== undefined) {
          this.#text = this.#text.slice(found.stop.length);
          return found.stop;
        }
        if (this.#text !== '') pass(this.#text);
        this.#text = '';
        return undefined;
      }
      yield;
    }
  }

  /** Takes the longest of `texts` away that comes next; undefined when none does. */
  *take(texts: readonly string[]): Routine<string | undefined> {
    const longestFirst = texts.toSorted((a, b) => b.length - a.length);
    for (;;) {
      const found = longestFirst.find((text) => this.#text.startsWith(text));
      const mayCome = longestFirst.some(
        (text) => text.length > (found?.length ?? 0) && text !== found && text.startsWith(this.#text),
      );
      if (!mayCome || this.#over) {
        if (found !== undefined) this.#text = this.#text.slice(found.length);
        return found;
      }
      yield;
    }
  }

  #first(stops: readonly string[]): { at: number; stop: string } | undefined {
    let best: { at: number; stop: string } | undefined;
    for (const stop of stops) {
      const at = this.#text.indexOf(stop);
      if (at < 0) continue;
      if (best === undefined || at < best.at || (at === best.at && stop.length > best.stop.length)) {
        best = { at, stop };
      }
    }
    return best;
  }

  /** Whether the text, which begins with `stop`, may yet turn out to begin with a longer one. */
  #mayGrow(stop: string, stops: readonly string[]): boolean {
    return stops.some((other) => other.length > stop.length && other.startsWith(this.#text));
  }

  /** Length of the longest end of the text that begins a stop. */
  #held(stops: readonly string[]): number {
    let longest = 0;
    for (const stop of stops) {
      for (let length = Math.min(stop.length - 1, this.#text.length); length > longest; length--) {
        if (this.#text.endsWith(stop.slice(0, length))) {
          longest = length;
          break;
        }
      }
    }
    return longest;
  }
}
