/**
 * Owns: a model in one quantization as the planner sees it: bytes of every tensor, cache rows, what a token reads.
 * Refuses to know: machines, where anything is placed.
 */
import type { CacheDType } from '../backend/backend.ts';
import type { DTypeName } from '../dtypes/dtype.ts';
import { rowBytes } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';
import type { ModelFile } from '../formats/tensor-info.ts';
import type { FamilyModel, Native } from '../hub/family.ts';
import { ARCHITECTURES, type ModelConfig } from '../model/config.ts';
import { configFromHf } from '../model/config-hf.ts';
import { innerColumns } from '../model/decoder.ts';
import { describeModel, outlineModel, planTensors } from '../model/load.ts';
import type { CacheStream } from '../model/model.ts';
import { cacheCost } from '../model/streams.ts';
import { keptApart, type Part, planBytes, specNumbers } from '../model/weights.ts';
import { chooseTypes } from '../quantize/choose-types.ts';
import type { FileTypeName } from '../quantize/file-types.ts';
import { type StepWork, stepWork } from './step-work.ts';
import { outlineV4, type V4Outline } from './v4-outline.ts';

/** What a tensor is for. */
export type PlannedPart = Part | 'engram' | 'beside';

/** One tensor as far as its bytes matter. */
export interface PlannedTensor {
  readonly name: string;
  readonly part: PlannedPart;
  /** Absent outside the layers. */
  readonly layer?: number;
  readonly numbers: number;
  readonly bytes: number;
  /** Of most of its bytes. */
  readonly dtype: DTypeName;
  /** The part of it that one token reads: 1, the experts used of all, or nearly nothing of a table. */
  readonly share: number;
}

/** A model in one quantization. */
export interface Subject {
  readonly name: string;
  readonly title: string;
  /** A GGUF quantization; `native` as published; `file` for what is on disk. */
  readonly quantization: FileTypeName | 'native' | 'file';
  /** What the weights are, for people: `Q4_K_M`, `FP8`. */
  readonly format: string;
  readonly architecture: string;
  readonly layers: number;
  readonly heads: number;
  /** Multiply-adds of one token with one attended token, all layers together. */
  readonly attentionWidth: number;
  /** What Hadal does besides reading weights; absent where it does not know the architecture. */
  readonly work?: StepWork;
  /** Bytes of Hadal's scratch tensors; an estimate where it does not know the architecture. */
  readonly scratchBytes: number;
  readonly contextTokens: number;
  readonly tensors: readonly PlannedTensor[];
  readonly streams: readonly CacheStream[];
  readonly experts?: { readonly count: number; readonly used: number };
  /** Whether Hadal has the architecture. */
  readonly known: boolean;
  /** Where it was planned from: the family, or a path. */
  readonly model?: FamilyModel;
  readonly path?: string;
}

/** `native` is how the model is published. */
export type Quantization = FileTypeName | 'native';

/**
 * A published model in a quantization, by the mixes that are used with an importance matrix.
 *
 * @throws HadalError `config-*` when the family's config contradicts itself
 * @example weightBytes(subjectOf(findInFamily(readFamily(), 'v3'), 'Q8_0')) / 1e9 // 713
 */
