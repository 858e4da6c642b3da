/**
 * Owns: the index tensors of a step and running it: slices in, logits or argmaxes out.
 * Refuses to know: why these rows; requests, sampling.
 */
import type { Backend, Batch, CacheDType, CacheStore, Tensor } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { ExpertCounts, Forward, Model } from '../model/model.ts';
import { allowedDtype } from '../model/streams.ts';
import type { ExpertUse } from './request.ts';
import type { Slice, StepLimits } from './scheduler.ts';

/** Sizes of what a {@link Stepper} works on. */
export interface StepperSizes extends StepLimits {
  readonly pages: number;
  readonly pageTokens: number;
  readonly contextTokens: number;
  readonly cacheDType: CacheDType;
  /** Whether choices of experts are counted. */
  readonly countExperts: boolean;
}

/** What a step gives: for every wanted row, in order of the slices. */
export type StepResult =
  | { readonly kind: 'argmax'; readonly ids: Int32Array }
  | { readonly kind: 'logits'; readonly logits: Float32Array };

/** Runs steps of one model on one backend. */
export class Stepper {
  readonly #backend: Backend;
  readonly #sizes: StepperSizes;
  readonly #forward: Forward;
  readonly #stores: readonly CacheStore[];
  readonly #columns: Record<'tokens' | 'positions' | 'sequences' | 'slots' | 'outputs' | 'best', Tensor>;
  readonly #pages: Tensor;
  readonly #pagesAcross: number;
  #expertCounts: Int32Array | undefined;

  /** Throws `out-of-memory` when cache or scratch space cannot be had. */
  constructor(backend: Backend, model: Model, sizes: StepperSizes) {
    this.#backend = backend;
    this.#sizes = sizes;
    this.#stores = model.streams.map((stream) =>
      backend.cache(
        allowedDtype(stream, sizes.cacheDType),
        sizes.pages,
        sizes.pageTokens / stream.tokensPerRow,
        stream.cols,
      ),
    );
    const { maxRows, maxOutputs, countExperts } = sizes;
    this.#forward = model.prepare(this.#stores, maxRows, maxOutputs, { countExperts });
    const column = (rows: number) => backend.tensor('I32', rows, 1);
    this.#columns = {
      tokens: column(sizes.maxRows),
      positions: column(sizes.maxRows),
      sequences: column(sizes.maxRows),
      slots: column(sizes.maxRows),
      outputs: column(sizes.maxOutputs),
      best: column(sizes.maxOutputs),
    };
    this.#pagesAcross = Math.ceil(sizes.contextTokens / sizes.pageTokens);
    this.#pages = backend.tensor('I32', sizes.maxSequences, this.#pagesAcross);
  }

  /** How often experts were chosen up to the last step; undefined where that is not counted. */
  get expertUse(): readonly ExpertUse[] | undefined {
    const { expertCounts } = this.#forward;
    if (!expertCounts) return undefined;
    const { layers, experts } = expertCounts;
    return layers.map((layer, i) => ({
      layer,
      counts: this.#expertCounts?.slice(i * experts, (i + 1) * experts) ?? new Int32Array(experts),
    }));
  }

  /** Computes the rows of the slices. Rejects with `aborted` after the backend's `abort`, and as `read` does. */
  async run(slices: readonly Slice[]): Promise<StepResult> {
    const result = await this.#compute(slices);
    if (this.#forward.expertCounts) await this.#readCounts(this.#forward.expertCounts);
    return result;
  }

  async #readCounts({ counts }: ExpertCounts): Promise<void> {
    try {
      this.#expertCounts = (await this.#backend.read(counts, 1)) as Int32Array;
    } catch (error) {
      // The step itself is whole; what it counted is read after the next one.
      if (!(error instanceof HadalError && error.code === 'aborted')) throw error;
    }
  }

  async #compute(slices: readonly Slice[]): Promise<StepResult> {
    const backend = this.#backend;
    const batch = this.#write(slices);
    const logits = this.#forward(backend, batch);
    const { rows } = batch.outputSpan;
    const argmax = slices.every(
      ({ sequence, outputs }) => outputs === 0 || sequence.consumer.wanted === 'argmax',
    );
    if (!argmax) {
      return { kind: 'logits', logits: (await backend.read(logits, rows)) as Float32Array };
    }
    const { best } = this.#columns;
    if (rows > 0) backend.argmax(batch.outputSpan, best, logits);
    return { kind: 'argmax', ids: (await backend.read(best, rows)) as Int32Array };
  }

  #write(slices: readonly Slice[]): Batch {
    const { pageTokens } = this.#sizes;
    const tokens: number[] = [];
    const positions: number[] = [];
    const sequences: number[] = [];
    const slots: number[] = [];
    const outputs: number[] = [];
    const pages = new Int32Array(slices.length * this.#pagesAcross);
    let decodeRows = 0;
    let decodeOutputs = 0;
    for (const [row, { sequence, from, to, outputs: wanted, drafted }] of slices.entries()) {
      pages.set(sequence.pages, row * this.#pagesAcross);
      for (let t = from; t < to; t++) {
        if (t >= to - wanted) outputs.push(tokens.length);
        tokens.push(sequence.ids[t] ?? drafted[t - sequence.ids.length]!);
        positions.push(t);
        sequences.push(row);
        slots.push(sequence.pages[Math.floor(t / pageTokens)]! * pageTokens + (t % pageTokens));
      }
      if (sequence.decoding) {
        decodeRows += to - from;
        decodeOutputs += wanted;
      }
    }
    const write = (name: 'tokens' | 'positions' | 'sequences' | 'slots' | 'outputs', data: number[]) => {
      const tensor = this.#columns[name];
      if (data.length > 0) this.#backend.write(tensor, Int32Array.from(data));
      return tensor;
    };
    this.#backend.write(this.#pages, pages);
    return {
      rows: tokens.length,
      decodeRows,
      tokens: write('tokens', tokens),
      positions: write('positions', positions),
      sequences: write('sequences', sequences),
      slots: write('slots', slots),
      pages: this.#pages,
      outputs: write('outputs', outputs),
      outputSpan: { rows: outputs.length, decodeRows: decodeOutputs },
    };
  }

  /** Gives the cache back. */
  free(): void {
    for (const store of this.#stores) this.#backend.free(store);
  }
}
