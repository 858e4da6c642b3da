/**
 * Owns: stop strings: finding them in text that arrives in pieces, and holding back what may become one.
 * Refuses to know: tokens, models, where the text comes from.
 */
import { HadalError } from '../error.ts';

/** What a piece of text made certain: text to pass on and, once, the stop string that ended everything. */
export interface StopStep {
  readonly text: string;
  readonly stop?: string;
}

/**
 * Passes text on until one of `stops` occurs; neither the stop string nor anything after it comes out.
 *
 * The stop string whose last character comes first wins, and of several that end together the longest, so the result
 * is that of reading character by character: the same for every way of cutting the text into pieces.
 *
 * @throws HadalError `stop-empty` for an empty stop string.
 * @example
 * const matcher = new StopMatcher(['\n\n']);
 * matcher.push('one\n'); // { text: 'one' }
 * matcher.push('\ntwo'); // { text: '', stop: '\n\n' }
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = '';
  #stopped = false;

  constructor(stops: readonly string[] = []) {
    if (stops.includes('')) {
      throw new HadalError('stop-empty', {
        what: 'stop strings',
        expected: 'at least one character in each',
        got: 'an empty one',
        next: 'leave it out',
      });
    }
    this.#stops = stops;
  }

  /** Text that is certain after this piece. Pieces after the end give nothing. */
  push(piece: string): StopStep {
    if (this.#stopped) return { text: '' };
    if (this.#stops.length === 0) return { text: piece };
    const text = this.#held + piece;
    const found = firstStop(text, this.#stops);
    if (found !== undefined) {
      this.#stopped = true;
      this.#held = '';
      return { text: text.slice(0, found.start), stop: found.stop };
    }
    const certain = text.length - possibleStart(text, this.#stops);
    this.#held = text.slice(certain);
    return { text: text.slice(0, certain) };
  }

  /** What was held back, when the text is over and no stop string came of it. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }
}

function firstStop(text: string, stops: readonly string[]): { start: number; stop: string } | undefined {
  let best: { start: number; stop: string } | undefined;
  for (const stop of stops) {
    const start = text.indexOf(stop);
    if (start < 0) continue;
    const end = start + stop.length;
    const bestEnd = best === undefined ? Number.POSITIVE_INFINITY : best.start + best.stop.length;
    if (end < bestEnd || (end === bestEnd && best !== undefined && start < best.start))
      best = { start, stop };
  }
  return best;
}

/** Length of the longest end of `text` that begins a stop string. */
function possibleStart(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(stop.slice(0, length))) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}
