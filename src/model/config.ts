/**
 * Owns: the one record of what a model is, and the checks that it makes sense.
 * Refuses to know: where the record came from (config-gguf.ts, config-hf.ts), tensors, arithmetic.
 */
import { HadalError } from '../error.ts';

/** Architectures that can be run, by `general.architecture` of GGUF. */
export const ARCHITECTURES = ['llama', 'qwen2', 'qwen3', 'deepseek', 'deepseek2', 'deepseek32'] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** Architectures with latent attention. */
export const LATENT: ReadonlySet<Architecture> = new Set(['deepseek2', 'deepseek32']);

/** How positions turn heads. Frequencies are base^(-2i / dim), then scaled. */
export interface RopeConfig {
  /** Rotated columns of a head, even. */
  readonly dim: number;
  readonly base: number;
  /** norm: neighbours rotate together (GGUF's llama, every MLA file); neox: the two halves do. */
  readonly layout: 'norm' | 'neox';
  readonly scaling: RopeScaling;
}

export type RopeScaling =
  | { readonly type: 'none' }
  /** Position / factor. */
  | { readonly type: 'linear'; readonly factor: number }
  /** Llama 3's smooth division of the low frequencies; GGUF files carry its divisors as a tensor instead. */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalTokens: number;
    }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalTokens: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** Factor on cos and sin. */
      readonly magnitude: number;
      /** Factor on the softmax scale is (1 + logMultiplier * ln factor)^2: 0.1 * mscale_all_dim for MLA, else 0. */
      readonly logMultiplier: number;
    };

type ScalingOf<T extends RopeScaling['type']> = Extract<RopeScaling, { readonly type: T }>;

/** Grouped-query attention (llama, qwen, DeepSeek's first MoE). */
export interface GroupedConfig {
  readonly kind: 'grouped';
  readonly heads: number;
  readonly kvHeads: number;
  /** Columns of a head of q and k. */
  readonly headDim: number;
  /** Columns of a head of v. */
  readonly valueDim: number;
}

/** Multi-head latent attention (V2 and later). */
export interface LatentConfig {
  readonly kind: 'latent';
  readonly heads: number;
  /** Rank of the query's down-projection; absent when q is projected directly. */
  readonly qLora?: number;
  /** Columns of the latent. */
  readonly kvLora: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly valueDim: number;
  /** V3.2: what chooses the cached rows that a token attends to. */
  readonly indexer?: IndexerConfig;
}

/** The lightning indexer of V3.2. */
export interface IndexerConfig {
  readonly heads: number;
  /** Columns of an index head; the first `ropeDim` of them are rotated. */
  readonly dim: number;
  /** How many cached rows a token attends to at most. */
  readonly topK: number;
}

/** The router and the sizes of its experts. */
export interface ExpertsConfig {
  readonly experts: number;
  readonly used: number;
  readonly shared: number;
  /** Width of one routed expert; the shared ones are one MLP of shared * inter. */
  readonly inter: number;
  /** Layers below this one are dense. */
  readonly leadingDense: number;
  readonly gate: GateConfig;
}

/** How experts are chosen and weighed. */
export interface GateConfig {
  readonly scoring: 'softmax' | 'sigmoid' | 'sqrt-softplus';
  readonly groups: number;
  readonly groupsUsed: number;
  readonly groupScore: 'max' | 'top2';
  readonly normalise: boolean;
  readonly scale: number;
  /** Whether a correction bias takes part in the choice (`exp_probs_b.bias`). */
  readonly bias: boolean;
}

/** What a model is, whatever file said so. Mirrors the artefact, so it may have more than ten fields. */
export interface ModelConfig {
  readonly architecture: Architecture;
  readonly name?: string;
  readonly layers: number;
  /** Blocks after the layers that predict further tokens. */
  readonly draftLayers?: number;
  readonly contextTokens: number;
  /** Whether the embedding is the head; where the source does not say, it is when there is no tensor for a head. */
  readonly tied?: boolean;
  /** Columns of the residual stream. */
  readonly hidden: number;
  readonly vocabSize: number;
  /** Width of the dense feed-forward layers. */
  readonly feedForward: number;
  readonly normEps: number;
  readonly attention: GroupedConfig | LatentConfig;
  readonly rope: RopeConfig;
  readonly experts?: ExpertsConfig;
}