export function subjectOf(model: FamilyModel, quantization: Quantization): Subject {
  const { shape } = model;
  const outline = outlineOf(model, quantization === 'native' ? 'merged' : 'split');
  const { specs, facts, experts } = outline;
  const share = experts === undefined ? 1 : experts.used / experts.count;
  const apart = new Set(keptApart(specs));
  const types =
    quantization === 'native'
      ? undefined
      : chooseTypes(
          specs.map(({ name, shape }) => ({ name, shape, dtype: 'F32' })),
          {
            fileType: quantization,
            layers: facts.layers,
            groupSize: facts.heads / facts.kvHeads,
            experts: experts?.count ?? 0,
            importance: true,
          },
        );
  const tensors = specs.map((spec): PlannedTensor => {
    const type = types?.get(spec.name)?.type;
    const layer = layerOf(spec.name);
    return {
      name: spec.name,
      part: spec.part,
      ...(layer === undefined ? {} : { layer }),
      numbers: specNumbers(spec),
      bytes: type === undefined ? nativeBytes(shape.native, spec) : mixBytes(type, spec.shape),
      dtype: type ?? nativeType(shape.native, spec),
      share: shareOf(spec.part, share, apart.has(spec)),
    };
  });
  const { also } = model;
  const beside: PlannedTensor[] = also
    ? [
        {
          name: also.what,
          part: 'beside',
          numbers: also.parameters,
          bytes: also.parameters * 2,
          dtype: 'BF16',
          share: 0,
        },
      ]
    : [];
  return {
    name: model.name,
    title: model.title,
    quantization,
    format: quantization === 'native' ? nativeTitle(shape.native) : quantization,
    architecture: outline.architecture,
    layers: facts.layers,
    heads: facts.heads,
    attentionWidth: outline.attentionWidth,
    ...(outline.work === undefined ? {} : { work: outline.work }),
    scratchBytes: outline.scratchBytes,
    contextTokens: outline.contextTokens,
    tensors: [...tensors, ...beside],
    streams: outline.streams,
    ...(experts === undefined ? {} : { experts }),
    known: outline.known && also === undefined,
    model,
  };
}

/**
 * A model file or folder on disk.
 *
 * @throws HadalError as `describeModel` does.
 * @example subjectOfFile('model.gguf', await openModelFile('model.gguf'))
 */
export function subjectOfFile(path: string, file: ModelFile): Subject {
  const { config, name, streams } = describeModel(file);
  const plans = planTensors(file);
  const { experts } = config;
  const share = experts === undefined ? 1 : experts.used / experts.experts;
  const apart = new Set(keptApart(plans.map(({ spec }) => spec)));
  const predicts = plans.some(({ spec }) => spec.part === 'predictor');
  const dtypes = new Map<string, number>();
  for (const { tensors } of plans) {
    for (const { dtype, bytes } of tensors) dtypes.set(dtype, (dtypes.get(dtype) ?? 0) + bytes);
  }
  const [largest = 'unknown'] = [...dtypes].sort(([, a], [, b]) => b - a).map(([dtype]) => dtype);
  return {
    name: name ?? path,
    title: name ?? path,
    quantization: 'file',
    format: dtypes.size > 1 ? `mostly ${largest}` : largest,
    architecture: config.architecture,
    layers: config.layers,
    heads: config.attention.heads,
    attentionWidth: stepWork(config).attended.prompt,
    work: stepWork(config),
    scratchBytes: scratchBytesOf(config) + (predicts ? predictorScratchBytes(config) : 0),
    contextTokens: config.contextTokens,
    tensors: plans.map((plan): PlannedTensor => {
      const layer = plan.spec.part === 'predictor' ? undefined : layerOf(plan.spec.name);
      return {
        name: plan.spec.name,
        part: plan.spec.part,
        ...(layer === undefined ? {} : { layer }),
        numbers: specNumbers(plan.spec),
        bytes: planBytes(plan),
        dtype: plan.tensors[0]?.dtype ?? 'F32',
        share: shareOf(plan.spec.part, share, apart.has(plan.spec)),
      };
    }),
    streams,
    ...(experts === undefined ? {} : { experts: { count: experts.experts, used: experts.used } }),
    known: true,
    path,
  };
}

