/**
 * Owns: what a grammar is compiled to: places joined by automata, with rules that call each other.
 * Refuses to know: JSON, schemas, tokens, how it is run.
 */
import { HadalError } from '../../error.ts';
import { type Automaton, acceptsNothing } from './automaton.ts';
import type { Budget } from './budget.ts';

/** How many characters of a JSON string are between its quotes. */
export interface Span {
  readonly min: number;
  readonly max: number;
}

/** A place of a grammar; `next` and the like are numbers of places, `rule` is one of a rule. */
export type Place =
  /** A text of a language. With `span` it is a JSON string of so many characters. */
  | { readonly kind: 'text'; readonly automaton: Automaton; readonly span?: Span; readonly next: number }
  /** A token by its id, whatever its text. */
  | { readonly kind: 'token'; readonly id: number; readonly next: number }
  | { readonly kind: 'fork'; readonly options: readonly number[] }
  | { readonly kind: 'call'; readonly rule: number; readonly next: number }
  /** `body` once, then `again` up to `max` times in all, at least `min` times; both end in a return. */
  | {
      readonly kind: 'loop';
      readonly body: number;
      readonly again: number;
      readonly min: number;
      readonly max: number;
      readonly next: number;
    }
  | { readonly kind: 'return' };

/** A whole grammar. */
export interface Network {
  readonly places: readonly Place[];
  /** The first place of each rule. */
  readonly rules: readonly number[];
  readonly start: number;
  /** How deep calls must nest at least, from each place to the end of its rule. [places] */
  readonly depth: Float64Array;
}

/** How deep calls may nest. A list with counted items takes a level too. */
export const MOST_DEPTH = 128;

/** Puts a network together, from its end to its start. */
export class NetworkBuilder {
  readonly #budget: Budget;
  readonly #places: Place[] = [];
  readonly #rules: number[] = [];
  readonly returning: number;

  constructor(budget: Budget) {
    this.#budget = budget;
    this.returning = this.add({ kind: 'return' });
  }

  add(place: Place): number {
    this.#budget.spend('places', place.kind === 'fork' ? 1 + place.options.length : 1);
    return this.#places.push(place) - 1;
  }

  text(automaton: Automaton, next: number): number {
    return this.add({ kind: 'text', automaton, next });
  }

  fork(options: readonly number[]): number {
    return options.length === 1 ? options[0]! : this.add({ kind: 'fork', options });
  }

  /** A fork whose options are still to come. */
  openFork(): { readonly place: number; add(option: number): void } {
    const options: number[] = [];
    const place = this.add({ kind: 'fork', options });
    return {
      place,
      add: (option) => {
        this.#budget.spend('places');
        options.push(option);
      },
    };
  }

  /** A rule whose start is still to come. */
  rule(): number {
    return this.#rules.push(-1) - 1;
  }

  begin(rule: number, start: number): void {
    this.#rules[rule] = start;
  }

  /**
   * Any number of `part`, at least one where `min` is, with `separator` between.
   *
   * @param part makes the part that goes on to a place
   * @param again the same with what stands between two parts before it
   */
  repeated(
    part: (next: number) => number,
    again: (next: number) => number,
    { min, max }: Span,
    next: number,
  ): number {
    if (max === 0) return next;
    if (max === Number.POSITIVE_INFINITY && min <= 1) {
      const after = this.openFork();
      after.add(again(after.place));
      after.add(next);
      const first = part(after.place);
      return min === 0 ? this.fork([first, next]) : first;
    }
    const body = part(this.returning);
    return this.add({ kind: 'loop', body, again: again(this.returning), min, max, next });
  }

  /** Throws `grammar-unsatisfiable` where no text fits. */
  finish(start: number): Network {
    const depth = depths(this.#places, this.#rules);
    if (depth[start]! > MOST_DEPTH) {
      throw new HadalError('grammar-unsatisfiable', {
        what: 'the schema or pattern',
        expected: `one that a text can fulfil with at most ${MOST_DEPTH} levels of nesting`,
        got: 'one that none fulfils',
        next: 'look for bounds or required properties that contradict each other',
      });
    }
    return { places: this.#places, rules: this.#rules, start, depth };
  }
}

/** How deep calls must nest from each place to the end of its rule; infinite where there is no way. */
function depths(places: readonly Place[], rules: readonly number[]): Float64Array {
  const depth = new Float64Array(places.length).fill(Number.POSITIVE_INFINITY);
  const before: number[][] = places.map(() => []);
  for (const [place, one] of places.entries()) {
    for (const target of targetsOf(one, rules)) before[target]!.push(place);
  }
  const queue = Array.from(places.keys());
  for (let place = queue.pop(); place !== undefined; place = queue.pop()) {
    const better = depthOf(places[place]!, depth, rules);
    if (better >= depth[place]!) continue;
    depth[place] = better;
    queue.push(...before[place]!);
  }
  return depth;
}

function targetsOf(place: Place, rules: readonly number[]): readonly number[] {
  switch (place.kind) {
    case 'text':
    case 'token':
      return [place.next];
    case 'fork':
      return place.options;
    case 'call':
      return [rules[place.rule]!, place.next];
    case 'loop':
      return [place.body, place.again, place.next];
    case 'return':
      return [];
  }
}

function depthOf(place: Place, depth: Float64Array, rules: readonly number[]): number {
  const of = (target: number) => depth[target]!;
  switch (place.kind) {
    case 'return':
      return 0;
    case 'text':
      return acceptsNothing(place.automaton) || (place.span !== undefined && place.span.min > place.span.max)
        ? Number.POSITIVE_INFINITY
        : of(place.next);
    case 'token':
      return of(place.next);
    case 'fork':
      return place.options.reduce((least, option) => Math.min(least, of(option)), Number.POSITIVE_INFINITY);
    case 'call':
      return Math.max(1 + of(rules[place.rule]!), of(place.next));
    case 'loop': {
      const { min, max, body, again, next } = place;
      if (min > max) return Number.POSITIVE_INFINITY;
      if (min === 0) return of(next);
      return Math.max(1 + of(body), min > 1 ? 1 + of(again) : 0, of(next));
    }
  }
}
