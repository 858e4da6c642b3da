/**
 * Owns: regular expressions as automata that may be in several states at once, characters written in UTF-8.
 * Refuses to know: how they are made deterministic.
 */
import type { Budget } from './budget.ts';
import { type CharSet, pairs } from './char-set.ts';
import type { Regular } from './regular.ts';

/** Goes on to a state with a byte from `first` to `last`. */
export interface Edge {
  readonly first: number;
  readonly last: number;
  readonly target: number;
}

/** A state: either reads one byte, or goes on without reading. */
export interface NfaState {
  readonly edges: readonly Edge[];
  /** States that are reached without reading. */
  readonly free: number[];
}

/** Thompson's construction. */
export interface Nfa {
  readonly states: readonly NfaState[];
  readonly start: number;
  /** The one state where the text may end. */
  readonly end: number;
  /**
   * For each `rest`, its states [from, to). Whoever is in one of them may forget all states from `to` on: they were made
   * for what stands before or beside it, and read nothing that it does not.
   */
  readonly rests: readonly { readonly from: number; readonly to: number }[];
}

/**
 * The automaton of an expression. Counted repetition is written out.
 *
 * @throws HadalError `grammar-too-large`
 */
export function thompson(regular: Regular, budget: Budget): Nfa {
  const states: NfaState[] = [];
  const rests: { from: number; to: number }[] = [];
  const add = (edges: readonly Edge[], free: number[]): number => {
    budget.spend('work', 20 + edges.length);
    return states.push({ edges, free }) - 1;
  };
  const pass = (...free: number[]) => add([], free);
  /** The first state of a part that goes on to `to`. */
  const build = (part: Regular, to: number): number => {
    switch (part.kind) {
      case 'set':
        return set(part.set, to);
      case 'sequence':
        return part.parts.reduceRight((next, one) => build(one, next), to);
      case 'choice':
        return pass(...part.options.map((option) => build(option, to)));
      case 'repeat':
        return repeated(part.part, part.min, part.max, to);
      case 'rest': {
        const from = states.length;
        const start = repeated(part.part, 0, Number.POSITIVE_INFINITY, to);
        rests.push({ from, to: states.length });
        return start;
      }
    }
  };
  const repeated = (part: Regular, min: number, max: number, to: number): number => {
    let next = to;
    if (max === Number.POSITIVE_INFINITY) {
      next = pass();
      states[next]!.free.push(build(part, next), to);
    } else {
      for (let i = min; i < max; i++) next = pass(build(part, next), to);
    }
    for (let i = 0; i < min; i++) next = build(part, next);
    return next;
  };
  const templates = new Map<CharSet, Template>();
  const set = (chars: CharSet, to: number): number => {
    const template = templates.get(chars) ?? templateOf(chars);
    templates.set(chars, template);
    const base = states.length;
    for (const edges of template) {
      const placed = edges.map(({ first, last, target }) => ({
        first,
        last,
        target: target === TO ? to : base + target,
      }));
      add(placed, []);
    }
    return states.length - 1;
  };
  const end = pass();
  const start = build(regular, end);
  return { states, start, end, rests };
}

/** Target of edges that end a character. */
const TO = -1;
/** The states that read one character of a set, by their edges; the first state comes last. */
type Template = readonly (readonly Edge[])[];

function templateOf(chars: CharSet): Template {
  const states: (readonly Edge[])[] = [];
  // States that read the same are one.
  const known = new Map<string, number>();
  const reading = (sequences: readonly (readonly ByteRange[])[], at: number): number => {
    const edges: Edge[] = [];
    for (let i = 0; i < sequences.length; ) {
      const [first, last] = sequences[i]![at]!;
      // Sequences are in order and disjoint: those that share a first byte follow each other, and share its range.
      let end = i + 1;
      while (end < sequences.length && sequences[end]![at]![0] === first) end++;
      const target = sequences[i]!.length === at + 1 ? TO : reading(sequences.slice(i, end), at + 1);
      edges.push({ first, last, target });
      i = end;
    }
    const key = edges.map(({ first, last, target }) => `${first}-${last}>${target}`).join();
    const state = known.get(key) ?? states.push(edges) - 1;
    known.set(key, state);
    return state;
  };
  reading(
    pairs(chars).flatMap(([first, last]) => utf8Ranges(first, last)),
    0,
  );
  return states;
}

type ByteRange = readonly [first: number, last: number];

/**
 * UTF-8 of the characters from `first` to `last`, as sequences of byte ranges. The method is that of RE2 and of the
 * crate utf8-ranges: cut where the number of bytes changes, then where a lower byte does not run through all its values.
 */
function utf8Ranges(first: number, last: number): ByteRange[][] {
  for (const most of [0x7f, 0x7ff, 0xffff]) {
    if (first <= most && most < last) return [...utf8Ranges(first, most), ...utf8Ranges(most + 1, last)];
  }
  if (last > 0x7f) {
    for (let bits = 6; bits <= 18; bits += 6) {
      const low = (1 << bits) - 1;
      if ((first & ~low) === (last & ~low)) break;
      if ((first & low) !== 0)
        return [...utf8Ranges(first, first | low), ...utf8Ranges((first | low) + 1, last)];
      if ((last & low) !== low)
        return [...utf8Ranges(first, (last & ~low) - 1), ...utf8Ranges(last & ~low, last)];
    }
  }
  const from = utf8(first);
  const to = utf8(last);
  return [from.map((byte, i) => [byte, to[i]!] as const)];
}

function utf8(code: number): number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(code))];
}
