/**
 * Owns: the frame that every model here shares: embedding, blocks of two sublayers, last norm, head.
 * Refuses to know: what a sublayer computes.
 */
import type { Backend, Batch, CacheStore, Tensor } from '../backend/backend.ts';
import type { ModelConfig } from './config.ts';
import type { CacheStream, ExpertCounts, Forward, PrepareOptions } from './model.ts';
import type { PredictorLayout } from './predictor.ts';
import type { TensorSpec, Weights } from './weights.ts';

/** Records one sublayer: x += f(x), x [n, hidden]. */
export type Step = (backend: Backend, batch: Batch) => void;

/** What a sublayer is built with: scratch tensors shared by all layers, and the cache stores by stream name. */
export interface Workshop {
  readonly backend: Backend;
  /** The residual stream [maxRows, hidden]. */
  readonly x: Tensor;
  /** A scratch tensor [maxRows, cols]; the same one for the same name and size. */
  f32(name: string, cols: number): Tensor;
  i32(name: string, cols: number): Tensor;
  /**
   * The widest rows of a sublayer [maxRows, cols], its queries or what it gates: columns of one tensor, of which sublayers
   * make use one after the other. A sublayer may have it once.
   */
  inner(cols: number): Tensor;
  store(stream: string): CacheStore;
  /** Where choices of a layer's experts are counted, when that was asked for: I32 [1, experts]. */
  counts(layer: number): Tensor | undefined;
}

/** A half of a block: the tensors it needs, the rows it keeps, and how it is recorded. */
export interface Sublayer {
  readonly specs: readonly TensorSpec[];
  readonly streams: readonly CacheStream[];
  build(weights: Weights, workshop: Workshop): Step;
}

/** An architecture laid out for one config: nothing is loaded yet. */
export interface Decoder {
  readonly config: ModelConfig;
  /** In order: attention and feed-forward of layer 0, of layer 1, ... */
  readonly sublayers: readonly Sublayer[];
  /** Multi-token prediction, where the file has its tensors. */
  readonly predictor?: PredictorLayout;
}

/** Every tensor of the model. Example: `decoderSpecs(llama(config))[0].name // 'token_embd.weight'`. */
export function decoderSpecs({ config, sublayers, predictor }: Decoder): TensorSpec[] {
  const { hidden, vocabSize, tied } = config;
  return [
    { name: 'token_embd.weight', shape: [hidden, vocabSize], part: 'embedding' },
    ...sublayers.flatMap(({ specs }) => specs),
    { name: 'output_norm.weight', shape: [hidden], part: 'norms' },
    // Absent when tied: the embedding is the head.
    { name: 'output.weight', shape: [hidden, vocabSize], part: 'output', optional: tied !== false },
    ...(predictor?.specs ?? []),
  ];
}

/**
 * Every cache stream of the layers, in their order, and then those of the predictor if that is wanted.
 *
 * @example decoderStreams(decoder, true).map((s) => s.name)
 */
export function decoderStreams({ sublayers, predictor }: Decoder, predict: boolean): CacheStream[] {
  const layers = sublayers.flatMap(({ streams }) => streams);
  return predict && predictor ? [...layers, ...predictor.streams] : layers;
}

/** Sizes of the scratch space, and whether choices of experts are counted. */
export interface PrepareSizes extends PrepareOptions {
  readonly maxRows: number;
  readonly maxOutputs: number;
}

/**
 * The forward pass over scratch tensors for `maxRows` rows and `maxOutputs` logits; `stores` in the order of
 * {@link decoderStreams}.
 *
 * @example const forward = prepareDecoder(decoder, weights, backend, stores, { maxRows: 512, maxOutputs: 8 })
 */