/** Bytes of all tensors. Example: `weightBytes(subject)`. */
export function weightBytes({ tensors }: Pick<Subject, 'tensors'>): number {
  return tensors.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * What of a subject is in memory where Hadal runs it: the rest are tables that it keeps apart, of which rows are read.
 *
 * @example weightBytes(heldBy(subject))
 */
export function heldBy({ tensors }: Pick<Subject, 'tensors'>): Pick<Subject, 'tensors'> {
  const apart = new Set(keptApart(tensors));
  return { tensors: tensors.filter((tensor) => !apart.has(tensor)) };
}

/** Bytes by part, largest first. Example: `bytesByPart(subject).get('experts')`. */
export function bytesByPart({ tensors }: Pick<Subject, 'tensors'>): ReadonlyMap<PlannedPart, number> {
  const sums = new Map<PlannedPart, number>();
  for (const { part, bytes } of tensors) sums.set(part, (sums.get(part) ?? 0) + bytes);
  return new Map([...sums].sort(([, a], [, b]) => b - a));
}

/** Numbers in all tensors. Example: `parameters(subject) / 1e9`. */
export function parameters({ tensors }: Pick<Subject, 'tensors'>): number {
  return tensors.reduce((sum, { numbers }) => sum + numbers, 0);
}

/** Bytes of weights that one generated token reads. Example: `bytesPerToken(subject)`. */
export function bytesPerToken({ tensors }: Pick<Subject, 'tensors'>): number {
  return tensors.reduce((sum, { bytes, share }) => sum + bytes * share, 0);
}

/** Multiply-adds with weights for one token. Example: `multiplyAddsPerToken(subject) * 2 // FLOPs`. */
export function multiplyAddsPerToken({ tensors }: Pick<Subject, 'tensors'>): number {
  return tensors.reduce((sum, { numbers, share }) => sum + numbers * share, 0);
}

/** What a cache takes: for every token, and for a sequence whatever its length. */
export interface CacheBytes {
  readonly perToken: number;
  readonly perSequence: number;
}

/**
 * What a cache of this subject takes.
 *
 * @example cacheBytes(subject, 'F16').perToken // 70272 for V3
 */
export function cacheBytes({ streams }: Pick<Subject, 'streams'>, dtype: CacheDType): CacheBytes {
  const sum = (of: readonly CacheStream[]) =>
    cacheCost(of, dtype).reduce((total, { bytesPerToken: bytes }) => total + bytes, 0);
  const windowed = streams.filter(({ windowTokens }) => windowTokens !== undefined);
  return {
    perToken: sum(streams.filter((stream) => !windowed.includes(stream))),
    perSequence: windowed.reduce((total, stream) => total + sum([stream]) * (stream.windowTokens ?? 0), 0),
  };
}

interface Spec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly part: PlannedPart;
}

interface Outline {
  readonly specs: readonly Spec[];
  readonly streams: readonly CacheStream[];
  readonly architecture: string;
  readonly contextTokens: number;
  readonly attentionWidth: number;
  readonly work?: StepWork;
  readonly scratchBytes: number;
  readonly facts: { readonly layers: number; readonly heads: number; readonly kvHeads: number };
  readonly experts?: { readonly count: number; readonly used: number };
  readonly known: boolean;
}

function outlineOf({ shape, title }: FamilyModel, latent: 'merged' | 'split'): Outline {
  let config: ModelConfig;
  try {
    config = configFromHf(shape.config, title);
  } catch (error) {
    const type = String(shape.config.model_type);
    if (!(error instanceof HadalError) || error.code !== 'architecture-unknown') throw error;
    if (!type.startsWith('deepseek_v4')) throw error;
    return outlineOfV4(outlineV4(shape.config), type);
  }
  const { specs, streams } = outlineModel(config, latent);
  const { attention, experts } = config;
  return {
    specs: specs.filter(
      ({ name, optional }) => !optional || (name === 'output.weight' && config.tied === false),
    ),
    streams,
    architecture: config.architecture,
    contextTokens: config.contextTokens,
    attentionWidth: stepWork(config).attended.prompt,
    work: stepWork(config),
    scratchBytes: scratchBytesOf(config),
    facts: {
      layers: config.layers,
      heads: attention.heads,
      kvHeads: attention.kind === 'grouped' ? attention.kvHeads : 1,
    },
    ...(experts === undefined ? {} : { experts: { count: experts.experts, used: experts.used } }),
    known: ARCHITECTURES.includes(config.architecture),
  };
}

const UNKNOWN_SCRATCH_BYTES = 128 << 20;
/** What the engine prepares for: rows of a step, and rows whose logits are wanted. */
const STEP_ROWS = 512;
const STEP_OUTPUTS = 16;

