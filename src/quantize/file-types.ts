/**
 * Owns: the names that quantized files go by (Q4_K_M …), as a table: the base type of each and where it spends more bits.
 * Refuses to know: files, encoders, what a tensor's numbers are.
 *
 * Source: the rules of llama.cpp's quantizer (src/llama-quant.cpp), held to it in test/golden/quantize; models with eight
 * experts, which it treats apart, are not among the architectures here.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';

/** Where a tensor stands among its like, and what the model around it is. */
export interface Place {
  /** The block's number, and how many blocks the file has, draft blocks included. */
  readonly layer: number;
  readonly layers: number;
  /** Which of the tensors of the value class this is, and how many there are. */
  readonly valueIndex: number;
  readonly values: number;
  /** Which of the ffn_down this is: a layer with a shared expert has two. */
  readonly downIndex: number;
  /** Query heads for every key head. */
  readonly groupSize: number;
  /** Experts of a layer, 0 without. */
  readonly experts: number;
  /** Whether an importance matrix is at hand. */
  readonly importance: boolean;
}

/** The type of one tensor; undefined leaves the base type. */
export type Rule = (place: Place) => DTypeName | undefined;

/** One row of the table. */
export interface FileType {
  /** `general.file_type` of GGUF. */
  readonly number: number;
  readonly base: DTypeName;
  /** The output matrix, and the embedding where it is the output too. */
  readonly output?: DTypeName;
  /** The embedding where it is not the output. */
  readonly embedding?: DTypeName;
  /** attn_v, the fused attn_qkv, and attn_kv_b. */
  readonly values?: Rule;
  /** ffn_down, and those of the experts. */
  readonly down?: Rule;
  readonly attnOutput?: DTypeName;
  /** attn_q and attn_k. */
  readonly queryKey?: DTypeName;
  /** Stacks of matrices; all others take the base type. */
  readonly stacks?: DTypeName;
}

/** The first and the last eighth of the layers, and every third between. */
const more = (i: number, n: number): boolean => {
  const eighth = Math.floor(n / 8);
  return i < eighth || i >= Math.floor((7 * n) / 8) || (i - eighth) % 3 === 2;
};
const firstPart = ({ layer, layers }: Place, part: number) => layer < Math.floor(layers / part);
const moreValues =
  (type: DTypeName): Rule =>
  ({ valueIndex, values }) =>
    more(valueIndex, values) ? type : undefined;
const moreLayers =
  (type: DTypeName): Rule =>
  ({ layer, layers }) =>
    more(layer, layers) ? type : undefined;
const always =
  (type: DTypeName): Rule =>
  () =>
    type;
const shared =
  (type: DTypeName, otherwise?: DTypeName): Rule =>
  ({ groupSize }) =>
    groupSize >= 4 ? type : otherwise;
/** Without an importance matrix the first eighth of ffn_down goes wrong in four bits. */
const carefulDown: Rule = (place) => (firstPart(place, 8) && !place.importance ? 'Q5_K' : undefined);
/** With one, the first eighth gets an offset. */
const guardedDown =
  (type: DTypeName): Rule =>
  (place) =>
    firstPart(place, 8) && place.importance ? type : undefined;
const sharedOrExperts =
  (type: DTypeName, otherwise: DTypeName): Rule =>
  ({ groupSize, experts }) =>
    groupSize >= 4 || experts >= 4 ? type : otherwise;
const firstDowns =
  (type: DTypeName): Rule =>
  ({ downIndex, layers }) =>
    downIndex < Math.floor(layers / 8) ? type : undefined;

const OUTPUT = { output: 'Q6_K' } as const;
/** IQ2_S and IQ2_M. */
const OVER_TWO_BITS = {
  output: 'Q5_K',
  embedding: 'IQ3_S',
  values: sharedOrExperts('Q4_K', 'IQ3_S'),
  down: firstDowns('IQ3_S'),
  attnOutput: 'IQ3_S',
} as const;
const TWO_BITS = {
  output: 'Q5_K',
  embedding: 'Q2_K',
  values: sharedOrExperts('Q4_K', 'Q2_K'),
  down: firstDowns('Q2_K'),
} as const;
const ONE_BIT = { ...TWO_BITS, attnOutput: 'IQ2_XXS' } as const;
const TERNARY = { ...OUTPUT, embedding: 'Q4_K' } as const;