export function prepareDecoder(
  decoder: Decoder,
  weights: Weights,
  backend: Backend,
  stores: readonly CacheStore[],
  { maxRows, maxOutputs, countExperts = false, predict = false }: PrepareSizes,
): Forward {
  const { hidden: cols, vocabSize, normEps } = decoder.config;
  const expertCounts = countExperts ? countsFor(decoder.config, backend) : undefined;
  const counts = (layer: number) => {
    if (!expertCounts) return undefined;
    const { layers, experts, counts: all } = expertCounts;
    return backend.columns(all, layers.indexOf(layer) * experts, experts);
  };
  const workshop = { ...workshopFor(decoder, backend, stores, { maxRows, predict }), counts };
  const steps = decoder.sublayers.map((sublayer) => sublayer.build(weights, workshop));
  const tokenEmbd = weights.get('token_embd.weight'); // [vocab, d]
  const outputNorm = weights.get('output_norm.weight'); // [1, d]
  const output = weights.find('output.weight') ?? tokenEmbd; // [vocab, d]
  const last = backend.tensor('F32', maxOutputs, cols);
  const logits = backend.tensor('F32', maxOutputs, vocabSize);
  const predictor = predict ? decoder.predictor : undefined;
  // Few ask for the states: they have no place before somebody does.
  let hidden = predictor && backend.tensor('F32', maxRows, cols);
  const norm = (on: Backend, batch: Batch, out: Tensor) =>
    on.rmsNorm(batch, out, workshop.x, outputNorm, normEps); // [n, d]
  const head: Forward['head'] = (on, { outputs, outputSpan }) => {
    on.gather(outputSpan, last, workshop.x, outputs); // [m, d]
    on.rmsNorm(outputSpan, last, last, outputNorm, normEps);
    on.matmul(outputSpan, last, [{ weight: output, out: logits }]); // [m, vocab]
    return logits;
  };
  const run = (on: Backend, batch: Batch) => {
    on.embed(batch, workshop.x, tokenEmbd, batch.tokens); // [n, d]
    for (const step of steps) {
      step(on, batch);
      on.checkpoint();
    }
    head(on, batch);
    if (predictor && hidden) norm(on, batch, hidden);
    return logits;
  };
  const states = (on: Backend, batch: Batch): Tensor => {
    if (predictor && hidden) return hidden;
    hidden ??= backend.tensor('F32', maxRows, cols);
    norm(on, batch, hidden);
    return hidden;
  };
  return Object.assign(run, {
    head,
    states,
    ...(expertCounts ? { expertCounts } : {}),
    ...(predictor && hidden
      ? { predict: predictor.build(weights, workshop, { hidden, maxRows, maxOutputs }) }
      : {}),
  });
}

/** One tensor for all layers, so that one read gives all. */
function countsFor({ layers, experts: of }: ModelConfig, backend: Backend): ExpertCounts | undefined {
  if (!of || of.leadingDense === layers) return undefined;
  const numbers = Array.from({ length: layers - of.leadingDense }, (_, i) => of.leadingDense + i);
  const counts = backend.tensor('I32', 1, numbers.length * of.experts);
  return { layers: numbers, experts: of.experts, counts };
}

/** Columns of what {@link Workshop.inner} gives out. Example: `innerColumns(config) // 10944 for V2-Lite` */
export function innerColumns({ attention: a, feedForward, experts }: ModelConfig): number {
  const queries = a.heads * (a.kind === 'latent' ? a.nopeDim + a.ropeDim : a.headDim);
  const dense = experts === undefined || experts.leadingDense > 0 ? feedForward : 0;
  // The layer that predicts has experts even where all others are dense.
  const shared = experts === undefined ? 0 : experts.shared * experts.inter;
  return Math.max(queries, dense, shared);
}

function workshopFor(
  decoder: Decoder,
  backend: Backend,
  stores: readonly CacheStore[],
  { maxRows, predict }: { readonly maxRows: number; readonly predict: boolean },
): Omit<Workshop, 'counts'> {
  const scratch = new Map<string, Tensor>();
  const tensor = (dtype: Tensor['dtype'], name: string, cols: number): Tensor => {
    const key = `${dtype} ${name} ${cols}`;
    const made = scratch.get(key) ?? backend.tensor(dtype, maxRows, cols);
    scratch.set(key, made);
    return made;
  };
  const widest = innerColumns(decoder.config);
  const inner = backend.tensor('F32', maxRows, widest);
  const byName = new Map(decoderStreams(decoder, predict).map(({ name }, i) => [name, stores[i]!]));
  return {
    backend,
    x: backend.tensor('F32', maxRows, decoder.config.hidden),
    f32: (name, cols) => tensor('F32', name, cols),
    i32: (name, cols) => tensor('I32', name, cols),
    inner: (cols) => backend.columns(inner, 0, cols),
    store: (stream) => byName.get(stream)!,
  };
}
