/**
 * Owns: seeing what is multiplied with the weights of a model's blocks: sums of its squares, by column and by expert.
 * Refuses to know: models, files, what the sums are for.
 *
 * A backend may record operations and overwrites its tensors while it runs, so every input is copied aside by the
 * backend itself, and the copies are read after the step. What an operation keeps to itself is had by running it once more
 * with an identity in the place of the last matrix: the hidden numbers of experts, and the latents that heads attended to.
 */
import type { Backend, ExpertWeights, LatentAttendOptions, Tensor, Weight } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { ImatrixEntry } from '../formats/imatrix.ts';

/** A backend for one model's forward pass, and what it saw. */
export interface ObservedBackend {
  /** Computes as the backend does; batches of at most `maxRows` rows. */
  readonly backend: Backend;
  /**
   * Runs the step that was recorded and adds up what its rows were multiplied with.
   *
   * @throws HadalError `activations-not-finite`; rejects as `read` does.
   */
  drain(): Promise<void>;
  /** What was seen so far, by the names of weights. */
  entries(): ReadonlyMap<string, ImatrixEntry>;
}

/** Columns [from, from + length) of a copy that belong to columns [to, to + length) of a matrix. */
type Stretch = readonly [from: number, length: number, to: number];

interface Sums {
  readonly names: readonly string[];
  readonly cols: number;
  readonly sums: Float64Array;
  readonly counts: Float64Array;
}

/** A copy of what a weight is multiplied with, and where its squares go. */
interface Tap {
  readonly copy: Tensor;
  readonly stretches: readonly Stretch[];
  readonly into: Sums;
  /** Whose choices the rows are of: columns of ids; absent where all rows are for one matrix. */
  readonly chosen?: { readonly ids: Tensor; readonly columns: readonly number[] };
  /** Whether its rows are counted: the rest of a row that comes in parts is not. */
  readonly counted: boolean;
  /** Rows of this step. */
  rows: number;
}

/**
 * Wraps a backend. Weights are told by their names: those of blocks (`blk.`) are observed.
 *
 * @example
 * const observed = observe(backend, 128);
 * forward(observed.backend, batch);
 * await observed.drain();
 */
