/**
 * Owns: the answers to "does it fit, how, and how fast": for one model, and for a machine over the whole family.
 * Refuses to know: terminals, where machines and models come from.
 */
import type { CacheDType } from '../backend/backend.ts';
import type { FamilyModel } from '../hub/family.ts';
import { gigabytes, runnersOf, wantedBytes } from './engines.ts';
import type { Machine } from './machine.ts';
import { type Demand, demandedCache, devicesOf, type Placement } from './placement.ts';
import { decodeRate, type EngineName, prefillRate, type Rate } from './speed.ts';
import { cacheBytes, type Quantization, type Subject, subjectOf, weightBytes } from './subject.ts';

/** What somebody wants of a model. */
export interface PlanRequest {
  /** Of each conversation; chosen here when absent. */
  readonly contextTokens?: number;
  readonly sequences?: number;
  readonly cacheDType?: CacheDType;
}

/** One engine's way with a model. */
export interface Way {
  readonly engine: EngineName;
  readonly command: string;
  readonly placement: Placement;
  readonly decode: Rate;
  /** With the whole context in use. */
  readonly decodeFull: Rate;
  readonly prefill: Rate;
  /** The longest context of one conversation that fits in this way. */
  readonly longestContext: number;
  /** Whether weights are read from disk again and again. */
  readonly fromDisk: boolean;
}

/** What can be done with one model in one quantization. */
export interface ModelPlan {
  readonly subject: Subject;
  readonly demand: Demand;
  /** The context that was asked for; {@link Demand} has the model's own where that is less. */
  readonly askedContext: number;
  readonly weightBytes: number;
  readonly cacheBytesPer1K: number;
  readonly cacheBytes: number;
  /** Fastest first. */
  readonly ways: readonly Way[];
  readonly refusals: readonly {
    readonly engine: EngineName;
    readonly why: string;
    /** Whether a larger machine is all it takes. */
    readonly tooSmall: boolean;
  }[];
}

/** Context that is planned for when nobody says: enough for a file of code and a talk about it. */
const USUAL_CONTEXT = 8_192;
/** The depth at which decoding is predicted. */
const USUAL_DEPTH = 128;
const USUAL_PROMPT = 512;

/**
 * What can be done with a model on a machine.
 *
 * @example planModel(subjectOf(model, 'Q4_K_M'), machine, {}).ways[0]?.command
 */
export function planModel(subject: Subject, machine: Machine, request: PlanRequest): ModelPlan {
  const demand = demandOf(subject, request);
  const runners = runnersOf(subject, machine, demand);
  const ways = runners.flatMap((runner): Way[] => {
    if ('refusal' in runner) return [];
    const { engine, placement, command } = runner;
    const fromDisk = placement.held.some(({ device }) => device.kind === 'disk');
    return [
      {
        engine,
        command,
        placement,
        decode: decodeRate(subject, placement, machine, engine, Math.min(USUAL_DEPTH, demand.contextTokens)),
        decodeFull: decodeRate(subject, placement, machine, engine, demand.contextTokens),
        prefill: prefillRate(
          subject,
          placement,
          machine,
          engine,
          Math.min(USUAL_PROMPT, demand.contextTokens),
        ),
        longestContext: longestContext(subject, machine, demand, engine, fromDisk),
        fromDisk,
      },
    ];
  });
  return {
    subject,
    demand,
    askedContext: request.contextTokens ?? demand.contextTokens,
    weightBytes: weightBytes(subject),
    cacheBytesPer1K: cacheBytes(subject, demand.cacheDType).perToken * 1024,
    cacheBytes: demandedCache(subject, demand),
    ways: ways.sort((a, b) => b.decode.tokensPerSecond - a.decode.tokensPerSecond),
    refusals: runners.flatMap((runner) =>
      'refusal' in runner
        ? [{ engine: runner.engine, why: runner.refusal, tooSmall: runner.tooSmall === true }]
        : [],
    ),
  };
}

