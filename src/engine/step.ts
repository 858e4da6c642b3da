/**
 * Owns: the index tensors of a step and running it: slices in, logits or argmaxes out.
 * Refuses to know: why these rows; requests, sampling.
 */
import type { Backend, Batch, CacheDType, CacheStore, Tensor } from '../backend/backend.ts';
import { cacheRowBytes } from '../backend/cache-format.ts';
import { HadalError } from '../error.ts';
import type { ExpertCounts, Forward, Model } from '../model/model.ts';
import type { HiddenFrom } from '../model/predictor.ts';
import { allowedDtype } from '../model/streams.ts';
import type { ExpertUse } from './request.ts';
import type { Slice, StepLimits } from './scheduler.ts';
import type { Sequence } from './sequence.ts';

/** Sizes of what a {@link Stepper} works on. */
export interface StepperSizes extends StepLimits {
  readonly pages: number;
  readonly pageTokens: number;
  readonly contextTokens: number;
  readonly cacheDType: CacheDType;
  /** Whether choices of experts are counted. */
  readonly countExperts: boolean;
  /** Whether the model's predictor is used, if it has one. */
  readonly predict: boolean;
}

/** Rows of one sequence in a pass, from position `from` on, of one class. */
interface Rows {
  readonly sequence: Sequence;
  readonly from: number;
  readonly decode: boolean;
  readonly tokens: readonly number[];
  /** How many of the last rows have their logits read. */
  readonly outputs: number;
}

/** Rows of the predictor: `tokens` are those after the rows' positions. */
export interface PredictorRows extends Rows {
  /** For each row which one of the model's last step, or of the predictor's last outputs, it goes on from. */
  readonly sources: readonly number[];
}

/** Hidden states after the last norm [rows, hidden]. */
export interface HiddenStates {
  readonly rows: Float32Array;
  readonly hidden: number;
}

/** What a step gives: for every wanted row, in order of the slices; hidden states of all rows where somebody wants any. */
export type StepResult = (
  | { readonly kind: 'argmax'; readonly ids: Int32Array }
  | { readonly kind: 'logits'; readonly logits: Float32Array }
) & {
  readonly states?: HiddenStates;
};

/** Takes logits [vocab] of rows of a slice, from a position on. */
export type Scored = (slice: Slice, rows: readonly Float32Array[], firstPosition: number) => void;

type Column = 'tokens' | 'positions' | 'sequences' | 'slots' | 'sources' | 'outputs' | 'best';

/** Runs steps of one model on one backend. */
export class Stepper {
  readonly #backend: Backend;
  readonly #sizes: StepperSizes;
  readonly #forward: Forward;
  readonly #stores: readonly CacheStore[];
  /** How pages are laid out, and how many bytes one of every stream takes together. */
  readonly layout: { readonly words: string; readonly pageBytes: number };
  readonly #columns: Record<Column, Tensor>;
  readonly #pages: Tensor;
  readonly #pagesAcross: number;
  readonly vocabSize: number;
  #expertCounts: Int32Array | undefined;

