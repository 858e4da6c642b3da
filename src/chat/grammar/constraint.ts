/**
 * Owns: grammars as the engine's constraints: what a request holds, made into masks for one vocabulary.
 * Refuses to know: families, schemas' keywords, sampling.
 */
import type { ConstraintMaker, TokenConstraint, TokenMask } from '../../engine/constraint.ts';
import { HadalError } from '../../error.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { compileGrammar } from './compile.ts';
import type { AnswerGrammar } from './form.ts';
import { startThreads, type Threads } from './machine.ts';
import { Masker } from './mask.ts';
import type { Network } from './network.ts';
import { type TokenTree, tokenTree } from './vocabulary.ts';

/** Grammars that are kept for further requests. */
const MOST_KEPT = 8;

/** A compiled grammar with the masks that were found for it. */
interface Prepared {
  readonly network: Network;
  readonly masker: Masker;
}

/**
 * The engine's maker of constraints for one vocabulary. Both the vocabulary and grammars are prepared when they are
 * first needed, and kept.
 *
 * @example createEngine(backend, model, { constraints: grammarConstraints(() => tokenizer) });
 */
export function grammarConstraints(tokenizerOf: () => Tokenizer): ConstraintMaker {
  let vocabulary: { readonly tokenizer: Tokenizer; readonly tree: TokenTree } | undefined;
  const kept = new Map<string, Prepared>();
  return (form, { endIds }) => {
    const { form: grammar, after, begun = '', marks = [] } = form as AnswerGrammar;
    if (vocabulary === undefined) {
      const tokenizer = tokenizerOf();
      vocabulary = { tokenizer, tree: tokenTree(tokenizer) };
    }
    const key = JSON.stringify(grammar);
    const prepared = kept.get(key) ?? {
      network: compileGrammar(grammar),
      masker: new Masker(vocabulary.tree),
    };
    // Put last again: the first is the one that was not asked for the longest.
    kept.delete(key);
    kept.set(key, prepared);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value!);
    const constraint = new GrammarConstraint(prepared, vocabulary.tokenizer, { endIds, marks });
    if (begun !== '' && !constraint.read(new TextEncoder().encode(begun))) throw broken(begun);
    return after === undefined ? constraint : new AfterText(after, constraint, vocabulary.tokenizer);
  };
}

/** Holds an answer to a grammar from its first token on. */
class GrammarConstraint implements TokenConstraint {
  readonly armed = true;
  readonly #masker: Masker;
  readonly #tokenizer: Tokenizer;
  readonly #endIds: readonly number[];
  readonly #marks: readonly number[];
  #threads: Threads;

  constructor(
    { network, masker }: Prepared,
    tokenizer: Tokenizer,
    { endIds, marks }: { readonly endIds: readonly number[]; readonly marks: readonly number[] },
  ) {
    this.#masker = masker;
    this.#tokenizer = tokenizer;
    this.#endIds = endIds;
    this.#marks = marks;
    this.#threads = startThreads(network);
  }

  get done(): boolean {
    return this.#threads.whole && this.#threads.list.length === 0;
  }

  mask(allowed: TokenMask): void {
    this.#masker.mask(this.#threads, allowed);
    for (const id of this.#marks) if (!this.#threads.awaits(id)) allowed[id >> 5]! &= ~(1 << (id & 31));
    if (this.#threads.whole) for (const id of this.#endIds) allowed[id >> 5]! |= 1 << (id & 31);
  }

  accept(id: number): void {
    if (this.#threads.whole && this.#endIds.includes(id)) return;
    if (this.#threads.awaits(id)) this.#threads = this.#threads.token(id);
    else if (
      this.#tokenizer.isSpecial(id) ||
      this.#marks.includes(id) ||
      !this.read(this.#tokenizer.bytesOf(id))
    ) {
      throw broken(this.#tokenizer.tokenText(id));
    }
  }

  /** Reads bytes; false, and nothing is read, where the grammar does not allow them. */
  read(bytes: Uint8Array): boolean {
    let threads = this.#threads;
    for (const byte of bytes) threads = threads.byte(byte);
    if (threads.dead || bytes.length === 0) return false;
    this.#threads = threads;
    return true;
  }
}

/** Holds an answer to a constraint once a text has come: the end of thinking. */
class AfterText implements TokenConstraint {
  readonly #text: Uint8Array;
  readonly #constraint: GrammarConstraint;
  readonly #tokenizer: Tokenizer;
  /** Where the vocabulary has the text as a token, only that is it, as for the parsers. */
  readonly #id: number | undefined;
  /** The newest bytes, as many as the text has. */
  #tail: readonly number[] = [];
  #armed = false;

  constructor(text: string, constraint: GrammarConstraint, tokenizer: Tokenizer) {
    this.#text = new TextEncoder().encode(text);
    this.#constraint = constraint;
    this.#tokenizer = tokenizer;
    this.#id = tokenizer.idOf(text);
  }

  get armed(): boolean {
    return this.#armed;
  }

  get done(): boolean {
    return this.#armed && this.#constraint.done;
  }

  mask(allowed: TokenMask): void {
    this.#constraint.mask(allowed);
  }

  accept(id: number): void {
    if (this.#armed) {
      this.#constraint.accept(id);
      return;
    }
    if (this.#id !== undefined) {
      this.#armed = id === this.#id;
      return;
    }
    const bytes = this.#tokenizer.bytesOf(id);
    for (const [at, byte] of bytes.entries()) {
      this.#tail = [...this.#tail, byte].slice(-this.#text.length);
      if (this.#tail.length < this.#text.length || !this.#tail.every((one, i) => one === this.#text[i]))
        continue;
      this.#armed = true;
      // A token may hold the end of thinking and the beginning of the answer; blanks between them belong to neither.
      const rest = bytes.slice(at + 1);
      const blanks = rest.findIndex((one) => one !== 0x20 && one !== 0x0a);
      if (blanks >= 0 && !this.#constraint.read(rest.slice(blanks)))
        throw broken(this.#tokenizer.tokenText(id));
      return;
    }
  }
}

function broken(token: string): HadalError {
  return new HadalError('constraint-broken', {
    what: 'the answer',
    expected: 'a token that the constraint allows',
    got: JSON.stringify(token),
    next: 'ask again',
  });
}
