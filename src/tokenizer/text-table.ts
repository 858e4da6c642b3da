/**
 * Owns: finding the id of a text, or of a part of a text, without making strings.
 * Refuses to know: what the texts are.
 *
 * A Map of strings would do, but building a vocabulary of 129,280 tokens asks for half a million substrings; hashing
 * them in place is five times faster.
 */

/** Lookups after which a chain is no accident: at half load the longest natural one is below a hundred. */
export const MOST_PROBES = 4096;

const OFFSET_BASIS = 0x811c9dc5 | 0;

/** FNV-1a over the UTF-16 units of `text[from, to)`, going on from `state`. */
export function hashText(text: string, from: number, to: number, state = OFFSET_BASIS): number {
  let hash = state;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

/** An open-addressing table over a list of texts; built once. */
export class TextTable {
  readonly #texts: readonly string[];
  readonly #hashes: Int32Array; // [texts]
  readonly #slots: Int32Array; // [capacity] id plus 1, or 0
  readonly #mask: number;
  /** Set when texts collide beyond chance; the table is of no use then. */
  readonly crowded: boolean = false;
  /** The first id whose text an earlier id has, or -1. */
  readonly duplicate: number = -1;

  /** @param texts the texts by id; empty ones are left out. */
  constructor(texts: readonly string[]) {
    let capacity = 16;
    while (capacity < texts.length * 2) capacity *= 2;
    this.#texts = texts;
    this.#mask = capacity - 1;
    this.#slots = new Int32Array(capacity);
    this.#hashes = new Int32Array(texts.length);
    for (let id = 0; id < texts.length; id++) {
      const text = texts[id] as string;
      if (text === '') continue;
      const hash = hashText(text, 0, text.length);
      let slot = this.#slotOf(hash);
      for (let probes = 0; this.#slots[slot] !== 0; probes++) {
        const other = (this.#slots[slot] as number) - 1;
        if (this.#hashes[other] === hash && texts[other] === text) {
          this.duplicate = id;
          return;
        }
        if (probes === MOST_PROBES) {
          this.crowded = true;
          return;
        }
        slot = (slot + 1) & this.#mask;
      }
      this.#hashes[id] = hash;
      this.#slots[slot] = id + 1;
    }
  }

  /** Id of a whole text, or -1. */
  find(text: string): number {
    return this.findParts(text, 0, text.length, 0, 0, hashText(text, 0, text.length));
  }

  /** Id of `text[from, to)` followed by `text[from2, to2)`, whose {@link hashText} is `hash`; -1 when there is none. */
  findParts(text: string, from: number, to: number, from2: number, to2: number, hash: number): number {
    const firstLength = to - from;
    const length = firstLength + to2 - from2;
    let slot = this.#slotOf(hash);
    for (let entry = this.#slots[slot] as number; entry !== 0; entry = this.#slots[slot] as number) {
      const id = entry - 1;
      const candidate = this.#texts[id] as string;
      if (
        this.#hashes[id] === hash &&
        candidate.length === length &&
        sameUnits(candidate, 0, text, from, firstLength) &&
        sameUnits(candidate, firstLength, text, from2, to2 - from2)
      ) {
        return id;
      }
      slot = (slot + 1) & this.#mask;
    }
    return -1;
  }

  #slotOf(hash: number): number {
    return (hash ^ (hash >>> 15)) & this.#mask;
  }
}

function sameUnits(a: string, atA: number, b: string, atB: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a.charCodeAt(atA + i) !== b.charCodeAt(atB + i)) return false;
  return true;
}