/** Halved from the model's own until it fits. */
function longestContext(
  subject: Subject,
  machine: Machine,
  demand: Demand,
  engine: EngineName,
  fromDisk: boolean,
): number {
  let contextTokens = subject.contextTokens;
  while (contextTokens > demand.contextTokens) {
    const fits = runnersOf(subject, machine, { ...demand, contextTokens }).some(
      (runner) =>
        runner.engine === engine &&
        'placement' in runner &&
        (fromDisk || runner.placement.held.every(({ device }) => device.kind !== 'disk')),
    );
    if (fits) return contextTokens;
    contextTokens = Math.floor(contextTokens / 2);
  }
  return demand.contextTokens;
}

function demandOf(
  subject: Subject,
  { contextTokens, sequences = 1, cacheDType = 'F16' }: PlanRequest,
): Demand {
  return {
    contextTokens: Math.min(subject.contextTokens, contextTokens ?? USUAL_CONTEXT),
    sequences,
    cacheDType,
  };
}

/** Best first; the quantizations that people choose between. */
export const OFFERED: readonly Quantization[] = [
  'native',
  'Q8_0',
  'Q6_K',
  'Q5_K_M',
  'Q4_K_M',
  'IQ4_XS',
  'Q3_K_M',
  'IQ3_XXS',
  'Q2_K',
  'IQ2_M',
  'IQ2_XXS',
  'IQ1_S',
];

/** Tokens a second below which answers come slower than people read; who bought GPUs expects more. */
const FAST_ENOUGH = { processor: 8, gpus: 20 };
/** Tokens a second below which a model is no longer pleasant. */
const USABLE = 4;
/** Tokens a second below which nobody waits. */
const SLOWEST = 1;
/** Models below this many numbers lose too much under three bits. */
const BEARS_TWO_BITS = 1e11;
const THREE_BITS = OFFERED.indexOf('IQ3_XXS');

/**
 * The best that a machine can do with a model: the best quantization that answers as fast as people read, else the
 * fastest that keeps four bits, else whatever fits; undefined when nothing fits at a rate that anybody waits for.
 *
 * @example bestPlan(model, machine, {})?.subject.quantization
 */
export function bestPlan(model: FamilyModel, machine: Machine, request: PlanRequest): ModelPlan | undefined {
  let best: ModelPlan | undefined;
  const enough = machine.gpus.length > 0 ? FAST_ENOUGH.gpus : FAST_ENOUGH.processor;
  const most = model.shape.parameters < BEARS_TWO_BITS ? THREE_BITS + 1 : OFFERED.length;
  for (const quantization of OFFERED.slice(0, most)) {
    const plan = planModel(subjectOf(model, quantization), machine, request);
    const [way] = plan.ways;
    if (way === undefined || way.fromDisk || rateOf(plan) < SLOWEST) continue;
    // Sixteen bits cost a processor twice the time of eight, and nobody can tell the answers apart.
    if (quantization === 'native' && model.shape.native.kind === 'bf16' && way.engine === 'hadal') continue;
    if (rateOf(plan) >= enough) return plan;
    const below = OFFERED.indexOf(quantization) > OFFERED.indexOf('Q4_K_M');
    if (best !== undefined && below) return best;
    if (rateOf(plan) > rateOf(best)) best = plan;
  }
  return best;
}

function rateOf(plan: ModelPlan | undefined): number {
  return plan?.ways[0]?.decode.tokensPerSecond ?? 0;
}

/**
 * What a machine can run, best first: what answers at a pleasant rate before what does not, models for everything before
 * those for one thing, then by {@link worth}. Models of one shape, as V3 and R1, are all there.
 *
 * @example planFamily(readFamily(), machine, {})[0]?.subject.title
 */