/** Every name, from the most bits to the fewest. */
export const FILE_TYPES = {
  F32: { number: 0, base: 'F32' },
  BF16: { number: 32, base: 'BF16' },
  F16: { number: 1, base: 'F16' },
  Q8_0: { number: 7, base: 'Q8_0' },
  Q6_K: { number: 18, base: 'Q6_K', ...OUTPUT },
  Q5_K_M: { number: 17, base: 'Q5_K', ...OUTPUT, values: moreValues('Q6_K'), down: moreLayers('Q6_K') },
  Q5_K_S: { number: 16, base: 'Q5_K', ...OUTPUT },
  Q5_1: { number: 9, base: 'Q5_1', ...OUTPUT },
  Q5_0: { number: 8, base: 'Q5_0', ...OUTPUT, down: guardedDown('Q5_1') },
  Q4_K_M: { number: 15, base: 'Q4_K', ...OUTPUT, values: moreValues('Q6_K'), down: moreLayers('Q6_K') },
  Q4_K_S: {
    number: 14,
    base: 'Q4_K',
    ...OUTPUT,
    values: ({ valueIndex }) => (valueIndex < 4 ? 'Q5_K' : undefined),
    down: (place) => (firstPart(place, 8) ? 'Q5_K' : undefined),
  },
  IQ4_NL: { number: 25, base: 'IQ4_NL', ...OUTPUT, values: shared('Q5_K'), down: carefulDown },
  IQ4_XS: { number: 30, base: 'IQ4_XS', ...OUTPUT, values: shared('Q5_K'), down: carefulDown },
  Q4_1: { number: 3, base: 'Q4_1', ...OUTPUT },
  Q4_0: { number: 2, base: 'Q4_0', ...OUTPUT, down: guardedDown('Q4_1') },
  MXFP4: { number: 38, base: 'Q8_0', output: 'Q8_0', stacks: 'MXFP4' },
  Q3_K_L: {
    number: 13,
    base: 'Q3_K',
    ...OUTPUT,
    values: always('Q5_K'),
    down: always('Q5_K'),
    attnOutput: 'Q5_K',
  },
  Q3_K_M: {
    number: 12,
    base: 'Q3_K',
    ...OUTPUT,
    values: ({ valueIndex }) => (valueIndex < 2 ? 'Q5_K' : 'Q4_K'),
    down: (place) => (firstPart(place, 16) ? 'Q5_K' : 'Q4_K'),
    attnOutput: 'Q4_K',
  },
  IQ3_M: {
    number: 27,
    base: 'IQ3_S',
    ...OUTPUT,
    values: always('Q4_K'),
    down: (place) => (firstPart(place, 8) ? 'Q4_K' : undefined),
    attnOutput: 'Q4_K',
  },
  Q3_K_S: { number: 11, base: 'Q3_K', ...OUTPUT },
  IQ3_S: { number: 26, base: 'IQ3_S', ...OUTPUT, values: shared('Q4_K') },
  IQ3_XXS: {
    number: 23,
    base: 'IQ3_XXS',
    output: 'Q5_K',
    embedding: 'IQ3_S',
    values: shared('Q4_K'),
    attnOutput: 'IQ3_S',
    queryKey: 'IQ2_S',
  },
  Q2_K: {
    number: 10,
    base: 'Q2_K',
    ...OUTPUT,
    values: shared('Q4_K', 'Q3_K'),
    down: always('Q3_K'),
    attnOutput: 'Q3_K',
  },
  IQ2_M: { number: 29, base: 'IQ2_S', ...OVER_TWO_BITS },
  IQ2_S: { number: 28, base: 'IQ2_XS', ...OVER_TWO_BITS },
  IQ2_XS: { number: 20, base: 'IQ2_XS', ...TWO_BITS },
  TQ2_0: { number: 37, base: 'TQ2_0', ...TERNARY },
  IQ2_XXS: { number: 19, base: 'IQ2_XXS', ...TWO_BITS },
  IQ1_M: { number: 31, base: 'IQ1_M', ...ONE_BIT },
  TQ1_0: { number: 36, base: 'TQ1_0', ...TERNARY },
  IQ1_S: { number: 24, base: 'IQ1_S', ...ONE_BIT },
} as const satisfies Readonly<Record<string, FileType>>;

/** A name of the table. */
export type FileTypeName = keyof typeof FILE_TYPES;

/** All names of the table, from the most bits to the fewest. */
export const FILE_TYPE_NAMES = Object.keys(FILE_TYPES) as readonly FileTypeName[];

/** The names of types that Hadal writes; of the others it only reads files. */
export const WRITTEN_TYPES = FILE_TYPE_NAMES.filter(
  (name) => dtype(FILE_TYPES[name].base).encode !== undefined,
);

/**
 * The name in the table that a person meant, in any case; `MXFP4_MOE` is llama.cpp's name for MXFP4.
 *
 * @example fileTypeNamed('q4_k_m') // 'Q4_K_M'
 */
export function fileTypeNamed(name: string): FileTypeName | undefined {
  const upper = name.toUpperCase().replace(/^MXFP4_MOE$/, 'MXFP4');
  return FILE_TYPE_NAMES.find((known) => known === upper);
}

/**
 * As {@link fileTypeNamed}, of the types that Hadal writes.
 *
 * @throws HadalError `file-type-unknown`
 * @example writtenTypeNamed('q4_k_m') // 'Q4_K_M'
 */
export function writtenTypeNamed(name: string): FileTypeName {
  const known = fileTypeNamed(name);
  if (known !== undefined && WRITTEN_TYPES.includes(known)) return known;
  throw new HadalError('file-type-unknown', {
    what: 'the type to quantize to',
    expected: `one of ${WRITTEN_TYPES.join(', ')}`,
    got: name,
    next:
      known === undefined
        ? 'choose one of those'
        : 'Hadal reads files of this type but cannot make them yet; choose one of those',
  });
}
