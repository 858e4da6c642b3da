/**
 * Owns: from the headers of a model file to its description, and to a model on a backend.
 * Refuses to know: what a layer computes, where files come from.
 */
import type { Backend, LoadProgress } from '../backend/backend.ts';
import { dtype } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';
import { CONFIG_JSON } from '../formats/hf-folder.ts';
import type { ModelFile, TensorInfo } from '../formats/tensor-info.ts';
import type { Architecture, ModelConfig } from './config.ts';
import { configFromGguf } from './config-gguf.ts';
import { configFromHf, scaleBlockOf } from './config-hf.ts';
import { type Decoder, decoderSpecs, decoderStreams, prepareDecoder } from './decoder.ts';
import { deepseek, deepseek2 } from './deepseek.ts';
import { ROPE_FREQUENCIES } from './grouped-attention.ts';
import { llama } from './llama.ts';
import { loadRotation, loadWeights } from './load-weights.ts';
import type { LatentLayout } from './mla.ts';
import type { CacheStream, Model } from './model.ts';
import { qwen2, qwen3 } from './qwen.ts';
import { hfNames, planHf } from './tensors-hf.ts';
import {
  demandRead,
  heldBytes,
  keptApart,
  type Part,
  planBytes,
  planGguf,
  specNumbers,
  type TensorPlan,
  type TensorSpec,
  type Weights,
} from './weights.ts';

/** What can be said of a model from its headers. */
export interface ModelDescription {
  readonly architecture: Architecture;
  /** `general.name`, when the file has one. */
  readonly name?: string;
  readonly config: ModelConfig;
  /** Longest context in tokens that the model was made for. */
  readonly contextTokens: number;
  /** Numbers in all weights that are loaded. */
  readonly parameters: number;
  /** Bytes of all weights that are loaded. */
  readonly weightBytes: number;
  /** Of them, what is held in memory: all but a table of which rows are read from the file as they are wanted. */
  readonly heldBytes: number;
  readonly weightBytesByPart: Readonly<Partial<Record<Part, number>>>;
  /** Multiply-adds per token that read weights; of the experts only those used, of the predictor none. */
  readonly multiplyAddsPerToken: number;
  /** The cache streams, the predictor's as well; `cacheCost` in streams.ts gives their bytes per token. */
  readonly streams: readonly CacheStream[];
}

/** Options of {@link loadModel}. */
export interface LoadOptions {
  readonly onProgress?: LoadProgress;
}

/** One entry for each architecture. */
const DECODERS: Readonly<
  Record<Architecture, (config: ModelConfig, latent: LatentLayout, predicting: boolean) => Decoder>
> = {
  llama,
  qwen2,
  qwen3,
  deepseek,
  deepseek2,
  deepseek32: deepseek2,
};

/** Files of before 2025-04 have kv_b whole; where a file has both forms the split one saves a transposition. */
function latentLayoutOf(file: ModelFile): LatentLayout {
  return file.tensors.has('blk.0.attn_k_b.weight') ? 'split' : 'merged';
}

/** What a config asks of a file, before there is one. */
export interface ModelOutline {
  readonly specs: readonly TensorSpec[];
  readonly streams: readonly CacheStream[];
}

/**
 * The tensors and cache streams of a model of this config; `latent` says in which form kv_b is kept. Without
 * a predictor.
 *
 * @example outlineModel(configFromHf(json, 'DeepSeek-V3'), 'split').streams.length // 61
 */
export function outlineModel(config: ModelConfig, latent: LatentLayout): ModelOutline {
  const decoder = DECODERS[config.architecture](config, latent, false);
  return { specs: decoderSpecs(decoder), streams: decoderStreams(decoder, false) };
}

/**
 * Where each tensor of a file's model is. Throws as {@link describeModel} does.
 *
 * @example planTensors(file).map(({ spec }) => spec.name)
 */
export function planTensors(file: ModelFile): readonly TensorPlan[] {
  return layOut(file).plans;
}

/** Many conversions leave the predictor out, whatever their config says. */
function hasPredictor({ layers, draftLayers = 0 }: ModelConfig, { format, tensors }: ModelFile): boolean {
  const join = `blk.${layers}.nextn.eh_proj.weight`;
  return draftLayers > 0 && tensors.has(format === 'gguf' ? join : hfNames(join, 1)[0]!);
}

/**
 * What the file's model is; reads no tensor data. Throws `architecture-unknown`, `config-*`, `tensor-missing`,
 * `tensor-shape`, `tensor-unexpected`.
 *
 * @example describeModel(await openModelFile('model.gguf')).weightBytes
 */