/**
 * Layers and experts are listed one by one before a file is known to have them, so a number in a header alone must not
 * take the memory. The largest models known have 126 and 512.
 */
const MOST_LAYERS = 4_096;
const MOST_EXPERTS = 16_384;
/** Published models have one; more would excuse whole models that nobody reads. */
const MOST_DRAFT_LAYERS = 8;

/** One rule of {@link validated}: what must hold, what is expected in words, what was found. */
interface Rule {
  readonly holds: boolean;
  readonly what: string;
  readonly expected: string;
  readonly got: string | number;
}

/**
 * The config, deeply frozen; throws `config-contradiction` for the first rule that it breaks.
 *
 * @example validated({ architecture: 'llama', layers: 30, ... }, 'model.gguf')
 */
export function validated(config: ModelConfig, fileName: string): ModelConfig {
  const rules = [
    ...sizeRules(config),
    ...attentionRules(config),
    ...ropeRules(config.rope),
    ...expertRules(config),
  ];
  for (const { holds, what, expected, got } of rules) {
    if (holds) continue;
    throw new HadalError('config-contradiction', {
      what: `${what} of ${fileName}`,
      expected,
      got: String(got),
      next: 'the file contradicts itself: fetch or convert it again',
    });
  }
  return deepFrozen(config);
}

function sizeRules(c: ModelConfig): Rule[] {
  return [
    rule(within(c.layers, MOST_LAYERS), 'the number of layers', `1 to ${MOST_LAYERS}`, c.layers),
    rule(
      within(c.draftLayers ?? 1, MOST_DRAFT_LAYERS),
      'the number of layers that predict further tokens',
      `0 to ${MOST_DRAFT_LAYERS}`,
      c.draftLayers ?? 0,
    ),
    count('the context length', c.contextTokens),
    count('the hidden size', c.hidden),
    count('the vocabulary size', c.vocabSize),
    count('the feed-forward width', c.feedForward),
    positive('the epsilon of the norms', c.normEps),
    count('the number of attention heads', c.attention.heads),
    count('the size of a value head', c.attention.valueDim),
  ];
}

function attentionRules({ attention: a, rope }: ModelConfig): Rule[] {
  if (a.kind === 'latent') {
    return [
      count('the rank of the latent', a.kvLora),
      count('the size of a query head without rope', a.nopeDim),
      ...(a.qLora === undefined ? [] : [count('the rank of the query', a.qLora)]),
      rule(a.ropeDim === rope.dim, 'the rotated part of a query head', String(rope.dim), a.ropeDim),
      ...(a.indexer ? indexerRules(a.indexer, a) : []),
    ];
  }
  return [
    count('the number of key heads', a.kvHeads),
    count('the size of a key head', a.headDim),
    rule(
      a.heads % a.kvHeads === 0,
      'the number of attention heads',
      `a multiple of the ${a.kvHeads} key heads`,
      a.heads,
    ),
    rule(rope.dim <= a.headDim, 'the rotated part of a head', `at most ${a.headDim} columns`, rope.dim),
  ];
}

function indexerRules({ heads, dim, topK }: IndexerConfig, { qLora, ropeDim }: LatentConfig): Rule[] {
  return [
    count('the number of index heads', heads),
    rule(dim >= ropeDim, 'the size of an index head', `at least the ${ropeDim} rotated columns`, dim),
    count('the number of rows that the indexer chooses', topK),
    rule(qLora !== undefined, 'the rank of the query', 'given, for the indexer reads it', 'none'),
  ];
}

