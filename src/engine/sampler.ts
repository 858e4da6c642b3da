/**
 * Owns: choosing the next token from logits, and its log-probability.
 * Refuses to know: where logits come from, batches, text.
 *
 * The order is that of transformers' logits processors: bias, penalties, temperature, top-k, top-p, min-p. What a
 * constraint forbids is out before all of them.
 */
import { HadalError } from '../error.ts';
import { forbid, type TokenMask } from './constraint.ts';
import { argmax, largest } from './largest.ts';
import { uniform } from './random.ts';
import type { Sampling, ScoredToken, TokenLogprob } from './request.ts';

/** A bias at or below this bans a token, as OpenAI's API has it. */
const BAN = -100;

/** The error of logits that nothing can be chosen by. Example: `throw brokenLogits()`. */
export function brokenLogits(): HadalError {
  return new HadalError('logits-broken', {
    what: 'the logits of the model',
    expected: 'numbers',
    got: 'NaN or infinity',
    next: 'the weights are damaged, or their number format overflows: try another file of this model',
  });
}

/** Whether nothing can be said by these logits. Example: `areBroken(Float32Array.of(1, NaN)) // true` */
export function areBroken(logits: Float32Array): boolean {
  let high = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!;
    if (Number.isNaN(logit)) return true;
    if (logit > high) high = logit;
  }
  return !Number.isFinite(high);
}

/** Chooses the tokens of one answer. */
export class Sampler {
  readonly #sampling: Sampling;
  readonly #seed: number;
  readonly #topLogprobs: number | undefined;
  /** Prompt and answer. */
  readonly #seen: number[];
  /** How often the answer holds a token. */
  readonly #counts = new Map<number, number>();
  #chosen = 0;

  constructor(sampling: Sampling, promptIds: ArrayLike<number>, seed: number, topLogprobs?: number) {
    this.#sampling = sampling;
    this.#seed = seed;
    this.#topLogprobs = topLogprobs;
    this.#seen = Array.from(promptIds);
  }

