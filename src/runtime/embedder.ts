/**
 * Owns: an engine and a tokenizer put together to embed: text in, one vector of length 1 out.
 * Refuses to know: files, where the engine runs, protocols.
 */
import type { EmbedEvent, EmbedRequest, Pooling } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { inTurns } from './in-turns.ts';

/** What an embedder needs of an engine, wherever it runs. */
export interface EmbeddingEngine {
  embed(request: EmbedRequest): AsyncIterable<EmbedEvent>;
  abort(requestId: string): void;
}

/** Options of {@link Embedder.embed}. */
export interface EmbedOptions {
  /** The embedder's own when absent. */
  readonly pooling?: Pooling;
  readonly signal?: AbortSignal;
  /** Whose it is: tenants take turns. */
  readonly tenant?: string;
}

/** What a text became. */
export interface Embedding {
  /** Of length 1: [dimensions]. All zeros only where the hidden state was. */
  readonly vector: Float32Array;
  /** Tokens of the text, with those that the model wants around it. */
  readonly tokens: number;
}

/** Something that embeds. */
export interface Embedder {
  /** Numbers of a vector: the hidden size of the model. */
  readonly dimensions: number;
  /**
   * How hidden states become one vector unless a request says otherwise: as the file has it, else their mean.
   *
   * @throws HadalError as `poolingOf`
   */
  readonly pooling: Pooling;
  /**
   * Embeds a text, with the tokens that the model wants before and behind it; or ids as they are.
   *
   * @throws HadalError `request-invalid`, `prompt-too-long`, `states-broken`; as {@link Embedder.pooling}; the engine's
   *   own; the signal's reason.
   * @example const { vector } = await embedder.embed('a rainy day', { pooling: 'mean' });
   */
  embed(text: string | ArrayLike<number>, options?: EmbedOptions): Promise<Embedding>;
}

/** What {@link createEmbedder} puts together. */
export interface EmbedderParts {
  readonly engine: EmbeddingEngine;
  readonly tokenizer: Tokenizer;
  readonly dimensions: number;
  /** As the file has it; undefined where it leaves the choice. Throws where that is not done here. */
  readonly pooling: () => Pooling | undefined;
}

const DEFAULT_POOLING: Pooling = 'mean';

/**
 * Puts an engine and a tokenizer together.
 *
 * @example const { vector } = await createEmbedder(parts).embed('a rainy day');
 */
export function createEmbedder({ engine, tokenizer, dimensions, pooling }: EmbedderParts): Embedder {
  let requests = 0;
  const own = () => pooling() ?? DEFAULT_POOLING;
  return {
    dimensions,
    get pooling() {
      return own();
    },
    async embed(text, { pooling: wanted = own(), signal, tenant } = {}) {
      signal?.throwIfAborted();
      const ids =
        typeof text === 'string'
          ? await inTurns(tokenizer.encodeInSteps(text, { special: true, bos: true, eos: true }), signal)
          : Int32Array.from(text);
      const requestId = `embedding-${++requests}`;
      const abort = () => engine.abort(requestId);
      signal?.addEventListener('abort', abort, { once: true });
      try {
        const request = { requestId, ids, pooling: wanted, ...(tenant === undefined ? {} : { tenant }) };
        for await (const { vector } of engine.embed(request)) {
          return { vector: normalised(vector), tokens: ids.length };
        }
      } finally {
        signal?.removeEventListener('abort', abort);
      }
      signal?.throwIfAborted();
      throw new HadalError('aborted', { what: 'the embedding was stopped', next: 'ask again' });
    },
  };
}

/** The vector over its Euclidean length. */
function normalised(vector: Float32Array): Float32Array {
  let squares = 0;
  for (const number of vector) squares += number * number;
  return squares === 0 ? vector : vector.map((number) => number / Math.sqrt(squares));
}
