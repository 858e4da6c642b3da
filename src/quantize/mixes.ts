/**
 * Owns: the usual quantizations by name (table): which number format each tensor of a model gets in a file of that name.
 * Refuses to know: files, how numbers are encoded.
 *
 * Source: the rules of llama.cpp's quantizer (src/llama-quant.cpp), for files made with an importance matrix where the
 * rules ask for one. Files of community quantizers override single tensors, so a file that is there is read instead.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';

/** What the rules look at besides a tensor's name and shape. */
export interface MixFacts {
  readonly layers: number;
  readonly heads: number;
  /** 1 for latent attention. */
  readonly kvHeads: number;
  /** 0 without experts. */
  readonly experts: number;
}

/** A tensor as the rules see it. */
export interface MixTensor {
  /** The GGUF name. */
  readonly name: string;
  /** GGUF order: row length first. */
  readonly shape: readonly number[];
}

/** Where in the model a tensor is. `index` of `count`: its layer, or its place among the tensors of its role. */
interface Place extends MixFacts {
  readonly index: number;
  readonly nth: number;
}

type Rule = DTypeName | ((place: Place) => DTypeName);

interface Mix {
  readonly base: DTypeName;
  readonly output?: DTypeName;
  readonly embedding?: DTypeName;
  /** attn_v, a fused qkv, and attn_kv_b. */
  readonly value?: Rule;
  readonly down?: Rule;
  readonly attnOutput?: DTypeName;
  readonly queryKey?: DTypeName;
  /** Stacks of matrices. */
  readonly stacks?: DTypeName;
}

/** The first and last eighth of the layers, and every third between. */
const more = ({ index, layers }: Place): boolean => {
  const eighth = Math.floor(layers / 8);
  return index < eighth || index >= Math.floor((7 * layers) / 8) || (index - eighth) % 3 === 2;
};
const grouped = ({ heads, kvHeads }: Place) => heads / kvHeads >= 4;
const first = (share: number, then: DTypeName, otherwise: DTypeName) => (place: Place) =>
  place.index < Math.floor(place.layers / share) ? then : otherwise;
/** As {@link first}, but the tensors are counted, not the layers: a layer with a shared expert has two. */
const firstNth = (share: number, then: DTypeName, otherwise: DTypeName) => (place: Place) =>
  place.nth < Math.floor(place.layers / share) ? then : otherwise;
const whereMore = (then: DTypeName, otherwise: DTypeName) => (place: Place) =>
  more(place) ? then : otherwise;
const whereGrouped = (then: DTypeName, otherwise: DTypeName) => (place: Place) =>
  grouped(place) ? then : otherwise;
const groupedOrExperts = (then: DTypeName, otherwise: DTypeName) => (place: Place) =>
  grouped(place) || place.experts >= 4 ? then : otherwise;

const small = (base: DTypeName, attnOutput: DTypeName = base): Mix => ({
  base,
  output: 'Q5_K',
  embedding: 'Q2_K',
  value: groupedOrExperts('Q4_K', 'Q2_K'),
  down: firstNth(8, 'Q2_K', base),
  attnOutput,
});
const iq2 = (base: DTypeName): Mix => ({
  base,
  output: 'Q5_K',
  embedding: 'IQ3_S',
  value: groupedOrExperts('Q4_K', 'IQ3_S'),
  down: firstNth(8, 'IQ3_S', base),
  attnOutput: 'IQ3_S',
});
const with6 = (base: DTypeName, more: Omit<Mix, 'base' | 'output'> = {}): Mix => ({
  base,
  output: 'Q6_K',
  ...more,
});

/** Best first. */
const MIXES = {
  F32: { base: 'F32' },
  BF16: { base: 'BF16' },
  F16: { base: 'F16' },
  Q8_0: { base: 'Q8_0' },
  Q6_K: { base: 'Q6_K' },
  Q5_K_M: with6('Q5_K', { value: whereMore('Q6_K', 'Q5_K'), down: whereMore('Q6_K', 'Q5_K') }),
  Q4_K_M: with6('Q4_K', { value: whereMore('Q6_K', 'Q4_K'), down: whereMore('Q6_K', 'Q4_K') }),
  Q4_K_S: with6('Q4_K', {
    value: ({ index }) => (index < 4 ? 'Q5_K' : 'Q4_K'),
    down: first(8, 'Q5_K', 'Q4_K'),
  }),
  MXFP4_MOE: { base: 'Q8_0', stacks: 'MXFP4' },
  IQ4_XS: with6('IQ4_XS', { value: whereGrouped('Q5_K', 'IQ4_XS') }),
  Q3_K_M: with6('Q3_K', {
    value: ({ index }) => (index < 2 ? 'Q5_K' : 'Q4_K'),
    down: first(16, 'Q5_K', 'Q4_K'),
    attnOutput: 'Q4_K',
  }),
  IQ3_M: with6('IQ3_S', { value: 'Q4_K', down: first(8, 'Q4_K', 'IQ3_S'), attnOutput: 'Q4_K' }),
  IQ3_XXS: {
    base: 'IQ3_XXS',
    output: 'Q5_K',
    embedding: 'IQ3_S',
    value: whereGrouped('Q4_K', 'IQ3_XXS'),
    attnOutput: 'IQ3_S',
    queryKey: 'IQ2_S',
  },
  Q2_K: with6('Q2_K', { value: whereGrouped('Q4_K', 'Q3_K'), down: 'Q3_K', attnOutput: 'Q3_K' }),
  IQ2_M: iq2('IQ2_S'),
  IQ2_S: iq2('IQ2_XS'),
  IQ2_XXS: small('IQ2_XXS'),
  IQ1_M: small('IQ1_M', 'IQ2_XXS'),
  IQ1_S: small('IQ1_S', 'IQ2_XXS'),
} as const satisfies Readonly<Record<string, Mix>>;

