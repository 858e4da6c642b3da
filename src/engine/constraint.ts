/**
 * Owns: what the engine knows of a constraint on an answer: which tokens may come next.
 * Refuses to know: text, grammars, where constraints are made.
 */

/** Allowed tokens: bit `id & 31` of word `id >> 5`. [ceil(vocab / 32)] */
export type TokenMask = Uint32Array;

/** Holds one answer to a form, token by token. */
export interface TokenConstraint {
  /** Whether the next token is constrained; while it is not, {@link mask} is not asked. */
  readonly armed: boolean;
  /** Whether the answer is whole and nothing can follow: it ends without an end token. */
  readonly done: boolean;
  /** Sets the bits of all tokens that may come next; end tokens exactly where the answer may end here. */
  mask(allowed: TokenMask): void;
  /** Takes note of the token that was chosen. Throws `constraint-broken` where it was not allowed. */
  accept(id: number): void;
}

/**
 * Makes the constraint of a request; `form` is the request's own, untouched by the engine. Throws what is wrong with it.
 *
 * @example const make: ConstraintMaker = (form, { endIds }) => grammarConstraint(form, endIds);
 */
export type ConstraintMaker = (
  form: unknown,
  answer: { readonly endIds: readonly number[] },
) => TokenConstraint;

/** A mask that allows nothing. Example: `tokenMask(129280).length // 4040`. */
export function tokenMask(vocabSize: number): TokenMask {
  return new Uint32Array(Math.ceil(vocabSize / 32));
}

/** Whether a mask allows a token. Example: `allows(mask, 7)`. */
export function allows(mask: TokenMask, id: number): boolean {
  return ((mask[id >> 5] ?? 0) & (1 << (id & 31))) !== 0;
}

/**
 * Makes the logits of all tokens that a mask forbids minus infinity.
 *
 * @param logits [vocab]
 * @example forbid(logits, mask);
 */
export function forbid(logits: Float32Array, mask: TokenMask): void {
  for (let word = 0; word < mask.length; word++) {
    const bits = mask[word]!;
    if (bits === 0xffffffff) continue;
    const first = word * 32;
    const end = Math.min(logits.length, first + 32);
    if (bits === 0) logits.fill(Number.NEGATIVE_INFINITY, first, end);
    else {
      for (let id = first; id < end; id++)
        if ((bits & (1 << (id & 31))) === 0) logits[id] = Number.NEGATIVE_INFINITY;
    }
  }
}
