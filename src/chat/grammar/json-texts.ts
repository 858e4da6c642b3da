/**
 * Owns: the automata of the pieces JSON is written with: brackets, keys, strings, numbers, white space.
 * Refuses to know: how values are put together, schemas.
 */
import { type Automaton, automatonOf, DEAD, difference, finished, intersection } from './automaton.ts';
import type { Budget } from './budget.ts';
import { ANY_CHAR } from './char-set.ts';
import { atLeast, atMost, INTEGER, NUMBER, PLAIN_NUMBER } from './decimal.ts';
import type { Facts } from './facts.ts';
import { FORMATS } from './formats.ts';
import { parseRegex } from './regex.ts';
import {
  choice,
  insideJson,
  JSON_CHAR,
  literal,
  oneOf,
  optional,
  type Regular,
  repeat,
  sequence,
} from './regular.ts';

/** Deepest indentation in spaces. */
const INDENTATION = 32;

/** Between the parts of an object or list: nothing, one space, or a new line with indentation. */
const BLANK = optional(choice(literal(' '), sequence(literal('\n'), repeat(literal(' '), 0, INDENTATION))));
const QUOTE = literal('"');
const ANY_JSON_CHAR = insideJson(oneOf(ANY_CHAR));

/** Makes the pieces of one grammar, each once. */
export class JsonTexts {
  readonly #budget: Budget;
  readonly #made = new Map<string, Automaton>();

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** A bracket that opens something with contents. */
  opening(bracket: '{' | '['): Automaton {
    return this.#once(bracket, () => sequence(literal(bracket), BLANK));
  }

  closing(bracket: '}' | ']'): Automaton {
    return this.#once(bracket, () => sequence(BLANK, literal(bracket)));
  }

  comma(): Automaton {
    return this.#once(',', () => sequence(literal(','), BLANK));
  }

  /** Exactly this text. */
  exactly(text: string): Automaton {
    return this.#once(`exactly ${text}`, () => this.#literal(text));
  }

  /** One of several texts. */
  oneOf(texts: readonly string[]): Automaton {
    return this.#once(`one of ${JSON.stringify(texts)}`, () =>
      choice(...texts.map((text) => this.#literal(text))),
    );
  }

  /** The name of a property and its colon. */
  key(name: string): Automaton {
    return this.#once(`key ${name}`, () => keyOf(this.#literal(JSON.stringify(name))));
  }

  /** Any other name and its colon, in the spelling of `JSON.stringify`. */
  keyOtherThan(names: readonly string[]): Automaton {
    return this.#kept(`key other than ${JSON.stringify(names)}`, () => {
      const any = automatonOf(keyOf(sequence(QUOTE, repeat(ANY_JSON_CHAR, 0), QUOTE)), this.#budget);
      const known = choice(...names.map((name) => this.#literal(JSON.stringify(name))));
      return difference(any, automatonOf(keyOf(known), this.#budget), this.#budget);
    });
  }

  /** A string in any spelling. */
  string(): Automaton {
    return this.#once('string', () => sequence(QUOTE, repeat(JSON_CHAR, 0), QUOTE));
  }

  /**
   * A string that fits patterns, formats and a length, in the spelling of `JSON.stringify`.
   *
   * @throws HadalError what `parseRegex` throws, `grammar-too-large`
   */
  stringOf({ patterns, formats, min, max }: Facts['string']): Automaton {
    return this.#kept(`string ${JSON.stringify([patterns, formats, min, max])}`, () => {
      const inner: Regular[] = [
        ...patterns.map((pattern) => insideJson(parseRegex(pattern, 'search'))),
        ...formats.map((format) => insideJson(parseRegex(FORMATS.get(format)!, 'whole'))),
      ];
      if (min > 0 || max < Number.POSITIVE_INFINITY) inner.push(repeat(ANY_JSON_CHAR, min, max));
      return this.#all(inner.map((regular) => sequence(QUOTE, regular, QUOTE)));
    });
  }

  /** A number within bounds; without an exponent where there are any. */
  number({ lower, upper, multiples }: Facts['number'], integer: boolean): Automaton {
    const key = `number ${JSON.stringify([lower, upper, multiples, integer])}`;
    return this.#kept(key, () => {
      const whole = integer || multiples.length > 0;
      const bounded = lower.length + upper.length > 0;
      const base = whole ? INTEGER : bounded ? PLAIN_NUMBER : NUMBER;
      const all = this.#all([base, ...lower.map(atLeast), ...upper.map(atMost)]);
      return multiples.reduce((left, one) => intersection(left, multiplesOf(one), this.#budget), all);
    });
  }

  /** Long texts are refused before anything is made of them. */
  #literal(text: string): Regular {
    this.#budget.spend('work', 20 * text.length);
    return literal(text);
  }

  #all(regulars: readonly Regular[]): Automaton {
    const [first, ...others] = regulars.map((regular) => automatonOf(regular, this.#budget));
    return others.reduce((left, one) => intersection(left, one, this.#budget), first!);
  }

  #once(key: string, make: () => Regular): Automaton {
    return this.#kept(key, () => automatonOf(make(), this.#budget));
  }

  #kept(key: string, make: () => Automaton): Automaton {
    let automaton = this.#made.get(key);
    if (automaton === undefined) {
      automaton = make();
      this.#made.set(key, automaton);
    }
    return automaton;
  }
}

const keyOf = (name: Regular): Regular => sequence(name, literal(':'), BLANK);

/** Whole numbers that a number divides, by their remainder; a minus first makes no difference. */
function multiplesOf(divisor: number): Automaton {
  const MINUS = 0x2d;
  const ZERO = 0x30;
  // Class 0 is no digit, 1 to 10 are the digits, 11 is the minus. State 0 is the start, 1 follows a minus.
  const classOf = new Uint8Array(256);
  for (let digit = 0; digit < 10; digit++) classOf[ZERO + digit] = digit + 1;
  classOf[MINUS] = 11;
  const classes = 12;
  const states = divisor + 2;
  const next = new Uint16Array(states * classes).fill(DEAD);
  const accepting = new Uint8Array(states);
  accepting[2] = 1;
  next[11] = 1;
  for (let state = 0; state < states; state++) {
    const remainder = Math.max(0, state - 2);
    for (let digit = 0; digit < 10; digit++) {
      next[state * classes + digit + 1] = 2 + ((remainder * 10 + digit) % divisor);
    }
  }
  return finished({ states, classOf, classes, next, accepting });
}
