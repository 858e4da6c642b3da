/**
 * Owns: our logits over a given continuation of a prompt, its rows in either class.
 * Refuses to know: who wrote the continuation, what the logits should be.
 */
import type { Backend, CacheDType, Tensor } from '../../src/backend/backend.ts';
import type { Forward, Model } from '../../src/model/model.ts';
import { allowedDtype } from '../../src/model/streams.ts';

const PAGE_TOKENS = 16;

/** How a {@link Forced} runs. */
export interface ForcedOptions {
  /** Longest prompt and continuation together. */
  readonly tokens: number;
  readonly cache: CacheDType;
  /** Rows of a step of the prefill class. */
  readonly chunk: number;
}

/** Feeds one text at a time. */
export class Forced {
  readonly #model: Model;
  readonly #backend: Backend;
  readonly #chunk: number;
  readonly #forward: Forward;
  readonly #columns: Record<'tokens' | 'positions' | 'sequences' | 'slots' | 'outputs', Tensor>;
  readonly #pages: Tensor;
  /** Pages in an order of their own, so that nothing works by luck. */
  readonly #pageOf: Int32Array;

  constructor(model: Model, backend: Backend, { tokens, cache, chunk }: ForcedOptions) {
    this.#model = model;
    this.#backend = backend;
    this.#chunk = chunk;
    const pages = Math.ceil(tokens / PAGE_TOKENS);
    const stores = model.streams.map((stream) =>
      backend.cache(allowedDtype(stream, cache), pages, PAGE_TOKENS, stream.cols),
    );
    this.#forward = model.prepare(stores, chunk, chunk);
    const column = () => backend.tensor('I32', chunk, 1);
    this.#columns = {
      tokens: column(),
      positions: column(),
      sequences: column(),
      slots: column(),
      outputs: column(),
    };
    this.#pageOf = Int32Array.from({ length: pages }, (_, page) => pages - 1 - page);
    this.#pages = backend.tensor('I32', 1, pages);
    backend.write(this.#pages, this.#pageOf);
  }

  /**
   * Logits [continuation, vocab] by which each token of the continuation would be chosen. The prompt is always of the
   * prefill class; the continuation's rows are of `rowClass`, one a step in the decode class.
   */
  async logits(
    prompt: readonly number[],
    continuation: readonly number[],
    rowClass: 'prefill' | 'decode',
  ): Promise<Float32Array> {
    const { vocabSize } = this.#model;
    const ids = [...prompt, ...continuation.slice(0, -1)];
    const first = prompt.length - 1;
    const logits = new Float32Array(continuation.length * vocabSize);
    for (let from = 0; from < ids.length; ) {
      const decode = rowClass === 'decode' && from >= prompt.length;
      const end = rowClass === 'decode' && from < prompt.length ? prompt.length : ids.length;
      const to = decode ? from + 1 : Math.min(end, from + this.#chunk);
      const wanted = Math.max(from, first);
      const rows = await this.#step(ids, from, to, Math.max(0, to - wanted), decode);
      if (rows.length > 0) logits.set(rows, (wanted - first) * vocabSize);
      from = to;
    }
    return logits;
  }

  /** Computes positions from..to and gives the logits of the last `wanted` of them. */
  async #step(
    ids: readonly number[],
    from: number,
    to: number,
    wanted: number,
    decode: boolean,
  ): Promise<Float32Array> {
    const rows = to - from;
    const span = (count: number) => ({ rows: count, decodeRows: decode ? count : 0 });
    const write = (tensor: Tensor, count: number, value: (i: number) => number) => {
      if (count > 0)
        this.#backend.write(
          tensor,
          Int32Array.from({ length: count }, (_, i) => value(i)),
        );
      return tensor;
    };
    const slot = (position: number) =>
      this.#pageOf[Math.floor(position / PAGE_TOKENS)]! * PAGE_TOKENS + (position % PAGE_TOKENS);
    const { tokens, positions, sequences, slots, outputs } = this.#columns;
    const out = this.#forward(this.#backend, {
      ...span(rows),
      tokens: write(tokens, rows, (i) => ids[from + i]!),
      positions: write(positions, rows, (i) => from + i),
      sequences: write(sequences, rows, () => 0),
      slots: write(slots, rows, (i) => slot(from + i)),
      pages: this.#pages,
      outputs: write(outputs, wanted, (i) => rows - wanted + i),
      outputSpan: span(wanted),
    });
    return (await this.#backend.read(out, wanted)) as Float32Array;
  }
}