export function planFamily(
  family: readonly FamilyModel[],
  machine: Machine,
  request: PlanRequest,
): ModelPlan[] {
  const plans = family.flatMap((model) => bestPlan(model, machine, request) ?? []);
  const order = (plan: ModelPlan) => [
    rateOf(plan) >= USABLE ? 1 : 0,
    ONE_THING.includes(plan.subject.model?.kind ?? 'chat') ? 0 : 1,
    worth(plan),
  ];
  return plans.sort((a, b) => {
    const [of, before] = [order(b), order(a)];
    return of.map((value, i) => value - (before[i] ?? 0)).find((difference) => difference !== 0) ?? 0;
  });
}

/** Kinds of models that are for one thing. */
const ONE_THING: readonly FamilyModel['kind'][] = ['vision', 'math', 'task'];

/**
 * A rule of thumb for the order of the list, nothing more: ten times the numbers count as much as two generations, and
 * what is lost under three and a half bits is taken off.
 */
function worth({ subject, weightBytes: bytes }: ModelPlan): number {
  const { generation = 0, shape } = subject.model ?? {};
  const numbers = shape?.parameters ?? 1;
  const bits = (bytes * 8) / numbers;
  return generation / 2 + Math.log10(numbers) - Math.max(0, 3.5 - bits) * 0.6;
}

/** Whether an engine would run it on a larger machine. Example: `onlyTooSmall(planModel(subject, machine, {}))`. */
export function onlyTooSmall({ refusals }: ModelPlan): boolean {
  return refusals.some(({ tooSmall }) => tooSmall);
}

/** What to change so that a model fits, as sentences; none where no engine would run it. */
export function waysToFit(plan: ModelPlan, machine: Machine, request: PlanRequest): string[] {
  const { subject, demand } = plan;
  const sentences: string[] = [];
  if (!onlyTooSmall(plan)) return sentences;
  const fits = (change: Partial<PlanRequest>, of: Subject = subject) =>
    planModel(of, machine, { ...request, ...change }).ways.some(({ fromDisk }) => !fromDisk);
  if (subject.model !== undefined) {
    const smaller = OFFERED.slice(OFFERED.indexOf(subject.quantization as Quantization) + 1).find(
      (quantization) => fits({}, subjectOf(subject.model!, quantization)),
    );
    if (smaller !== undefined) {
      const bytes = weightBytes(subjectOf(subject.model, smaller));
      sentences.push(`take ${smaller} instead: ${gigabytes(bytes)} of weights`);
    }
  }
  if (demand.cacheDType === 'F16' && fits({ cacheDType: 'Q8_0' })) {
    sentences.push('keep the cache in Q8_0, which halves it');
  }
  for (let contextTokens = demand.contextTokens / 2; contextTokens >= 2048; contextTokens /= 2) {
    if (!fits({ contextTokens: Math.floor(contextTokens) })) continue;
    sentences.push(`plan for ${Math.floor(contextTokens).toLocaleString('en-US')} tokens of context`);
    break;
  }
  const roomOf = (kinds: readonly string[]) =>
    devicesOf(machine)
      .filter(({ kind }) => kinds.includes(kind))
      .reduce((sum, { usableBytes }) => sum + Math.max(0, usableBytes), 0);
  const room = roomOf(['gpu', 'memory']);
  const short = plan.refusals.filter(({ tooSmall }) => tooSmall).map(({ engine }) => engine);
  // Of the two that use all there is Hadal wants less.
  const wanted = wantedBytes(short.includes('hadal') ? 'hadal' : 'llama.cpp', subject, demand);
  if (!short.includes('hadal') && !short.includes('llama.cpp')) {
    const there = roomOf(['gpu']);
    if (short.length > 0 && wanted > there)
      sentences.push(`have equal GPUs with ${gigabytes(wanted)} free in all: ${gigabytes(there)} are there`);
  } else if (wanted > room) {
    const gib = Math.ceil((machine.memory.bytes + (wanted - room) / 0.9) / 2 ** 30 / 16) * 16;
    sentences.push(`have ${gib} GiB of memory: ${gigabytes(wanted - room)} are missing`);
  }
  return sentences;
}
