/**
 * Owns: predicted prefill and decode rates of a placement, and the bound that limits them.
 * Refuses to know: how a placement came about, command lines.
 */
import type { Machine } from './machine.ts';
import type { Held, Placement } from './placement.ts';
import { cacheBytes, type Subject } from './subject.ts';

/** What limits a rate. */
export type Bound = 'memory bandwidth' | 'GPU bandwidth' | 'disk' | 'arithmetic' | 'link' | 'steps';

/** A predicted rate. */
export interface Rate {
  readonly tokensPerSecond: number;
  readonly bound: Bound;
}

/** How much of a machine's limits an engine reaches, and what it spends on every layer besides. */
export interface Efficiency {
  /** Of the bandwidth of memory, while decoding. */
  readonly memory: number;
  /** Of the 8-bit arithmetic of the processor, while reading prompts. */
  readonly processor: number;
  readonly gpuMemory: number;
  readonly gpuArithmetic: number;
  /** Seconds for each layer of each step: barriers, launches, exchanges between GPUs. */
  readonly perLayer: number;
}

/**
 * Shares that are assumed, not fitted: of Hadal between what its kernels reach alone and what whole models do, of
 * llama.cpp on a processor what bench/engine saw, on GPUs what the projects' own published runs reach on DeepSeek models,
 * rounded down. bench/planner puts predictions beside measurements.
 */
export const EFFICIENCY = {
  hadal: { memory: 0.85, processor: 0.45, gpuMemory: 0, gpuArithmetic: 0, perLayer: 25e-6 },
  'llama.cpp': { memory: 0.55, processor: 0.15, gpuMemory: 0.6, gpuArithmetic: 0.3, perLayer: 25e-6 },
  vllm: { memory: 0, processor: 0, gpuMemory: 0.6, gpuArithmetic: 0.4, perLayer: 60e-6 },
  sglang: { memory: 0, processor: 0, gpuMemory: 0.65, gpuArithmetic: 0.4, perLayer: 50e-6 },
} as const satisfies Readonly<Record<string, Efficiency>>;

/** What Hadal's plain kernels, and the processor beside a GPU that shares its memory, reach of the above. */
const PLAIN_KERNELS = { memory: 0.2, processor: 0.1 };
const SHARED_MEMORY = 0.5;

/** An engine that can run a placement. */
export type EngineName = keyof typeof EFFICIENCY;

/** Prompt tokens that are computed together. */
const CHUNK_TOKENS = 512;

/**
 * Tokens a second of one answer when so many tokens of context are there.
 *
 * @example decodeRate(subject, placement, machine, 'hadal', 1024).bound // 'memory bandwidth'
 */
export function decodeRate(
  subject: Subject,
  { held, split }: Placement,
  machine: Pick<Machine, 'cpu' | 'gpus'>,
  engine: EngineName,
  depthTokens: number,
): Rate {
  const of = efficiencyOn(machine, engine);
  const cacheRead = cacheReadBytes(subject, depthTokens);
  const cacheHeld = held.reduce((sum, part) => sum + part.cacheBytes, 0);
  const times = held.map((part): Timed => {
    const cacheShare = cacheHeld === 0 ? 0 : part.cacheBytes / cacheHeld;
    const cache = cacheRead * (split === 'tensor' ? Math.min(1, cacheShare * held.length) : cacheShare);
    const bytes = part.readBytesPerToken + cache;
    return { seconds: bytes / (part.device.bytesPerSecond * readShare(part, of)), bound: readBound(part) };
  });
  const steps: Timed = { seconds: subject.layers * of.perLayer, bound: 'steps' };
  // Cut by tensors all GPUs work at the same time; by layers one after the other.
  const reading = split === 'tensor' ? [slowest(times)] : times;
  return rateOf(1, [...reading, steps]);
}

/**
 * Tokens a second of a prompt of so many tokens.
 *
 * @example prefillRate(subject, placement, machine, 'hadal', 512).tokensPerSecond
 */
