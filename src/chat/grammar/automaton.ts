/**
 * Owns: deterministic automata over bytes: made from regular expressions, intersected, subtracted.
 * Refuses to know: tokens, JSON, what a language means.
 */
import type { Budget } from './budget.ts';
import { type Nfa, type NfaState, thompson } from './nfa.ts';
import type { Regular } from './regular.ts';

/** No state. */
export const DEAD = 0xffff;

/** A deterministic automaton; state 0 is the first. From every state that can be reached, an accepting one can be. */
export interface Automaton {
  readonly states: number;
  /** Bytes that no state tells apart have the same class. [256] */
  readonly classOf: Uint8Array;
  readonly classes: number;
  /** [states, classes] */
  readonly next: Uint16Array;
  /** 1 where the text may end. [states] */
  readonly accepting: Uint8Array;
  /** 1 where the text may go on. [states] */
  readonly leading: Uint8Array;
}

/** The state after a byte, or {@link DEAD}. */
export function stepByte({ next, classes, classOf }: Automaton, state: number, byte: number): number {
  return next[state * classes + classOf[byte]!]!;
}

/** Whether an automaton accepts nothing at all, not even the empty text. */
export function acceptsNothing({ states }: Automaton): boolean {
  return states === 0;
}

/** Whether an automaton accepts a text. Example: `accepts(automaton, new TextEncoder().encode('a'))`. */
export function accepts(automaton: Automaton, bytes: Uint8Array): boolean {
  if (acceptsNothing(automaton)) return false;
  let state = 0;
  for (const byte of bytes) {
    state = stepByte(automaton, state, byte);
    if (state === DEAD) return false;
  }
  return automaton.accepting[state] === 1;
}

/**
 * The automaton of a language.
 *
 * @throws HadalError `grammar-too-large`
 * @example automatonOf(literal('null'), new Budget());
 */
export function automatonOf(regular: Regular, budget: Budget): Automaton {
  const nfa = thompson(regular, budget);
  const { classOf, firstBytes } = byteClasses(nfa.states);
  const classes = firstBytes.length;
  const table = new Table(classes, budget);
  const sets: Int32Array[] = [];
  /** States by their set, and by the targets of edges that lead there. */
  const known = new Map<string, number>();
  const reached = new Map<string, number>();
  const closure = new Closure(nfa, budget);
  const stateOf = (seeds: readonly number[]): number => {
    if (seeds.length === 0) return DEAD;
    budget.spend('work', seeds.length);
    const seedKey = seeds.join();
    const state = reached.get(seedKey) ?? stateOfSet(closure.of(seeds));
    reached.set(seedKey, state);
    return state;
  };
  const stateOfSet = (set: Int32Array): number => {
    budget.spend('work', 4 * set.length);
    const key = set.join();
    let state = known.get(key);
    if (state === undefined) {
      state = table.add(set.includes(nfa.end));
      sets.push(set);
      known.set(key, state);
    }
    return state;
  };
  stateOf([nfa.start]);
  for (let state = 0; state < sets.length; state++) {
    const set = sets[state]!;
    const targets: number[][] = Array.from({ length: classes }, () => []);
    for (const from of set) {
      for (const { first, last, target } of nfa.states[from]!.edges) {
        budget.spend('work', 1 + classOf[last]! - classOf[first]!);
        for (let c = classOf[first]!; c <= classOf[last]!; c++) targets[c]!.push(target);
      }
    }
    for (let c = 0; c < classes; c++) {
      budget.spend('work');
      table.set(state, c, stateOf(targets[c]!));
    }
  }
  return table.trimmed(classOf);
}

/** The texts that both accept. Throws `grammar-too-large`. */
export function intersection(a: Automaton, b: Automaton, budget: Budget): Automaton {
  return product(a, b, budget, (inA, inB) => inA && inB, false);
}

/** The texts that `a` accepts and `b` does not. Throws `grammar-too-large`. */
export function difference(a: Automaton, b: Automaton, budget: Budget): Automaton {
  return product(a, b, budget, (inA, inB) => inA && !inB, true);
}

function product(
  a: Automaton,
  b: Automaton,
  budget: Budget,
  accepting: (inA: boolean, inB: boolean) => boolean,
  goesOnWithoutB: boolean,
): Automaton {
  const pairClass = new Map<number, number>();
  const firstBytes: number[] = [];
  const classOf = Uint8Array.from({ length: 256 }, (_, byte) => {
    const key = a.classOf[byte]! * 256 + b.classOf[byte]!;
    if (!pairClass.has(key)) pairClass.set(key, firstBytes.push(byte) - 1);
    return pairClass.get(key)!;
  });
  const table = new Table(firstBytes.length, budget);
  const known = new Map<number, number>();
  const pairsOf: (readonly [number, number])[] = [];
  const stateOf = (inA: number, inB: number): number => {
    if (inA === DEAD || (inB === DEAD && !goesOnWithoutB)) return DEAD;
    const key = inA * 0x10000 + inB;
    let state = known.get(key);
    if (state === undefined) {
      state = table.add(accepting(a.accepting[inA] === 1, inB !== DEAD && b.accepting[inB] === 1));
      known.set(key, state);
      pairsOf.push([inA, inB]);
    }
    return state;
  };
  stateOf(acceptsNothing(a) ? DEAD : 0, acceptsNothing(b) ? DEAD : 0);
  for (let state = 0; state < pairsOf.length; state++) {
    const [inA, inB] = pairsOf[state]!;
    budget.spend('work', firstBytes.length);
    for (const [c, byte] of firstBytes.entries()) {
      table.set(state, c, stateOf(stepByte(a, inA, byte), inB === DEAD ? DEAD : stepByte(b, inB, byte)));
    }
  }
  return table.trimmed(classOf);
}

