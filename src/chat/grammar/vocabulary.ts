/**
 * Owns: the bytes of all tokens of a vocabulary as a tree in flat arrays.
 * Refuses to know: grammars, masks.
 */
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** The longest token that takes part, in bytes; longer ones are runs of blanks and the like. */
const LONGEST = 255;

/**
 * Tokens as a tree of their bytes. Nodes are numbered depth first, so that the nodes below node n are n + 1 to
 * `end[n]` - 1; node 0 is the root. Control tokens do not take part.
 */
export interface TokenTree {
  readonly nodes: number;
  /** The last byte of each node's text. [nodes] */
  readonly byte: Uint8Array;
  /** Bytes of each node's text. [nodes] */
  readonly depth: Uint8Array;
  /** The node after all that are below. [nodes] */
  readonly end: Int32Array;
  /** A token with exactly this text, or -1. [nodes] */
  readonly token: Int32Array;
  /** Further tokens with the same text as `token`. */
  readonly twins: ReadonlyMap<number, readonly number[]>;
  readonly vocabSize: number;
  /** Bytes of the longest token. */
  readonly longest: number;
}

/**
 * The tree of a tokenizer's vocabulary.
 *
 * @example const tree = tokenTree(tokenizer); tree.token[tree.end[0] - 1];
 */
export function tokenTree(tokenizer: Tokenizer): TokenTree {
  const { vocabSize } = tokenizer;
  const tokens: { readonly key: string; readonly id: number }[] = [];
  for (let id = 0; id < vocabSize; id++) {
    if (tokenizer.isSpecial(id)) continue;
    const bytes = tokenizer.bytesOf(id);
    // One character for each byte, so that texts sort as their bytes do.
    if (bytes.length > 0 && bytes.length <= LONGEST) tokens.push({ key: String.fromCharCode(...bytes), id });
  }
  tokens.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.id - b.id));
  let longest = 0;
  let nodes = 1;
  let before = '';
  for (const { key } of tokens) {
    nodes += key.length - commonStart(before, key);
    longest = Math.max(longest, key.length);
    before = key;
  }
  const tree = {
    nodes,
    byte: new Uint8Array(nodes),
    depth: new Uint8Array(nodes),
    end: new Int32Array(nodes),
    token: new Int32Array(nodes).fill(-1),
    twins: new Map<number, number[]>(),
    vocabSize,
    longest,
  };
  /** Nodes of the text before, from the root. */
  const path = [0];
  let last = 0;
  before = '';
  for (const { key, id } of tokens) {
    const shared = commonStart(before, key);
    for (const done of path.splice(shared + 1)) tree.end[done] = last + 1;
    for (let i = shared; i < key.length; i++) {
      path.push(++last);
      tree.byte[last] = key.charCodeAt(i);
      tree.depth[last] = i + 1;
    }
    // A text that is there already is the same as the one before, for they are sorted.
    const node = path[key.length]!;
    if (tree.token[node] === -1) tree.token[node] = id;
    else tree.twins.set(node, [...(tree.twins.get(node) ?? []), id]);
    before = key;
  }
  for (const done of path) tree.end[done] = last + 1;
  return tree;
}

function commonStart(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}