export function prefillRate(
  subject: Subject,
  { held, split }: Placement,
  machine: Pick<Machine, 'cpu' | 'gpus'>,
  engine: EngineName,
  promptTokens: number,
): Rate {
  const { cpu, gpus } = machine;
  const of = efficiencyOn(machine, engine);
  const chunk = Math.min(CHUNK_TOKENS, promptTokens);
  const touched = expertsTouched(subject, chunk);
  const link = gpus[0]?.linkBytesPerSecond;
  const times = held.map((part): Timed => {
    const bytes = part.readBytesPerToken + (touched - 1) * routedBytes(subject, part);
    const reading = bytes / (part.device.bytesPerSecond * readShare(part, of));
    const operations = 2 * part.multiplyAddsPerToken * chunk;
    const { gpu } = part.device;
    if (gpu !== undefined) {
      return worse(
        { seconds: operations / (gpu.flops * of.gpuArithmetic), bound: 'arithmetic' },
        { seconds: reading, bound: 'GPU bandwidth' },
      );
    }
    const computing: Timed = {
      seconds: operations / (cpu.int8PerSecond * of.processor),
      bound: 'arithmetic',
    };
    const here = worse(computing, { seconds: reading, bound: readBound(part) });
    // llama.cpp brings weights that lie in memory to the GPU for long prompts.
    const brought: Timed | undefined =
      link === undefined || part.device.kind === 'disk'
        ? undefined
        : { seconds: bytes / Math.min(link, 32e9), bound: 'link' };
    return brought !== undefined && brought.seconds < here.seconds ? brought : here;
  });
  const steps: Timed = { seconds: subject.layers * of.perLayer, bound: 'steps' };
  return rateOf(chunk, [...(split === 'tensor' ? [slowest(times)] : times), steps]);
}

function efficiencyOn({ cpu, gpus }: Pick<Machine, 'cpu' | 'gpus'>, engine: EngineName): Efficiency {
  const of: Efficiency = EFFICIENCY[engine];
  const plain =
    engine === 'hadal' && !cpu.features.some((name) => name.startsWith('avx2') || name.startsWith('avx512'));
  const shared = gpus.some(({ unified }) => unified) ? SHARED_MEMORY : 1;
  return {
    ...of,
    memory: of.memory * shared * (plain ? PLAIN_KERNELS.memory : 1),
    processor: of.processor * (plain ? PLAIN_KERNELS.processor : 1),
  };
}

interface Timed {
  readonly seconds: number;
  readonly bound: Bound;
}

/** Bytes of cache that one token reads: all rows, but of an indexed cache only those that are chosen. */
function cacheReadBytes(subject: Subject, depthTokens: number): number {
  const sum = (names: (name: string) => boolean, tokens: number) =>
    cacheBytes({ streams: subject.streams.filter(({ name }) => names(name)) }, 'F16').perToken * tokens;
  const index = (name: string) => name.endsWith('.index');
  const indexed = subject.streams.some(({ name }) => index(name));
  const rows = indexed ? Math.min(depthTokens, INDEXED_TOKENS) : depthTokens;
  return sum(index, depthTokens) + sum((name) => !index(name), rows);
}

/** Rows that V3.2's indexer chooses. */
const INDEXED_TOKENS = 2048;

/** How many times the experts of one token are touched by a chunk: every expert that some token chose is read once. */
function expertsTouched({ experts }: Subject, tokens: number): number {
  if (experts === undefined) return 1;
  const missed = (1 - experts.used / experts.count) ** tokens;
  return (experts.count / experts.used) * (1 - missed);
}

/** Of what a token reads on a device, the bytes of routed experts. */
function routedBytes(subject: Subject, { expertLayers, device: _, ...part }: Held): number {
  const layers = new Set(expertLayers);
  const all = subject.tensors.reduce(
    (sum, tensor) =>
      tensor.part === 'experts' && layers.has(tensor.layer ?? -1) ? sum + tensor.bytes * tensor.share : sum,
    0,
  );
  return Math.min(all, part.readBytesPerToken);
}

function readShare({ device }: Held, of: Efficiency): number {
  if (device.kind === 'disk') return 1;
  return device.kind === 'gpu' ? of.gpuMemory : of.memory;
}

function readBound({ device }: Held): Bound {
  if (device.kind === 'disk') return 'disk';
  return device.kind === 'gpu' ? 'GPU bandwidth' : 'memory bandwidth';
}

function worse(a: Timed, b: Timed): Timed {
  return a.seconds >= b.seconds ? a : b;
}

function slowest(times: readonly Timed[]): Timed {
  return times.reduce(worse);
}

function rateOf(tokens: number, times: readonly Timed[]): Rate {
  const seconds = times.reduce((sum, time) => sum + time.seconds, 0);
  return { tokensPerSecond: tokens / seconds, bound: slowest(times).bound };
}
