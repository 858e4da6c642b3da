/** Owns: the types of llama-peer.mjs for the tests that compare with llama.cpp. */
import type { Scorer } from '../../src/evaluate/perplexity.ts';

export declare function librariesOf(peer: string): string;
export declare function llamaQuantize(options: {
  readonly peer: string;
  readonly path: string;
  readonly out: string;
  readonly number: number;
  readonly threads?: number;
}): Promise<void>;
export declare function llamaScorer(options: {
  readonly peer: string;
  readonly path: string;
  readonly windowTokens?: number;
  readonly threads?: number;
}): Scorer & AsyncDisposable;
