/**
 * Owns: the tokens that came in and were not yet given out with a delta.
 * Refuses to know: what the tokens say.
 */
import type { TokenLogprob } from '../engine/request.ts';
import type { Tokens } from './delta.ts';
import type { AnswerToken } from './format.ts';

/**
 * Collects tokens until a delta takes them.
 *
 * @example
 * ledger.add({ id: 5 });
 * ledger.take(); // { ids: [5] }
 */
export class TokenLedger {
  #ids: number[] = [];
  #logprobs: { chosen: TokenLogprob; top: readonly TokenLogprob[] }[] = [];

  add({ id, logprob, top }: AnswerToken): void {
    this.#ids.push(id);
    if (logprob !== undefined) this.#logprobs.push({ chosen: { id, logprob }, top: top ?? [] });
  }

  /** Everything added since the last call; `logprobs` only where the engine reported them. */
  take(): Tokens {
    const ids = this.#ids;
    const logprobs = this.#logprobs;
    this.#ids = [];
    this.#logprobs = [];
    return logprobs.length === 0 ? { ids } : { ids, logprobs };
  }
}