/** A quantization's name. */
export type MixName = keyof typeof MIXES;

/** All quantizations that are known, best first. */
export const MIX_NAMES = Object.keys(MIXES) as readonly MixName[];

/**
 * A quantization by name, whatever the case; undefined when there is none of that name.
 *
 * @example mixNamed('q4_k_m') // 'Q4_K_M'
 */
export function mixNamed(name: string): MixName | undefined {
  return MIX_NAMES.find((known) => known === name.toUpperCase());
}

/**
 * The number format of each tensor, in the order of `tensors`, which must be the order of the file's layers.
 *
 * @throws HadalError `mix-impossible` when a row fits no format.
 * @example mixTypes('Q4_K_M', [{ name: 'output.weight', shape: [4096, 102400] }], facts) // ['Q6_K']
 */
export function mixTypes(name: MixName, tensors: readonly MixTensor[], facts: MixFacts): DTypeName[] {
  const mix: Mix = MIXES[name];
  const tied = !tensors.some((tensor) => tensor.name === 'output.weight');
  let downs = 0;
  return tensors.map((tensor) => {
    if (isKept(tensor)) return 'F32';
    const layer = Number(/^blk\.(\d+)\./.exec(tensor.name)?.[1] ?? 0);
    const role = roleOf(tensor.name, tied);
    const place = { ...facts, index: layer, nth: role === 'down' ? downs++ : 0 };
    const stacked = (tensor.shape[2] ?? 1) > 1 ? mix.stacks : undefined;
    const rule: Rule = stacked ?? (role && mix[role]) ?? mix.base;
    return fitting(typeof rule === 'function' ? rule(place) : rule, tensor);
  });
}

type Role = Exclude<keyof Mix, 'base' | 'stacks'>;

const ROLES: readonly (readonly [RegExp, Role])[] = [
  [/^output\.weight$/, 'output'],
  [/^token_embd\.weight$/, 'embedding'],
  [/\.attn_(v|qkv|kv_b)\.weight$/, 'value'],
  [/\.ffn_down(_exps|_shexp)?\.weight$/, 'down'],
  [/\.attn_output\.weight$/, 'attnOutput'],
  [/\.attn_[qk]\.weight$/, 'queryKey'],
];

function roleOf(name: string, tied: boolean): Role | undefined {
  const role = ROLES.find(([pattern]) => pattern.test(name))?.[1];
  return role === 'embedding' && tied ? 'output' : role;
}

/** Norms, biases, routers and tables of small things are never quantized. */
function isKept({ name, shape }: MixTensor): boolean {
  return shape.length < 2 || /(_norm\.weight|ffn_gate_inp\.weight|\.bias)$/.test(name);
}

/** What llama.cpp takes instead where a row is not whole blocks. */
const INSTEAD: Readonly<Partial<Record<DTypeName, DTypeName>>> = {
  Q2_K: 'Q4_0',
  Q3_K: 'Q4_0',
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
};

function fitting(wanted: DTypeName, { name, shape }: MixTensor): DTypeName {
  const columns = shape[0] ?? 0;
  const whole = (candidate: DTypeName) => columns % dtype(candidate).blockElements === 0;
  const instead = INSTEAD[wanted] ?? (wanted.startsWith('IQ') ? 'IQ4_NL' : 'F16');
  const found = [wanted, instead, 'F16' as const].find(whole);
  if (found !== undefined) return found;
  throw new HadalError('mix-impossible', {
    what: `tensor "${name}"`,
    expected: `rows of whole blocks of ${wanted}`,
    got: `${columns} columns`,
    next: 'choose another quantization',
  });
}
