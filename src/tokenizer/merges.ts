/**
 * Owns: the merge rules of a byte-pair vocabulary and their application to one piece.
 * Refuses to know: pre-tokenizers, special tokens, text beyond token texts.
 *
 * Merging takes the lowest rank first and the leftmost of equal ranks. Short pieces are scanned, long ones use a
 * heap, so that a piece of n bytes takes O(n log n).
 */
import { HadalError } from '../error.ts';
import { hashText, MOST_PROBES } from './text-table.ts';
import { finished, type Steps } from './tokenizer.ts';
import { MOST_TOKENS, type Vocabulary } from './vocabulary.ts';

/** Pieces of up to this many bytes are merged by scanning, which is faster there. */
const SCAN_BYTES = 40;

/** Merges of one step. */
const STEP_MERGES = 1 << 13;

/** Positions in a heap key are below this; ranks times this stay exact. */
const POSITIONS = 2 ** 31;

/** A table from pairs of adjacent tokens to rank and merged token. */
export class Merges {
  readonly #mask: number;
  readonly #slots: Int32Array; // [capacity] row of the rule plus 1, or 0
  readonly #left: Int32Array; // [rules]
  readonly #right: Int32Array; // [rules]
  readonly #merged: Int32Array; // [rules]

  /**
   * @param rules `"left right"` as GGUF and older tokenizer.json write them, or pairs; in order of rank.
   * @throws HadalError `tokenizer-merges` when a rule names a token that the vocabulary lacks.
   */
  constructor(rules: readonly (string | readonly [string, string])[], vocabulary: Vocabulary) {
    const count = rules.length;
    if (count > MOST_TOKENS) throw bad('the number of merges', `at most ${MOST_TOKENS}`, `${count}`);
    let capacity = 16;
    while (capacity < count * 2) capacity *= 2;
    this.#mask = capacity - 1;
    this.#slots = new Int32Array(capacity);
    this.#left = new Int32Array(count);
    this.#right = new Int32Array(count);
    this.#merged = new Int32Array(count);
    for (let rank = 0; rank < count; rank++) this.#add(rules[rank] as string, rank, vocabulary);
  }

  /** Number of rules. */
  get size(): number {
    return this.#merged.length;
  }

  /**
   * Merges the first `count` ids of `ids` in place and returns how many are left.
   *
   * @example merges.apply(Int32Array.of(h, e), 2) // 1 where "h e" is a rule
   */
  apply(ids: Int32Array, count: number): number {
    if (count < 2) return count;
    return count <= SCAN_BYTES ? this.#scan(ids, count) : finished(this.applyInSteps(ids, count));
  }

  /** Rank of the pair, or -1. */
  #rank(left: number, right: number): number {
    const mask = this.#mask;
    let slot = hash(left, right) & mask;
    for (let row = this.#slots[slot] as number; row !== 0; row = this.#slots[slot] as number) {
      if (this.#left[row - 1] === left && this.#right[row - 1] === right) return row - 1;
      slot = (slot + 1) & mask;
    }
    return -1;
  }

