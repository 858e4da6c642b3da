/**
 * Owns: the one error type of the project and how its sentence is built.
 * Refuses to know: who throws it, terminals, HTTP.
 */

/** What went wrong, in the parts that a reader needs: what, what was expected, what was found, what to do. */
export interface Complaint {
  /** The thing that is wrong, e.g. `tensor "blk.0.attn_q.weight" of model.gguf`. */
  readonly what: string;
  readonly expected?: string;
  readonly got?: string;
  /** The next step for the reader, as an imperative clause. */
  readonly next?: string;
}

/**
 * An error with a stable `code` and a one-sentence message: `what: expected X, got Y; do Z`.
 *
 * @example throw new HadalError('gguf-truncated', { what: 'model.gguf', expected: '24 bytes of header', got: '7', next: 'download it again' });
 */
export class HadalError extends Error {
  override readonly name = 'HadalError';
  readonly code: string;

  constructor(code: string, complaint: Complaint, options?: { cause?: unknown }) {
    super(sentence(complaint), options);
    this.code = code;
  }
}

/** The sentence of a complaint. Example: `x.gguf: expected a file, got a folder; name a file`. */
export function sentence({ what, expected, got, next }: Complaint): string {
  const facts = [expected && `expected ${expected}`, got && `got ${got}`].filter(Boolean).join(', ');
  return [facts ? `${what}: ${facts}` : what, next].filter(Boolean).join('; ');
}