/** A growing transition table. */
class Table {
  readonly #classes: number;
  readonly #budget: Budget;
  #next: Uint16Array;
  readonly #accepting: number[] = [];

  constructor(classes: number, budget: Budget) {
    this.#classes = classes;
    this.#budget = budget;
    this.#next = new Uint16Array(classes * 16).fill(DEAD);
  }

  add(accepting: boolean): number {
    const state = this.#accepting.push(accepting ? 1 : 0) - 1;
    this.#budget.spend('cells', state < DEAD ? this.#classes : Number.POSITIVE_INFINITY);
    const needed = (state + 1) * this.#classes;
    if (needed > this.#next.length) {
      const larger = new Uint16Array(needed * 2).fill(DEAD);
      larger.set(this.#next);
      this.#next = larger;
    }
    return state;
  }

  set(state: number, byteClass: number, target: number): void {
    this.#next[state * this.#classes + byteClass] = target;
  }

  /** The automaton without the states from which nothing is accepted. */
  trimmed(classOf: Uint8Array): Automaton {
    const states = this.#accepting.length;
    const classes = this.#classes;
    const live = liveStates(this.#next, states, classes, this.#accepting);
    if (states === 0 || live[0] === 0) {
      return finished({ states: 0, classOf, classes, next: new Uint16Array(), accepting: new Uint8Array() });
    }
    const numbers = new Uint16Array(states).fill(DEAD);
    let kept = 0;
    for (let state = 0; state < states; state++) if (live[state] === 1) numbers[state] = kept++;
    const next = new Uint16Array(kept * classes);
    const accepting = new Uint8Array(kept);
    for (let state = 0; state < states; state++) {
      if (live[state] === 0) continue;
      const row = numbers[state]! * classes;
      accepting[numbers[state]!] = this.#accepting[state]!;
      for (let c = 0; c < classes; c++) {
        const target = this.#next[state * classes + c]!;
        next[row + c] = target === DEAD ? DEAD : numbers[target]!;
      }
    }
    return finished({ states: kept, classOf, classes, next, accepting });
  }
}

/** Adds what follows from the table. */
export function finished(automaton: Omit<Automaton, 'leading'>): Automaton {
  const { states, classes, next } = automaton;
  const leading = new Uint8Array(states);
  for (let i = 0; i < next.length; i++) if (next[i] !== DEAD) leading[Math.floor(i / classes)] = 1;
  return { ...automaton, leading };
}

/** 1 for states from which an accepting one can be reached. [states] */
function liveStates(
  next: Uint16Array,
  states: number,
  classes: number,
  accepting: readonly number[],
): Uint8Array {
  const before: number[][] = Array.from({ length: states }, () => []);
  for (let state = 0; state < states; state++) {
    let last = DEAD;
    for (let c = 0; c < classes; c++) {
      const target = next[state * classes + c]!;
      if (target !== DEAD && target !== last) before[target]!.push(state);
      last = target;
    }
  }
  const live = Uint8Array.from(accepting);
  const queue = Array.from(accepting.keys()).filter((state) => accepting[state] === 1);
  for (let state = queue.pop(); state !== undefined; state = queue.pop()) {
    for (const from of before[state]!) {
      if (live[from] === 1) continue;
      live[from] = 1;
      queue.push(from);
    }
  }
  return live;
}

/** Sets of NFA states that are reached without reading, reduced to those that read or are the end. */
class Closure {
  readonly #nfa: Nfa;
  readonly #budget: Budget;
  readonly #seen: Int32Array;
  #round = 0;

  constructor(nfa: Nfa, budget: Budget) {
    this.#nfa = nfa;
    this.#budget = budget;
    this.#seen = new Int32Array(nfa.states.length);
  }

  of(seeds: readonly number[]): Int32Array {
    const round = ++this.#round;
    const stack = [...seeds];
    const found: number[] = [];
    let steps = 0;
    for (let state = stack.pop(); state !== undefined; state = stack.pop()) {
      steps++;
      if (this.#seen[state] === round) continue;
      this.#seen[state] = round;
      const { free, edges } = this.#nfa.states[state]!;
      if (edges.length > 0 || free.length === 0) found.push(state);
      stack.push(...free);
    }
    this.#budget.spend('work', steps);
    const all = Int32Array.from(found).sort();
    const open = this.#nfa.rests.find(({ from, to }) => all.some((state) => from <= state && state < to));
    return open === undefined ? all : all.filter((state) => state < open.to);
  }
}

/** Classes of bytes that no edge tells apart, numbered by their first byte. */
function byteClasses(states: readonly NfaState[]): { classOf: Uint8Array; firstBytes: number[] } {
  const begins = new Uint8Array(257);
  begins[0] = 1;
  for (const { first, last } of states.flatMap(({ edges }) => edges)) {
    begins[first] = 1;
    begins[last + 1] = 1;
  }
  const firstBytes: number[] = [];
  const classOf = Uint8Array.from({ length: 256 }, (_, byte) => {
    if (begins[byte] === 1) firstBytes.push(byte);
    return firstBytes.length - 1;
  });
  return { classOf, firstBytes };
}