  #add(rule: string | readonly [string, string], rank: number, vocabulary: Vocabulary): void {
    const text = typeof rule === 'string' ? rule : `${rule[0]} ${rule[1]}`;
    const space = typeof rule === 'string' ? rule.indexOf(' ', 1) : rule[0].length;
    const end = text.length;
    if (space < 1 || space >= end - 1) {
      throw bad(`merge ${rank}`, 'two tokens with a space between', quote(text));
    }
    const { table } = vocabulary;
    const leftHash = hashText(text, 0, space);
    const leftId = table.findParts(text, 0, space, 0, 0, leftHash);
    const rightId = table.findParts(text, space + 1, end, 0, 0, hashText(text, space + 1, end));
    const mergedHash = hashText(text, space + 1, end, leftHash);
    const mergedId = table.findParts(text, 0, space, space + 1, end, mergedHash);
    if (leftId < 0 || rightId < 0 || mergedId < 0) {
      throw bad(`merge ${rank}`, 'two tokens of the vocabulary that make a third', quote(text));
    }
    this.#left[rank] = leftId;
    this.#right[rank] = rightId;
    this.#merged[rank] = mergedId;
    let slot = hash(leftId, rightId) & this.#mask;
    for (let probes = 0; this.#slots[slot] !== 0; probes++) {
      const row = (this.#slots[slot] as number) - 1;
      if (this.#left[row] === leftId && this.#right[row] === rightId) return; // a repeated rule keeps its first rank
      if (probes > MOST_PROBES)
        throw bad('the merges', 'pairs of no particular order', 'pairs chosen to collide');
      slot = (slot + 1) & this.#mask;
    }
    this.#slots[slot] = rank + 1;
  }

  #scan(ids: Int32Array, count: number): number {
    const ranks: number[] = []; // rank of the pair that starts at each position, or -1
    for (let i = 0; i + 1 < count; i++) ranks.push(this.#rank(ids[i] as number, ids[i + 1] as number));
    let length = count;
    for (;;) {
      let best = -1;
      let bestRank = MOST_TOKENS;
      for (let i = 0; i + 1 < length; i++) {
        const rank = ranks[i] as number;
        if (rank >= 0 && rank < bestRank) {
          bestRank = rank;
          best = i;
        }
      }
      if (best < 0) return length;
      ids[best] = this.#merged[bestRank] as number;
      ids.copyWithin(best + 1, best + 2, length);
      length--;
      for (let i = best + 1; i + 1 < length; i++) ranks[i] = ranks[i + 1] as number;
      if (best > 0) ranks[best - 1] = this.#rank(ids[best - 1] as number, ids[best] as number);
      if (best + 1 < length) ranks[best] = this.#rank(ids[best] as number, ids[best + 1] as number);
    }
  }

  /** As {@link Merges.apply}, in steps of some milliseconds: for long pieces. */
  *applyInSteps(ids: Int32Array, count: number): Steps<number> {
    const next = new Int32Array(count); // position of the next live id, count at the end
    const previous = new Int32Array(count); // -1 at the start
    const heap = new MinHeap(count * 3);
    for (let i = 0; i < count; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
      if (i + 1 < count) this.#offer(heap, ids, i, i + 1);
      if (i % STEP_MERGES === STEP_MERGES - 1) yield;
    }
    let merges = 0;
    for (let key = heap.pop(); key !== undefined; key = heap.pop()) {
      const at = key % POSITIONS;
      const rank = (key - at) / POSITIONS;
      const right = next[at] as number;
      // An entry is stale when either side was merged since: ids of dead positions are -1.
      if (++merges % STEP_MERGES === 0) yield;
      if (right >= count || ids[at] !== this.#left[rank] || ids[right] !== this.#right[rank]) continue;
      ids[at] = this.#merged[rank] as number;
      ids[right] = -1;
      const after = next[right] as number;
      next[at] = after;
      if (after < count) {
        previous[after] = at;
        this.#offer(heap, ids, at, after);
      }
      const before = previous[at] as number;
      if (before >= 0) this.#offer(heap, ids, before, at);
    }
    let length = 0;
    for (let i = 0; i < count; i = next[i] as number) ids[length++] = ids[i] as number;
    return length;
  }

  #offer(heap: MinHeap, ids: Int32Array, left: number, right: number): void {
    const rank = this.#rank(ids[left] as number, ids[right] as number);
    if (rank >= 0) heap.push(rank * POSITIONS + left);
  }
}

/** A binary heap of numbers, smallest first. */
class MinHeap {
  readonly #keys: Float64Array;
  #size = 0;

  constructor(capacity: number) {
    this.#keys = new Float64Array(capacity);
  }

  push(key: number): void {
    const keys = this.#keys;
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((keys[parent] as number) <= key) break;
      keys[at] = keys[parent] as number;
      at = parent;
    }
    keys[at] = key;
  }

  pop(): number | undefined {
    if (this.#size === 0) return undefined;
    const keys = this.#keys;
    const top = keys[0] as number;
    const last = keys[--this.#size] as number;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#size) break;
      if (child + 1 < this.#size && (keys[child + 1] as number) < (keys[child] as number)) child++;
      if ((keys[child] as number) >= last) break;
      keys[at] = keys[child] as number;
      at = child;
    }
    keys[at] = last;
    return top;
  }
}

function hash(left: number, right: number): number {
  const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca77);
  return Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d) >>> 7;
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 40));

function bad(what: string, expected: string, got: string): HadalError {
  return new HadalError('tokenizer-merges', { what, expected, got, next: 'use an intact model file' });
}