export function describeModel(file: ModelFile): ModelDescription {
  const { decoder, plans } = layOut(file);
  const { config } = decoder;
  const { architecture, name, contextTokens } = config;
  const weightBytesByPart: Partial<Record<Part, number>> = {};
  for (const plan of plans) {
    const { part } = plan.spec;
    weightBytesByPart[part] = (weightBytesByPart[part] ?? 0) + planBytes(plan);
  }
  return {
    architecture,
    ...(name === undefined ? {} : { name }),
    config,
    contextTokens,
    parameters: plans.reduce((sum, { spec }) => sum + specNumbers(spec), 0),
    weightBytes: plans.reduce((sum, plan) => sum + planBytes(plan), 0),
    heldBytes: heldBytes(plans),
    weightBytesByPart,
    multiplyAddsPerToken: multiplyAdds(config, plans),
    streams: decoderStreams(decoder, true),
  };
}

/**
 * Loads a model's weights into the backend. Throws what {@link describeModel} throws, and `out-of-memory`.
 *
 * @example const model = await loadModel(file, createReferenceBackend())
 */
export async function loadModel(
  file: ModelFile,
  backend: Backend,
  { onProgress }: LoadOptions = {},
): Promise<Model> {
  const { decoder, plans } = layOut(file);
  const { architecture, vocabSize, contextTokens, layers } = decoder.config;
  const weights = await loadWeights(file, backend, plans, onProgress);
  weights.set(ROPE_FREQUENCIES, await loadRotation(file, backend, decoder.config.rope));
  const byName: Weights = { get: (name) => weights.get(name)!, find: (name) => weights.get(name) };
  return {
    architecture,
    vocabSize,
    contextTokens,
    layers,
    streams: decoderStreams(decoder, false),
    predictorStreams: decoder.predictor?.streams ?? [],
    weightBytes: plans.reduce((sum, plan) => sum + planBytes(plan), 0),
    multiplyAddsPerToken: multiplyAdds(decoder.config, plans),
    prepare: (stores, maxRows, maxOutputs, options) =>
      prepareDecoder(decoder, byName, backend, stores, { maxRows, maxOutputs, ...options }),
  };
}

function layOut(file: ModelFile): { decoder: Decoder; plans: TensorPlan[] } {
  const folder = file.format === 'safetensors' ? folderConfig(file) : undefined;
  const config = folder ? configFromHf(folder, fileNameOf(file)) : configFromGguf(file);
  const decoder = DECODERS[config.architecture](config, latentLayoutOf(file), hasPredictor(config, file));
  const specs = decoderSpecs(decoder);
  const plans = folder
    ? planHf(specs, file.tensors, fileNameOf(file), scaleBlockOf(folder, fileNameOf(file)))
    : planGguf(specs, file.tensors, fileNameOf(file));
  demandRead(plans, file.tensors, config, fileNameOf(file));
  for (const { spec, tensors } of plans) for (const tensor of tensors) demandDecodable(tensor, spec.name);
  return { decoder, plans };
}

function folderConfig(file: ModelFile): Readonly<Record<string, unknown>> {
  const text = file.metadata.get(CONFIG_JSON);
  try {
    const json: unknown = JSON.parse(String(text));
    if (typeof json === 'object' && json !== null) return json as Readonly<Record<string, unknown>>;
  } catch {
    // Falls through to the one error below.
  }
  throw new HadalError('config-missing', {
    what: `${CONFIG_JSON} of ${fileNameOf(file)}`,
    expected: 'a JSON object',
    got: text === undefined ? 'no such file' : 'text that is none',
    next: 'fetch the whole folder, and name the folder',
  });
}

/** The path of a GGUF file, or of the folder that a safetensors file is in. */
function fileNameOf({ format, sources }: ModelFile): string {
  const name = sources[0]?.name ?? 'the file';
  return format === 'gguf' ? name : name.replace(/(.)[/\\]+[^/\\]*$/, '$1');
}

function demandDecodable(tensor: TensorInfo, name: string): void {
  if (dtype(tensor.dtype).decode) return;
  throw new HadalError('dtype-unsupported', {
    what: `tensor "${name}"`,
    expected: 'a number format that can be decoded',
    got: tensor.dtype,
    next: 'choose a file in another quantization',
  });
}

/** Of a table that is kept apart rows are read; norms and biases are not products. */
function multiplyAdds({ experts }: ModelConfig, plans: readonly TensorPlan[]): number {
  const apart = keptApart(plans.map(({ spec }) => spec));
  let sum = 0;
  for (const { spec } of plans) {
    if (spec.shape.length < 2 || spec.part === 'predictor' || apart.includes(spec)) continue;
    const share = spec.part === 'experts' && experts ? experts.used / experts.experts : 1;
    sum += specNumbers(spec) * share;
  }
  return sum;
}