/** The columns of every scratch tensor of src/model, as decoder.ts makes one for each name and width. */
function scratchBytesOf(config: ModelConfig): number {
  const { hidden, vocabSize, attention: a, experts, layers } = config;
  const attention =
    a.kind === 'latent' ? a.kvLora + a.ropeDim + (a.qLora ?? 0) : a.kvHeads * (a.headDim + a.valueDim);
  const index =
    a.kind === 'latent' && a.indexer
      ? a.indexer.heads * (a.indexer.dim + 1) + a.indexer.dim + a.indexer.topK
      : 0;
  const routed =
    experts === undefined || experts.leadingDense >= layers ? 0 : experts.experts + 2 * experts.used;
  const attended = a.heads * a.valueDim === hidden ? 0 : a.heads * a.valueDim;
  const columns = 2 * hidden + innerColumns(config) + attended + attention + index + routed;
  return 4 * (STEP_ROWS * columns + STEP_OUTPUTS * (hidden + vocabSize));
}

/** The model's hidden states, the predictor's own, pairs of both kinds, and what comes out, as predictor.ts makes them. */
function predictorScratchBytes({ hidden, vocabSize }: ModelConfig): number {
  return 4 * (STEP_ROWS * 4 * hidden + STEP_OUTPUTS * (hidden + vocabSize));
}

function outlineOfV4({ config, specs, streams }: V4Outline, architecture: string): Outline {
  return {
    specs,
    streams,
    architecture,
    contextTokens: config.max_position_embeddings,
    scratchBytes: UNKNOWN_SCRATCH_BYTES,
    // Compressed rows are both key and value; the window is too short to count.
    attentionWidth: config.compress_ratios.reduce(
      (sum, ratio) => sum + (ratio > 0 ? (2 * config.num_attention_heads * config.head_dim) / ratio : 0),
      0,
    ),
    facts: { layers: config.num_hidden_layers, heads: config.num_attention_heads, kvHeads: 1 },
    experts: { count: config.n_routed_experts, used: config.num_experts_per_tok },
    known: false,
  };
}

function layerOf(name: string): number | undefined {
  const found = /^blk\.(\d+)\./.exec(name)?.[1];
  return found === undefined ? undefined : Number(found);
}

function shareOf(part: PlannedPart, expertShare: number, apart: boolean): number {
  if (part === 'experts') return expertShare;
  // A row of a table for each token; and a plain token does without the predictor.
  return apart || part === 'engram' || part === 'beside' || part === 'predictor' ? 0 : 1;
}

function mixBytes(type: DTypeName, shape: readonly number[]): number {
  const [columns = 1, ...others] = shape;
  return rowBytes(type, columns) * others.reduce((product, n) => product * n, 1);
}

/** What stays in 16 bits in a folder of 8-bit weights. */
const PLAIN: ReadonlySet<PlannedPart> = new Set(['embedding', 'output', 'norms', 'router']);

function nativeBytes(native: Native, { shape, part }: Spec): number {
  const numbers = specNumbers({ shape });
  if (native.kind === 'bf16' || PLAIN.has(part) || shape.length < 2) return numbers * 2;
  if (part === 'experts' && native.experts === 'fp4') return numbers / 2 + numbers / 32;
  const scaleBytes = native.scale === 'F32' ? 4 : 1;
  // Rows of tables carry their own scales, one for every 32 numbers.
  if (part === 'engram') return numbers + numbers / 32;
  const [columns = 1, rows = 1, stack = 1] = shape;
  const scales = Math.ceil(rows / native.block[0]) * Math.ceil(columns / native.block[1]) * stack;
  return numbers + scales * scaleBytes;
}

function nativeType(native: Native, { shape, part }: Spec): DTypeName {
  if (native.kind === 'bf16' || PLAIN.has(part) || shape.length < 2) return 'BF16';
  return part === 'experts' && native.experts === 'fp4' ? 'MXFP4' : 'F8_E4M3';
}

function nativeTitle(native: Native): string {
  if (native.kind === 'bf16') return 'BF16';
  return native.experts === 'fp4' ? 'FP8, experts FP4' : 'FP8';
}
