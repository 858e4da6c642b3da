/**
 * Owns: which number type each tensor of a model gets: the mix of a file type, a recipe's patterns, rows that do not fit.
 * Refuses to know: where tensors come from, how they are encoded.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype } from '../dtypes/table.ts';
import { FILE_TYPES, type FileType, type FileTypeName, type Place } from './file-types.ts';

/** A tensor as far as the choice goes. */
export interface Candidate {
  /** GGUF's name. */
  readonly name: string;
  /** GGUF order, row length first. */
  readonly shape: readonly number[];
  /** What it is in now. */
  readonly dtype: DTypeName;
}

/** What is asked for, and what the model around the tensors is. */
export interface Choice {
  readonly fileType: FileTypeName;
  /** Blocks of the model, draft blocks included. */
  readonly layers: number;
  /** Query heads for every key head. */
  readonly groupSize: number;
  /** Experts of a layer; none when absent. */
  readonly experts?: number;
  readonly importance: boolean;
  /** First match wins, before the mix. */
  readonly overrides?: readonly { readonly pattern: RegExp; readonly type: DTypeName }[];
}

/** What a tensor gets. */
export interface Chosen {
  readonly type: DTypeName;
  /** The type that was meant, where its blocks do not fit the rows. */
  readonly insteadOf?: DTypeName;
}

/** Never quantized: vectors, norms, routers, tables of token types. */
const KEPT = /_norm\.weight$|ffn_gate_inp\.weight$|^position_embd\.|^token_types\./;

/** Types whose blocks are a whole 256 numbers, and what stands in for rows of other lengths. Source: llama.cpp. */
const FALLBACKS: Readonly<Partial<Record<DTypeName, DTypeName>>> = {
  Q2_K: 'Q4_0',
  Q3_K: 'Q4_0',
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
  TQ1_0: 'Q4_0',
  TQ2_0: 'Q4_0',
  IQ4_XS: 'IQ4_NL',
  IQ3_S: 'IQ4_NL',
  IQ3_XXS: 'IQ4_NL',
  IQ2_S: 'IQ4_NL',
  IQ2_XS: 'IQ4_NL',
  IQ2_XXS: 'IQ4_NL',
  IQ1_M: 'IQ4_NL',
  IQ1_S: 'IQ4_NL',
};

/**
 * The type of every tensor, by name. Tensors that are never quantized keep theirs.
 *
 * @example chooseTypes(tensors, { fileType: 'Q4_K_M', layers: 27, groupSize: 16, importance: false }).get('output.weight') // { type: 'Q6_K' }
 */
export function chooseTypes(tensors: readonly Candidate[], choice: Choice): ReadonlyMap<string, Chosen> {
  const { fileType, layers, groupSize, experts = 0, importance, overrides = [] } = choice;
  const mix: FileType = FILE_TYPES[fileType];
  const tied = !tensors.some(({ name }) => name === 'output.weight');
  const inOrder = tensors.map(({ name }) => name).sort((a, b) => layerOf(a) - layerOf(b) || (a < b ? -1 : 1));
  const numbered = (names: readonly string[]) => new Map(names.map((name, index) => [name, index]));
  const values = numbered(inOrder.filter(isValue));
  const downs = numbered(inOrder.filter(isDown));
  return new Map(
    tensors.map((tensor) => {
      const { name } = tensor;
      if (!isQuantized(tensor)) return [name, { type: tensor.dtype }];
      const place: Place = {
        layer: layerOf(name),
        layers,
        valueIndex: values.get(name) ?? 0,
        values: values.size,
        downIndex: downs.get(name) ?? 0,
        groupSize,
        experts,
        importance,
      };
      const override = overrides.find(({ pattern }) => pattern.test(name))?.type;
      return [name, fitting(override ?? mixed(mix, tensor, place, tied), tensor.shape[0]!)];
    }),
  );
}

/** Whether a tensor takes part in quantizing at all. Example: `isQuantized({ name: 'blk.0.attn_norm.weight', shape: [64], dtype: 'F32' }) // false` */
export function isQuantized({ name, shape }: Candidate): boolean {
  return shape.length >= 2 && name.endsWith('.weight') && !KEPT.test(name);
}

function mixed(mix: FileType, { name, shape }: Candidate, place: Place, tied: boolean): DTypeName {
  const { base } = mix;
  if (dtype(base).blockElements === 1) return base;
  if (name === 'output.weight' || (tied && name === 'token_embd.weight')) {
    if (shape[0]! % dtype(base).blockElements !== 0) return 'Q8_0';
    return mix.output ?? base;
  }
  if (name === 'token_embd.weight') return mix.embedding ?? base;
  if (mix.stacks !== undefined && (shape[2] ?? 1) > 1) return mix.stacks;
  if (isValue(name)) return careful(mix.values?.(place) ?? base, base, place);
  if (/attn_[qk]\.weight$/.test(name)) return mix.queryKey ?? base;
  if (isDown(name)) return mix.down?.(place) ?? base;
  if (name.includes('attn_output.weight')) return mix.attnOutput ?? base;
  return base;
}

function fitting(type: DTypeName, rowLength: number): Chosen {
  const fits = (name: DTypeName) => rowLength % dtype(name).blockElements === 0;
  if (fits(type)) return { type };
  const fallback = FALLBACKS[type];
  return { type: fallback !== undefined && fits(fallback) ? fallback : 'F16', insteadOf: type };
}

/** Models of 80 layers with shared keys have small values and much to lose by them; not where bits are scarcest. */
function careful(type: DTypeName, base: DTypeName, { layers, groupSize }: Place): DTypeName {
  const raised = layers === 80 && groupSize > 1 && !/^IQ[12]/.test(base);
  return raised && (type === 'Q3_K' || type === 'Q4_K') ? 'Q5_K' : type;
}

function isDown(name: string): boolean {
  return name.includes('ffn_down');
}

function isValue(name: string): boolean {
  return /attn_(v|qkv|kv_b)\.weight$/.test(name);
}

function layerOf(name: string): number {
  return Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);
}
