/**
 * Owns: finding whole tokens written in a text: leftmost first, the longest at one place.
 * Refuses to know: which kinds of tokens are looked for and why.
 */

interface Node {
  id: number; // -1: no token ends here
  readonly next: Map<number, Node>; // by UTF-16 unit
}

/** A token found in a text, `[start, end)` in UTF-16 units. */
export interface Cut {
  readonly start: number;
  readonly end: number;
  readonly id: number;
}

/** A prefix tree over token texts. */
export class TokenCutter {
  readonly #root: Node = { id: -1, next: new Map() };

  constructor(tokens: Iterable<readonly [text: string, id: number]>) {
    for (const [text, id] of tokens) {
      if (text === '') continue;
      let node = this.#root;
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i);
        let child = node.next.get(unit);
        if (child === undefined) {
          child = { id: -1, next: new Map() };
          node.next.set(unit, child);
        }
        node = child;
      }
      node.id = id;
    }
  }

  /**
   * The first token of `text[from, to)`, or undefined.
   *
   * @example new TokenCutter([['<a>', 7]]).find('x<a>', 0, 4) // { start: 1, end: 4, id: 7 }
   */
  find(text: string, from: number, to: number): Cut | undefined {
    const first = this.#root.next;
    if (first.size === 0) return undefined;
    for (let start = from; start < to; start++) {
      let node = first.get(text.charCodeAt(start));
      let found: Cut | undefined;
      for (let end = start + 1; node !== undefined; end++) {
        if (node.id >= 0) found = { start, end, id: node.id };
        node = end < to ? node.next.get(text.charCodeAt(end)) : undefined;
      }
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