  /** Whether the index of the largest logit is all that is needed. */
  get needsOnlyArgmax(): boolean {
    const { temperature, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = this.#sampling;
    const plain = repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0;
    const unbiased = (this.#sampling.logitBias?.length ?? 0) === 0;
    return temperature === 0 && plain && unbiased && this.#topLogprobs === undefined;
  }

  /**
   * Chooses the next token; `logits` [vocab] is used up. Throws `logits-broken` where one of them is no number, and
   * `constraint-stuck` where bias and `mask` together leave no token.
   */
  choose(logits: Float32Array, mask?: TokenMask): ScoredToken {
    if (areBroken(logits)) throw brokenLogits();
    const reported = this.#topLogprobs === undefined ? undefined : logits.slice();
    if (mask !== undefined) forbid(logits, mask);
    bend(logits, this.#sampling, this.#seen, this.#counts);
    if (mask !== undefined && logits[argmax(logits)] === Number.NEGATIVE_INFINITY) throw stuck();
    const { temperature } = this.#sampling;
    const id =
      temperature === 0 ? argmax(logits) : draw(logits, this.#sampling, uniform(this.#seed, this.#chosen));
    this.accept(id);
    return reported === undefined ? { id } : { id, ...logprobsOf(reported, id, this.#topLogprobs!) };
  }

  /**
   * The token that {@link choose} would take by these logits after `drafted`, with the random number that it will take:
   * logits like the model's guess what the model will draw. -1 where they are no numbers or `mask` leaves no token;
   * `logits` is used up.
   */
  guess(logits: Float32Array, drafted: readonly number[], mask?: TokenMask): number {
    if (areBroken(logits)) return -1;
    if (mask !== undefined) forbid(logits, mask);
    const { temperature, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = this.#sampling;
    // Copied only where penalties look at them: they grow with the text.
    const seen = repetitionPenalty === 1 ? drafted : [...this.#seen, ...drafted];
    const counts = new Map(presencePenalty === 0 && frequencyPenalty === 0 ? [] : this.#counts);
    for (const id of drafted) counts.set(id, (counts.get(id) ?? 0) + 1);
    bend(logits, this.#sampling, seen, counts);
    if (!Number.isFinite(logits[argmax(logits)])) return -1;
    if (temperature === 0) return argmax(logits);
    return draw(logits, this.#sampling, uniform(this.#seed, this.#chosen + drafted.length));
  }

  /** Takes note of a token that was chosen elsewhere. */
  accept(id: number): void {
    this.#chosen++;
    this.#seen.push(id);
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
  }
}

function stuck(): HadalError {
  return new HadalError('constraint-stuck', {
    what: 'the next token',
    expected: 'one that the constraint allows',
    got: 'none whose logit is a number',
    next: 'leave out the biases that ban tokens',
  });
}

/**
 * Applies bias and penalties in place.
 *
 * @param seen prompt and answer, in order.
 * @param counts how often the answer alone holds a token.
 * @example bend(logits, { temperature: 1, repetitionPenalty: 1.1 }, [3, 5], new Map());
 */
export function bend(
  logits: Float32Array,
  sampling: Sampling,
  seen: readonly number[],
  counts: ReadonlyMap<number, number>,
): void {
  const { logitBias = [], repetitionPenalty = 1, penaltyTokens } = sampling;
  const { presencePenalty = 0, frequencyPenalty = 0 } = sampling;
  for (const [id, bias] of logitBias)
    logits[id] = bias <= BAN ? Number.NEGATIVE_INFINITY : logits[id]! + bias;
  if (repetitionPenalty !== 1) {
    const from = penaltyTokens === undefined ? 0 : Math.max(0, seen.length - penaltyTokens);
    for (const id of new Set(seen.slice(from))) {
      const logit = logits[id]!;
      logits[id] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
    }
  }
  if (presencePenalty !== 0 || frequencyPenalty !== 0) {
    for (const [id, count] of counts) logits[id]! -= presencePenalty + frequencyPenalty * count;
  }
}

/** Tokens that may be chosen, and how likely each is beside the others. */
export interface Candidates {
  /** Undefined when candidate i is token i. */
  readonly ids: Int32Array | undefined;
  /** Not normalised. */
  readonly weights: Float64Array;
}

/**
 * What temperature, top-k, top-p and min-p leave of bent logits.
 *
 * @example candidates(logits, { temperature: 0.7, topP: 0.9 }).weights
 */
export function candidates(logits: Float32Array, sampling: Sampling): Candidates {
  const { temperature, topK = 0, topP = 1, minP = 0 } = sampling;
  const limited = topK > 0 && topK < logits.length;
  let ids = limited ? largest(logits, topK) : undefined;
  let weights = weightsOf(logits, ids, temperature);
  if (topP < 1) {
    const wanted = topP * sum(weights);
    if (ids === undefined) {
      ids = nucleusHolders(logits, weights, wanted);
      weights = picked(weights, ids);
    }
    let count = 0;
    for (let mass = 0; count < weights.length && mass < wanted; ) mass += weights[count++]!;
    weights = weights.subarray(0, Math.max(1, count));
  }
  // The best token weighs exactly 1, so min-p is a bound on the weight itself.
  if (minP > 0) weights = weights.map((w) => (w < minP ? 0 : w));
  return { ids: ids?.subarray(0, weights.length), weights };
}

/** What tokens weigh beside the best, which weighs 1: of all, or of these. A plain loop: it runs for every token of an answer. */
function weightsOf(logits: Float32Array, ids: Int32Array | undefined, temperature: number): Float64Array {
  const high = logits[argmax(logits)]!;
  const weights = new Float64Array(ids?.length ?? logits.length);
  for (let i = 0; i < weights.length; i++) {
    weights[i] = Math.exp((logits[ids === undefined ? i : ids[i]!]! - high) / temperature);
  }
  return weights;
}

/**
 * Draws a token from bent logits.
 *
 * @param random in [0, 1)
 * @example draw(logits, { temperature: 0.7, topP: 0.9 }, uniform(seed, 0))
 */
export function draw(logits: Float32Array, sampling: Sampling, random: number): number {
  const { ids, weights } = candidates(logits, sampling);
  let left = random * sum(weights);
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    last = i;
    left -= weights[i]!;
    if (left < 0) break;
  }
  return ids?.[last] ?? last;
}

function picked(weights: Float64Array, ids: Int32Array): Float64Array {
  const own = new Float64Array(ids.length);
  for (let i = 0; i < ids.length; i++) own[i] = weights[ids[i]!]!;
  return own;
}

/** Bounds of weight between which tokens are looked for; below the last of them lies next to nothing. */
const FIRST_BOUND = 0.01;
const BOUND_STEP = 16;
const LAST_BOUND = 1e-12;
/** Sums in another order differ by less. */
const SUM_ERROR = 1e-9;

/** Tokens that together weigh what is wanted, best first, and not many more: only these need be sorted. */
function nucleusHolders(logits: Float32Array, weights: Float64Array, wanted: number): Int32Array {
  for (let bound = FIRST_BOUND; ; bound = bound < LAST_BOUND ? Number.MIN_VALUE : bound / BOUND_STEP) {
    let count = 0;
    let mass = 0;
    for (let id = 0; id < weights.length; id++) {
      const weight = weights[id]!;
      if (weight < bound) continue;
      count++;
      mass += weight;
    }
    if (mass < wanted * (1 + SUM_ERROR) && bound > Number.MIN_VALUE) continue;
    const ids = new Int32Array(count);
    let at = 0;
    for (let id = 0; id < weights.length; id++) if (weights[id]! >= bound) ids[at++] = id;
    return bestFirst(logits, ids);
  }
}

/** More than any vocabulary has; 32 bits beside it are a whole number still. */
const MOST_IDS = 2 ** 21;

/** Sorts ids by their logits, largest first, ties to the lower id: as numbers, which takes a tenth of comparing them. */
function bestFirst(logits: Float32Array, ids: Int32Array): Int32Array {
  const values = new Float32Array(ids.length);
  // Adding 0 makes -0 the same as 0.
  for (let i = 0; i < ids.length; i++) values[i] = logits[ids[i]!]! + 0;
  const bits = new Int32Array(values.buffer);
  const keys = new Float64Array(ids.length);
  for (let i = 0; i < ids.length; i++) {
    const descending = bits[i]! < 0 ? bits[i]! >>> 0 : 0x7fffffff - bits[i]!;
    keys[i] = descending * MOST_IDS + ids[i]!;
  }
  keys.sort();
  for (let i = 0; i < ids.length; i++) ids[i] = keys[i]! % MOST_IDS;
  return ids;
}

function sum(weights: Float64Array): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  return total;
}

/**
 * Log-probabilities of a token and of the `count` likeliest, before penalties and temperature.
 *
 * @example logprobsOf(logits, id, 5).logprob
 */
export function logprobsOf(
  logits: Float32Array,
  id: number,
  count: number,
): { logprob: number; top: TokenLogprob[] } {
  const high = logits[argmax(logits)]!;
  let mass = 0;
  for (let i = 0; i < logits.length; i++) mass += Math.exp(logits[i]! - high);
  const total = high + Math.log(mass);
  const top = Array.from(largest(logits, count), (i) => ({ id: i, logprob: logits[i]! - total }));
  return { logprob: logits[id]! - total, top };
}
