/**
 * Owns: which tensors a model needs, whether a file has them in the right shape, and where their bytes come from.
 * Refuses to know: what a layer computes, number formats' layouts.
 */
import type { ScaleBlock, Weight } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { TensorInfo } from '../formats/tensor-info.ts';
import type { ModelConfig } from './config.ts';

/** What a tensor is for, for the sums that `inspect` prints. */
export type Part =
  | 'embedding'
  | 'output'
  | 'norms'
  | 'attention'
  | 'feed-forward'
  | 'router'
  | 'experts'
  | 'shared experts'
  | 'predictor';

/** One tensor that a model needs, by its GGUF name. */
export interface TensorSpec {
  readonly name: string;
  /** GGUF order: row length first. */
  readonly shape: readonly number[];
  readonly part: Part;
  /** May be absent. */
  readonly optional?: boolean;
}

/** Where the bytes of a needed tensor are: one tensor of the file, or one for each expert; each with its scales. */
export interface TensorPlan {
  readonly spec: TensorSpec;
  readonly tensors: readonly TensorInfo[];
  /** Companions of `tensors`, in the same order, when the file is block-scaled. */
  readonly scales?: readonly TensorInfo[];
  /** The patch that shares a scale; present with `scales`. */
  readonly scaleBlock?: ScaleBlock;
}

/** The weights of a loaded model, by GGUF name. */
export interface Weights {
  /** The weight; declared and checked before, so it is there. */
  get(name: string): Weight;
  /** The weight of an optional tensor. */
  find(name: string): Weight | undefined;
}

/** Bytes on disk of a plan, scales included. Example: `planBytes(plan)`. */
export function planBytes({ tensors, scales = [] }: TensorPlan): number {
  return [...tensors, ...scales].reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * Of all tensors of a model those of which only rows are wanted: the embedding, unless it is the output matrix as well. They
 * are kept apart when they are loaded, and no memory is counted for them. (Where the native backend cannot map files, as on
 * Windows, it holds them with the rest.)
 *
 * @example keptApart(plans.map(({ spec }) => spec)).map(({ name }) => name) // ['token_embd.weight'] or []
 */
export function keptApart<T extends { readonly part: string }>(tensors: readonly T[]): readonly T[] {
  const untied = tensors.some(({ part }) => part === 'output');
  return untied ? tensors.filter(({ part }) => part === 'embedding') : [];
}

/** Bytes of plans that a model holds: all but what is kept apart; scales are held. Example: `heldBytes(plans)`. */
export function heldBytes(plans: readonly TensorPlan[]): number {
  const apart = new Set(keptApart(plans.map(({ spec }) => spec)));
  return plans.reduce((sum, plan) => {
    return sum + planBytes(apart.has(plan.spec) ? { ...plan, tensors: [] } : plan);
  }, 0);
}

/** Numbers in a spec. Example: `specNumbers({ shape: [4, 8], ... }) === 32`. */
export function specNumbers({ shape }: Pick<TensorSpec, 'shape'>): number {
  return shape.reduce((product, n) => product * n, 1);
}

/**
 * Matches the specs with a GGUF file's tensors; throws `tensor-missing` or `tensor-shape` for the first that does not fit.
 *
 * @example planGguf(specs, file.tensors, 'model.gguf')
 */
export function planGguf(
  specs: readonly TensorSpec[],
  tensors: ReadonlyMap<string, TensorInfo>,
  fileName: string,
): TensorPlan[] {
  const plans: TensorPlan[] = [];
  for (const spec of specs) {
    const tensor = tensors.get(spec.name);
    if (tensor) {
      demandShape(tensor, spec.shape, fileName);
      plans.push({ spec, tensors: [tensor] });
    } else if (!spec.optional) {
      throw missing(spec.name, fileName);
    }
  }
  return plans;
}

/** Throws `tensor-shape` unless the tensor has this shape (trailing ones aside). Example: `demandShape(info, [576], 'x.gguf')`. */
export function demandShape(tensor: TensorInfo, shape: readonly number[], fileName: string): void {
  const got = tensor.shape;
  const rank = Math.max(got.length, shape.length);
  for (let i = 0; i < rank; i++) {
    if ((got[i] ?? 1) === (shape[i] ?? 1)) continue;
    throw new HadalError('tensor-shape', {
      what: `tensor "${tensor.name}" of ${fileName}`,
      expected: `[${shape.join(', ')}] by the file's own config`,
      got: `[${got.join(', ')}]`,
      next: 'the file contradicts itself: fetch or convert it again',
    });
  }
}

/** Tensors that add nothing: read elsewhere, made anew, or another form of one that is read. */
const IDLE = [
  /^rope_freqs\.weight$/,
  /rotary_emb\.inv_freq$/,
  /attn_rot_embd\.weight$/,
  /attn_kv_b\.weight$/,
];

/**
 * Throws `tensor-unexpected` for the first tensor that no plan reads: a layer, bias or norm that would be left out in
 * silence. Blocks of multi-token prediction, from `layers` up to `layers + draftLayers`, may stay unread: all but the
 * first, and copies of embedding and head in it; but a block that has nothing of a predictor is a layer.
 *
 * @example demandRead(plans, file.tensors, config, 'model.gguf')
 */
export function demandRead(
  plans: readonly TensorPlan[],
  tensors: ReadonlyMap<string, TensorInfo>,
  { layers, draftLayers = 0 }: Pick<ModelConfig, 'layers' | 'draftLayers'>,
  fileName: string,
): void {
  const read = new Set(plans.flatMap((plan) => [...plan.tensors, ...(plan.scales ?? [])]));
  const predicting = new Set<number>();
  for (const name of tensors.keys()) if (OF_PREDICTOR.test(name)) predicting.add(layerOf(name));
  for (const tensor of tensors.values()) {
    if (read.has(tensor) || IDLE.some((pattern) => pattern.test(tensor.name))) continue;
    const layer = layerOf(tensor.name);
    if (layer >= layers && layer < layers + draftLayers && predicting.has(layer)) continue;
    throw new HadalError('tensor-unexpected', {
      what: `tensor "${tensor.name}" of ${fileName}`,
      expected: `only tensors that a model of ${layers} layers by the file's own config has`,
      got: `one of [${tensor.shape.join(', ')}] that it has no use for`,
      next: 'the file contradicts itself or is of another architecture than it says: fetch or convert it again',
    });
  }
}

/** What only a predicting block has, in GGUF and in a folder. */
const OF_PREDICTOR = /^(?:blk\.\d+\.nextn|model\.layers\.\d+)\.(?:eh_proj|enorm|hnorm)\./;

function layerOf(name: string): number {
  return Number(/^(?:blk|model\.layers)\.(\d+)\./.exec(name)?.[1] ?? -1);
}

/** The error of a tensor that is not there. Example: `throw missing('output_norm.weight', 'x.gguf')`. */
export function missing(name: string, fileName: string): HadalError {
  return new HadalError('tensor-missing', {
    what: `tensor "${name}" of ${fileName}`,
    expected: 'a tensor of this name',
    got: 'none',
    next: 'the file is not complete: fetch or convert it again',
  });
}