  /** Throws `out-of-memory` when cache or scratch space cannot be had. */
  constructor(backend: Backend, model: Model, sizes: StepperSizes) {
    this.#backend = backend;
    this.#sizes = sizes;
    this.vocabSize = model.vocabSize;
    const { maxRows, maxOutputs, countExperts, predict } = sizes;
    const streams = predict ? [...model.streams, ...model.predictorStreams] : model.streams;
    this.#stores = streams.map((stream) =>
      backend.cache(
        allowedDtype(stream, sizes.cacheDType),
        sizes.pages,
        sizes.pageTokens / stream.tokensPerRow,
        stream.cols,
      ),
    );
    this.layout = {
      words: this.#stores.map(({ dtype, pageRows, cols }) => `${dtype} ${pageRows} ${cols}`).join(','),
      pageBytes: this.#stores.reduce((sum, store) => sum + pageSize(store), 0),
    };
    this.#forward = model.prepare(this.#stores, maxRows, maxOutputs, { countExperts, predict });
    const column = (rows: number) => backend.tensor('I32', rows, 1);
    this.#columns = {
      tokens: column(sizes.maxRows),
      positions: column(sizes.maxRows),
      sequences: column(sizes.maxRows),
      slots: column(sizes.maxRows),
      sources: column(sizes.maxRows),
      outputs: column(sizes.maxOutputs),
      best: column(sizes.maxOutputs),
    };
    this.#pagesAcross = Math.ceil(sizes.contextTokens / sizes.pageTokens);
    this.#pages = backend.tensor('I32', sizes.maxSequences, this.#pagesAcross);
  }

  /** Whether {@link predict} can be called. */
  get predicts(): boolean {
    return this.#forward.predict !== undefined;
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

  /**
   * Computes the rows of the slices. `scored` is given logits of rows that consumers want scored, some at a time. Rejects
   * with `aborted` after the backend's `abort`, and as `read` does.
   */
  async run(slices: readonly Slice[], scored: Scored): Promise<StepResult> {
    const result = await this.#compute(slices);
    let firstRow = 0;
    for (const slice of slices) {
      await this.#score(slice, firstRow, scored);
      firstRow += slice.to - slice.from;
    }
    if (this.#forward.expertCounts) await this.#readCounts(this.#forward.expertCounts);
    return result;
  }

  /** Logits of the rows of a slice, the first of which is `firstRow` of the step, as far as they are wanted. */
  async #score(slice: Slice, firstRow: number, scored: Scored): Promise<void> {
    const { sequence, from, to } = slice;
    const { consumer, promptTokens } = sequence;
    const end = Math.min(to, promptTokens - 1);
    let position = Math.max(from, consumer.unscored ?? end);
    while (position < end && !sequence.aborted) {
      const rows = Math.min(end - position, this.#sizes.maxOutputs);
      const outputs = Array.from({ length: rows }, (_, i) => firstRow + position - from + i);
      const batch = {
        outputs: this.#writeColumn('outputs', outputs),
        outputSpan: { rows, decodeRows: 0 },
      };
      const logits = this.#forward.head(this.#backend, batch);
      const read = (await this.#backend.read(logits, rows)) as Float32Array;
      const each = outputs.map((_, i) => read.subarray(i * this.vocabSize, (i + 1) * this.vocabSize));
      scored(slice, each, position);
      position += rows;
    }
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
    const rows = slices.map(({ sequence, from, to, outputs, drafted }): Rows => {
      const tokens = [...sequence.ids.slice(from, to), ...drafted];
      return { sequence, from, decode: sequence.decoding, tokens, outputs };
    });
    const batch = this.#write(rows);
    const logits = this.#again('decode', batch, () => this.#forward(this.#backend, batch));
    const some = slices.some(({ sequence }) => sequence.consumer.wanted === 'states');
    const states = some ? this.#forward.states(this.#backend, batch) : undefined;
    const result = await this.#results(rows, batch, logits);
    if (states === undefined) return result;
    const read = (await this.#backend.read(states, batch.rows)) as Float32Array;
    return { ...result, states: { rows: read, hidden: states.cols } };
  }

  /** While rows are decoded, a pass is the same from step to step but for what was written before it. */
  #again(name: string, { rows, decodeRows, outputSpan }: Batch, record: () => Tensor): Tensor {
    if (decodeRows < rows) return record();
    return this.#backend.again(this.#forward, `${name} ${rows} ${outputSpan.rows}`, record);
  }

  /**
   * A pass of the predictor: right after {@link run}, on rows of it (`model`), or after another pass, on outputs of that
   * (`predictor`). Rejects as `run` does.
   */
  async predict(rows: readonly PredictorRows[], from: HiddenFrom): Promise<StepResult> {
    const sources = this.#writeColumn(
      'sources',
      rows.flatMap((each) => each.sources),
    );
    const batch = this.#write(rows);
    const logits = this.#again(`predict ${from}`, batch, () =>
      this.#forward.predict!(this.#backend, batch, from, sources),
    );
    return await this.#results(rows, batch, logits);
  }

  async #results(of: readonly Rows[], batch: Batch, logits: Tensor): Promise<StepResult> {
    const backend = this.#backend;
    const { rows } = batch.outputSpan;
    const argmax = of.every(
      ({ sequence, outputs }) => outputs === 0 || sequence.consumer.wanted === 'argmax',
    );
    if (!argmax) {
      return { kind: 'logits', logits: (await backend.read(logits, rows)) as Float32Array };
    }
    const { best } = this.#columns;
    if (rows > 0) backend.argmax(batch.outputSpan, best, logits);
    return { kind: 'argmax', ids: (await backend.read(best, rows)) as Int32Array };
  }

  #write(of: readonly Rows[]): Batch {
    const { pageTokens } = this.#sizes;
    const tokens: number[] = [];
    const positions: number[] = [];
    const sequences: number[] = [];
    const slots: number[] = [];
    const outputs: number[] = [];
    const pages = new Int32Array(of.length * this.#pagesAcross);
    let decodeRows = 0;
    let decodeOutputs = 0;
    for (const [row, { sequence, from, decode, tokens: ids, outputs: wanted }] of of.entries()) {
      pages.set(sequence.pages, row * this.#pagesAcross);
      const to = from + ids.length;
      for (let t = from; t < to; t++) {
        if (t >= to - wanted) outputs.push(tokens.length);
        tokens.push(ids[t - from]!);
        positions.push(t);
        sequences.push(row);
        slots.push(sequence.pages[Math.floor(t / pageTokens)]! * pageTokens + (t % pageTokens));
      }
      if (decode) {
        decodeRows += ids.length;
        decodeOutputs += wanted;
      }
    }
    this.#backend.write(this.#pages, pages);
    return {
      rows: tokens.length,
      decodeRows,
      tokens: this.#writeColumn('tokens', tokens),
      positions: this.#writeColumn('positions', positions),
      sequences: this.#writeColumn('sequences', sequences),
      slots: this.#writeColumn('slots', slots),
      pages: this.#pages,
      outputs: this.#writeColumn('outputs', outputs),
      outputSpan: { rows: outputs.length, decodeRows: decodeOutputs },
    };
  }

  #writeColumn(name: Column, data: readonly number[]): Tensor {
    const tensor = this.#columns[name];
    if (data.length > 0) this.#backend.write(tensor, Int32Array.from(data));
    return tensor;
  }

  /** The rows of a page, of every stream in turn. Not while a step is computed. */
  pageBytes(page: number): Uint8Array {
    const all = new Uint8Array(this.layout.pageBytes);
    let at = 0;
    for (const store of this.#stores) {
      const bytes = this.#backend.readPage(store, page);
      all.set(bytes, at);
      at += bytes.length;
    }
    return all;
  }

  /** Puts back what {@link pageBytes} gave. Not while a step is computed. */
  fillPage(page: number, all: Uint8Array): void {
    let at = 0;
    for (const store of this.#stores) {
      const size = pageSize(store);
      this.#backend.writePage(store, page, all.subarray(at, at + size));
      at += size;
    }
  }

  /** Gives the cache back. */
  free(): void {
    for (const store of this.#stores) this.#backend.free(store);
  }
}

/** Bytes of one page of a stream. */
function pageSize({ dtype, pageRows, cols }: CacheStore): number {
  return pageRows * cacheRowBytes(dtype, cols);
}
