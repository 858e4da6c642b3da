/**
 * Owns: which tokens may come next, from the places where a text may be.
 * Refuses to know: schemas, sampling, when a mask is wanted.
 *
 * For every state of an automaton the tokens that stay inside of it are found once and kept: they are the same wherever
 * its place is. Tokens that run beyond its end depend on what follows; of them only the nodes of the tree at which the
 * end can come are kept, and the walk goes on from there each time.
 */
import type { TokenMask } from '../../engine/constraint.ts';
import { type Automaton, DEAD, stepByte } from './automaton.ts';
import { countAfter, type Thread, type Threads } from './machine.ts';
import type { TokenTree } from './vocabulary.ts';

/** What the tokens are to one state of an automaton. */
interface TokenClasses {
  /** Tokens that stay inside: all of them, or their bits where they are many. */
  readonly inside: Int32Array | Uint32Array;
  readonly many: boolean;
  /** Nodes of the tree where the automaton may end and that have nodes below. */
  readonly exits: Int32Array;
}

/** Above so many tokens their bits are kept instead. */
const MANY = 1024;
/** Most bytes of kept classes, for one grammar. */
const MOST_KEPT_BYTES = 32 << 20;

/** Finds masks for one grammar and one vocabulary. */
export class Masker {
  readonly #tree: TokenTree;
  #kept = new Map<Automaton, Map<number, TokenClasses>>();
  #keptBytes = 0;
  readonly #ids: Int32Array;

  constructor(tree: TokenTree) {
    this.#tree = tree;
    this.#ids = new Int32Array(tree.vocabSize);
  }

  /** Sets the bits of the tokens that may come next. */
  mask(threads: Threads, allowed: TokenMask): void {
    for (const [index, thread] of threads.list.entries()) {
      if (thread.at.kind === 'token') {
        allow(allowed, thread.at.id);
        continue;
      }
      const { inside, many, exits } = this.#classes(thread);
      if (many) for (let word = 0; word < inside.length; word++) allowed[word]! |= inside[word]!;
      else for (const id of inside) allow(allowed, id);
      if (exits.length === 0) continue;
      const after = threads.afterPlace(index);
      if (after.list.length > 0) for (const node of exits) this.#walk(node, after, allowed);
    }
  }

  /** The tokens below a node, as far as they can be read from `threads`. */
  #walk(top: number, threads: Threads, allowed: TokenMask): void {
    const { byte, depth, end } = this.#tree;
    const topDepth = depth[top]!;
    const path = [threads];
    for (let node = top + 1; node < end[top]!; ) {
      const level = depth[node]! - topDepth;
      const after = path[level - 1]!.byte(byte[node]!);
      if (after.dead) {
        node = end[node]!;
        continue;
      }
      path[level] = after;
      this.#allowNode(node, allowed);
      node++;
    }
  }

  #allowNode(node: number, allowed: TokenMask): void {
    const id = this.#tree.token[node]!;
    if (id < 0) return;
    allow(allowed, id);
    for (const twin of this.#tree.twins.get(node) ?? []) allow(allowed, twin);
  }

  #classes({ at, state, count }: Thread): TokenClasses {
    if (at.kind !== 'text') throw new TypeError('a token has no classes');
    const { automaton, span } = at;
    // No token holds more characters than bytes: counts beyond that make no difference to it.
    const { longest } = this.#tree;
    const min = span === undefined ? 0 : Math.min(longest, Math.max(0, span.min - count));
    const max = span === undefined ? 0 : Math.min(longest, span.max - count);
    const side = longest + 1;
    const key = (span === undefined ? 0 : 1 + min * side + max) * automaton.states + state;
    let kept = this.#kept.get(automaton);
    if (kept === undefined) {
      kept = new Map();
      this.#kept.set(automaton, kept);
    }
    let classes = kept.get(key);
    if (classes === undefined) {
      classes = this.#find(automaton, state, span && { min, max });
      this.#keptBytes += 4 * (classes.inside.length + classes.exits.length) + 128;
      if (this.#keptBytes > MOST_KEPT_BYTES) {
        this.#kept = new Map();
        this.#keptBytes = 0;
      } else kept.set(key, classes);
    }
    return classes;
  }

  /** Walks the whole tree, with the characters that are left to a JSON string where it has a span. */
  #find(automaton: Automaton, from: number, span: { min: number; max: number } | undefined): TokenClasses {
    const { byte, depth, end, token, longest, vocabSize } = this.#tree;
    // A string that has more room than any token fills is one without an end.
    const bounds =
      span === undefined
        ? undefined
        : { min: span.min, max: span.max === longest ? Number.POSITIVE_INFINITY : span.max };
    const states = new Uint16Array(longest + 1);
    const counts = new Float64Array(longest + 1);
    states[0] = from;
    const exits: number[] = [];
    let found = 0;
    const twins: number[] = [];
    for (let node = 1; node < end[0]!; ) {
      const level = depth[node]!;
      const before = states[level - 1]!;
      const state = stepByte(automaton, before, byte[node]!);
      const count =
        state === DEAD
          ? -1
          : bounds === undefined
            ? 0
            : countAfter({ automaton }, bounds, before, state, counts[level - 1]!);
      if (count < 0) {
        node = end[node]!;
        continue;
      }
      states[level] = state;
      counts[level] = count;
      const id = token[node]!;
      if (id >= 0) {
        this.#ids[found++] = id;
        const same = this.#tree.twins.get(node);
        if (same !== undefined) twins.push(...same);
      }
      if (automaton.accepting[state] === 1 && end[node]! > node + 1) exits.push(node);
      node++;
    }
    const ids = this.#ids.subarray(0, found);
    const many = found + twins.length > MANY;
    if (!many) return { inside: Int32Array.from([...ids, ...twins]), many, exits: Int32Array.from(exits) };
    const bits = new Uint32Array(Math.ceil(vocabSize / 32));
    for (const id of ids) allow(bits, id);
    for (const id of twins) allow(bits, id);
    return { inside: bits, many, exits: Int32Array.from(exits) };
  }
}

function allow(mask: TokenMask, id: number): void {
  mask[id >> 5]! |= 1 << (id & 31);
}