function ropeRules({ dim, base, scaling }: RopeConfig): Rule[] {
  const even = rule(
    Number.isInteger(dim) && dim > 0 && dim % 2 === 0,
    'the rotated part of a head',
    'an even number',
    dim,
  );
  const rules = [even, rule(base > 1 && base < Infinity, 'the rope base', 'a number above 1', base)];
  if (scaling.type === 'none') return rules;
  const { factor } = scaling;
  rules.push(rule(factor >= 1 && factor < Infinity, 'the rope scaling factor', 'at least 1', factor));
  if (scaling.type === 'linear') return rules;
  rules.push(count('the original context length', scaling.originalTokens));
  return [...rules, ...(scaling.type === 'yarn' ? yarnRules(scaling) : llama3Rules(scaling))];
}

function yarnRules({ factor, betaFast, betaSlow, magnitude, logMultiplier }: ScalingOf<'yarn'>): Rule[] {
  return [
    ...ordered('beta_slow', betaSlow, 'beta_fast', betaFast),
    rule(magnitude > 0 && magnitude < Infinity, "YaRN's factor on cos and sin", 'above 0', magnitude),
    rule(
      Math.abs(logMultiplier) < Infinity && 1 + logMultiplier * Math.log(factor) > 0,
      "YaRN's multiplier of the softmax scale",
      'one that leaves the scale above 0',
      logMultiplier,
    ),
  ];
}

function llama3Rules({ lowFreqFactor, highFreqFactor }: ScalingOf<'llama3'>): Rule[] {
  return ordered('low_freq_factor', lowFreqFactor, 'high_freq_factor', highFreqFactor);
}

/** Two bounds of a smooth passage from frequencies that stay to those that are divided: 0 < low < high. */
function ordered(lowName: string, low: number, highName: string, high: number): Rule[] {
  return [
    rule(low > 0 && low < Infinity, `the ${lowName} of rope scaling`, 'above 0', low),
    rule(
      high > low && high < Infinity,
      `the ${highName} of rope scaling`,
      `above the ${lowName}, ${low}`,
      high,
    ),
  ];
}

function expertRules({ experts: e, layers }: ModelConfig): Rule[] {
  if (!e) return [];
  const { groups, groupsUsed, groupScore, scale } = e.gate;
  const perGroup = e.experts / groups;
  return [
    rule(within(e.experts, MOST_EXPERTS), 'the number of experts', `1 to ${MOST_EXPERTS}`, e.experts),
    count('the width of an expert', e.inter),
    rule(scale > 0 && scale < Infinity, "the scale of the experts' weights", 'a number above 0', scale),
    rule(
      Number.isInteger(e.shared) && e.shared >= 0,
      'the number of shared experts',
      'a whole number',
      e.shared,
    ),
    rule(
      groups >= 1 && Number.isInteger(perGroup),
      'the number of expert groups',
      `a divisor of the ${e.experts} experts`,
      groups,
    ),
    rule(
      groupsUsed >= 1 && groupsUsed <= groups,
      'the number of expert groups used',
      `1 to ${groups}`,
      groupsUsed,
    ),
    rule(
      groups === 1 || groupScore === 'max' || perGroup >= 2,
      'the size of an expert group',
      'at least 2',
      perGroup,
    ),
    rule(
      e.used >= 1 && e.used <= perGroup * groupsUsed,
      'the number of experts used',
      `1 to ${perGroup * groupsUsed}`,
      e.used,
    ),
    rule(
      e.leadingDense >= 0 && e.leadingDense <= layers,
      'the number of leading dense layers',
      `0 to ${layers}`,
      e.leadingDense,
    ),
  ];
}

function rule(holds: boolean, what: string, expected: string, got: string | number): Rule {
  return { holds, what, expected, got };
}

function count(what: string, got: number): Rule {
  return rule(Number.isInteger(got) && got > 0 && got < 2 ** 31, what, 'a whole number above 0', got);
}

function within(got: number, most: number): boolean {
  return Number.isInteger(got) && got >= 1 && got <= most;
}

function positive(what: string, got: number): Rule {
  return rule(got > 0 && got < 1, what, 'a number between 0 and 1', got);
}

function deepFrozen<T extends object>(record: T): T {
  for (const value of Object.values(record)) if (typeof value === 'object' && value) deepFrozen(value);
  return Object.freeze(record);
}