export function observe(backend: Backend, maxRows: number): ObservedBackend {
  const taps = new Map<string, Tap>();
  const all: Sums[] = [];
  const stored = new Map<number, Tensor>();
  const routed = new Map<number, Tensor>();
  const made = new Map<string, Tensor>();
  const identities = new Map<string, Weight>();
  const inOrder = backend.tensor('I32', maxRows, 1);
  const ones = backend.tensor('F32', maxRows, 1);
  backend.write(
    inOrder,
    Int32Array.from({ length: maxRows }, (_, row) => row),
  );
  backend.write(ones, new Float32Array(maxRows).fill(1));
  /** Routers asked in this step. */
  let routes = 0;

  const once = <T>(map: Map<string, T>, key: string, make: () => T): T => {
    const value = map.get(key) ?? make();
    map.set(key, value);
    return value;
  };
  const scratch = (key: string, cols: number, dtype: Tensor['dtype'] = 'F32') =>
    once(made, `${key} ${dtype} ${cols}`, () => backend.tensor(dtype, maxRows, cols));

  function sumsFor(names: readonly string[], cols: number, matrices = 1): Sums {
    const sums = { names, cols, sums: new Float64Array(cols * matrices), counts: new Float64Array(matrices) };
    all.push(sums);
    return sums;
  }

  /** Has the backend put x aside. The weights all read it, so they share the sums. */
  function tapInput(
    rows: number,
    x: Tensor,
    weights: readonly Weight[],
    { ids, stretches = [[0, x.cols, 0]] }: { ids?: Tensor; stretches?: readonly Stretch[] } = {},
  ): void {
    const [first] = weights;
    if (first === undefined) return;
    const tap = once(taps, `${first.id} in`, () => {
      const cols = stretches.reduce((sum, [, length]) => sum + length, 0);
      const names = weights.map(({ name }) => name);
      const chosen = ids && { ids, columns: Array.from({ length: ids.cols }, (_, k) => k) };
      const into = sumsFor(names, cols, ids ? first.experts : 1);
      const copy = backend.tensor('F32', maxRows, x.cols);
      return { copy, stretches, into, counted: true, rows: 0, ...(chosen ? { chosen } : {}) };
    });
    tap.rows = rows;
    backend.gather({ rows, decodeRows: 0 }, tap.copy, x, inOrder);
  }

  /** [experts, rows, cols], each with ones from column `start` on: row r gives back number start + r. */
  function identity(experts: number, rows: number, cols: number, start = 0): Weight {
    return once(identities, `${experts} ${rows} ${cols} ${start}`, () => {
      const values = new Float32Array(rows * cols);
      for (let row = 0; row < Math.min(rows, cols - start); row++) values[row * cols + start + row] = 1;
      const one = backend.constant('identity', 'F32', [cols, rows], new Uint8Array(values.buffer));
      return backend.stack('identities', Array<Weight>(experts).fill(one));
    });
  }

  /** What the k-th choice of each row multiplies with `down`: silu(gate x) * up x, as many columns at a time as x has. */
  function tapHidden(rows: number, x: Tensor, ids: Tensor, { gate, up, down }: ExpertWeights): void {
    const span = { rows, decodeRows: 0 };
    const { cols: wide, rows: inter, experts } = gate;
    const zeros = scratch('zeros', wide);
    const into = () => taps.get(`${down.id} 0 0`)?.into ?? sumsFor([down.name], inter, experts);
    for (let k = 0; k < ids.cols; k++) {
      for (let start = 0; start < inter; start += wide) {
        const tap = once(taps, `${down.id} ${k} ${start}`, () => ({
          copy: backend.tensor('F32', maxRows, wide),
          stretches: [[0, Math.min(wide, inter - start), start] as const],
          into: into(),
          chosen: { ids, columns: [k] },
          counted: start === 0,
          rows: 0,
        }));
        tap.rows = rows;
        backend.gather(span, tap.copy, zeros, inOrder);
        const of = { gate, up, down: identity(experts, wide, inter, start) };
        backend.experts(span, tap.copy, x, backend.columns(ids, k, 1), ones, of);
      }
    }
  }

  function tapLatents(rows: number, q: Tensor, kB: Weight, options: LatentAttendOptions): void {
    const { heads, nopeDim, ropeDim } = options;
    const stretches = Array.from(
      { length: heads },
      (_, head): Stretch => [head * (nopeDim + ropeDim), nopeDim, head * nopeDim],
    );
    tapInput(rows, q, [kB], { stretches });
  }

  const observed: Backend = {
    ...backend,
    // Every operation is to be seen.
    again: (_of, _name, record) => record(),
    matmul(span, x, products) {
      const all = products.flatMap(({ weight, gate }) => (gate ? [gate, weight] : [weight]));
      const of = all.filter(({ name }) => name.startsWith('blk.'));
      tapInput(span.rows, x, of);
      backend.matmul(span, x, products);
    },
    store(span, cache, x, slots) {
      stored.set(cache.id, x);
      backend.store(span, cache, x, slots);
    },
    latentAttend(batch, out, q, latents, weights, options, picks) {
      const { heads, latentDim } = options;
      if ('kvB' in weights) {
        tapInput(batch.rows, stored.get(latents.id)!, [weights.kvB], { stretches: [[0, latentDim, 0]] });
      } else {
        const { kB, vB } = weights;
        tapLatents(batch.rows, q, kB, options);
        const attended = scratch('attended', heads * latentDim);
        const identical = { kB, vB: identity(heads, latentDim, latentDim) };
        const wide = { ...options, valueDim: latentDim };
        backend.latentAttend(batch, attended, q, latents, identical, wide, picks);
        tapInput(batch.rows, attended, [vB]);
      }
      backend.latentAttend(batch, out, q, latents, weights, options, picks);
    },
    route(span, ids, weights, logits, bias, options) {
      backend.route(span, ids, weights, logits, bias, options);
      // The ids' tensor is every layer's: each layer's choices are put aside by choosing once more.
      const own = scratch(`ids of router ${routes++}`, options.used, 'I32');
      backend.route(span, own, scratch('mix', options.used), logits, bias, options);
      routed.set(ids.id, own);
    },
    experts(span, out, x, ids, weights, of) {
      const own = routed.get(ids.id)!;
      tapInput(span.rows, x, [of.gate, of.up], { ids: own });
      tapHidden(span.rows, x, own, of);
      backend.experts(span, out, x, ids, weights, of);
    },
  };
  return {
    backend: observed,
    async drain() {
      routes = 0;
      const choices = new Map<number, Int32Array>();
      for (const tap of taps.values()) {
        const { copy, stretches, into, chosen, counted, rows } = tap;
        tap.rows = 0;
        if (rows === 0) continue;
        const numbers = (await backend.read(copy, rows)) as Float32Array;
        if (chosen && !choices.has(chosen.ids.id)) {
          choices.set(chosen.ids.id, (await backend.read(chosen.ids, rows)) as Int32Array);
        }
        const ids = chosen && choices.get(chosen.ids.id)!;
        for (let row = 0; row < rows; row++) {
          const matrices = ids ? chosen.columns.map((k) => ids[row * chosen.ids.cols + k]!) : [0];
          for (const matrix of matrices) {
            if (counted) into.counts[matrix]!++;
            for (const stretch of stretches) addSquares(into, matrix, numbers, row * copy.cols, stretch);
          }
        }
      }
    },
    entries() {
      const byName = all.flatMap(({ names, sums, counts }) =>
        names.map((name) => [name, { sums, counts }] as const),
      );
      return new Map(byName);
    },
  };
}

function addSquares(
  { names, sums, cols }: Sums,
  matrix: number,
  numbers: Float32Array,
  at: number,
  [from, length, to]: Stretch,
): void {
  const base = matrix * cols + to;
  let all = 0;
  for (let i = 0; i < length; i++) {
    const x = numbers[at + from + i]!;
    sums[base + i] = sums[base + i]! + x * x;
    all += x * x;
  }
  if (Number.isFinite(all)) return;
  throw new HadalError('activations-not-finite', {
    what: `what is multiplied with ${names[0]}`,
    expected: 'finite numbers',
    got: `${all} as the sum of their squares`,
    next: 'the model file is damaged: fetch or convert it again',
  });
}
