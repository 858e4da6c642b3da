/**
 * Owns: predicted prefill and decode rates of a placement, and the bound that limits them.
 * Refuses to know: how a placement came about, command lines.
 */
import { FAR_BYTES, NEAR_BYTES } from '../backend/native/probe.node.ts';
import type { DTypeName } from '../dtypes/dtype.ts';
import { type FormatCost, kernelTimes } from './kernel-rates.ts';
import type { Machine } from './machine.ts';
import type { Held, Placement } from './placement.ts';
import type { StepWork } from './step-work.ts';
import { cacheBytes, type PlannedTensor, type Subject } from './subject.ts';

/** What limits a rate. */
export type Bound = 'memory bandwidth' | 'GPU bandwidth' | 'disk' | 'arithmetic' | 'link' | 'steps';

/** A predicted rate. */
export interface Rate {
  readonly tokensPerSecond: number;
  readonly bound: Bound;
}

/** How much of a machine's limits another engine reaches, and what it spends on every layer besides. */
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
 * Shares of other engines, assumed, not fitted: of llama.cpp on a processor what bench/engine saw, on GPUs what the
 * projects' own published runs reach on DeepSeek models, rounded down. Hadal's own are measured by number format
 * (kernel-rates.ts). bench/planner puts predictions beside measurements.
 */
export const EFFICIENCY = {
  'llama.cpp': { memory: 0.55, processor: 0.15, gpuMemory: 0.6, gpuArithmetic: 0.3, perLayer: 25e-6 },
  vllm: { memory: 0, processor: 0, gpuMemory: 0.6, gpuArithmetic: 0.4, perLayer: 60e-6 },
  sglang: { memory: 0, processor: 0, gpuMemory: 0.65, gpuArithmetic: 0.4, perLayer: 50e-6 },
} as const satisfies Readonly<Record<string, Efficiency>>;

/** What the processor beside a GPU that shares its memory reaches of the above. */
const SHARED_MEMORY = 0.5;

/** An engine that can run a placement. */
export type EngineName = 'hadal' | OtherEngine;
type OtherEngine = keyof typeof EFFICIENCY;

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
  machine: Pick<Machine, 'cpu' | 'gpus' | 'memory'>,
  engine: EngineName,
  depthTokens: number,
): Rate {
  if (engine === 'hadal') return hadalDecodeRate(subject, machine, depthTokens);
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
  machine: Pick<Machine, 'cpu' | 'gpus' | 'memory'>,
  engine: EngineName,
  promptTokens: number,
): Rate {
  const chunk = Math.min(CHUNK_TOKENS, promptTokens);
  if (engine === 'hadal') return hadalPrefillRate(subject, machine, chunk);
  const { cpu, gpus } = machine;
  const of = efficiencyOn(machine, engine);
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

/** All of it in memory: every weight that a token reads at the rate of its format's kernels, the cache, and the rest. */
function hadalDecodeRate(
  subject: Subject,
  machine: Pick<Machine, 'cpu' | 'gpus' | 'memory'>,
  depthTokens: number,
): Rate {
  const read = byFormat(subject, ({ share }) => share);
  const here = readingAgain(
    besideGpus(machine),
    read.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  const kernels = kernelTimes(here);
  const seconds = (of: readonly FormatCost[]) => of.reduce((sum, cost) => sum + kernels.readSeconds(cost), 0);
  const { attention, rest } = kernels.generateSeconds(
    workOf(subject),
    attendedTokens(subject, depthTokens),
    depthTokens,
  );
  const attending = worse(
    { seconds: cacheReadBytes(subject, depthTokens) / here.memory.bytesPerSecond, bound: 'memory bandwidth' },
    { seconds: attention, bound: 'arithmetic' },
  );
  const timed = (computing: boolean, bound: Bound): Timed => ({
    seconds:
      seconds(read.filter((cost) => kernels.isComputing(cost) === computing)) +
      (attending.bound === bound ? attending.seconds : 0),
    bound,
  });
  return rateOf(1, [
    timed(false, 'memory bandwidth'),
    timed(true, 'arithmetic'),
    { seconds: rest, bound: 'steps' },
  ]);
}

/** Every expert that some token of the chunk chose is unpacked once, everything else as well. */
function hadalPrefillRate(
  subject: Subject,
  machine: Pick<Machine, 'cpu' | 'gpus' | 'memory'>,
  chunk: number,
): Rate {
  const kernels = kernelTimes(besideGpus(machine));
  const touched = expertsTouched(subject, chunk);
  const unpacked = byFormat(subject, (tensor) =>
    isExpanded(tensor) ? 0 : tensor.share * (tensor.part === 'experts' ? touched : 1),
  );
  const filling = panelRows(subject, chunk);
  const added = byFormat(subject, (tensor) => {
    if (isExpanded(tensor)) return 0;
    if (tensor.part === 'output') return tensor.share / chunk;
    return tensor.share * (tensor.part === 'experts' ? filling : 1);
  });
  const times = unpacked.map((cost, i): Timed => {
    const computing = kernels.multiplySeconds(cost, (added[i]?.numbers ?? 0) * chunk);
    return worse(
      { seconds: computing, bound: 'arithmetic' },
      { seconds: kernels.readSeconds(cost), bound: 'memory bandwidth' },
    );
  });
  const { attention, rest } = kernels.promptSeconds(workOf(subject), chunk);
  return rateOf(chunk, [
    ...times,
    { seconds: attention, bound: 'arithmetic' },
    { seconds: rest, bound: 'steps' },
  ]);
}

function workOf({ work, title }: Subject): StepWork {
  if (work === undefined) throw new Error(`${title} is nothing that Hadal runs`);
  return work;
}

/** Both halves of kv_b: for prompts they make keys and values, which {@link StepWork.expanded} counts. */
function isExpanded({ name }: PlannedTensor): boolean {
  return /\.attn_(?:kv_b|k_b|v_b)\.weight$/.test(name);
}

/** Rows are multiplied in panels of so many; of those of each expert the last one is filled by half. */
const PANEL_ROWS = 16;

/** Rows that the chosen experts multiply, over those that chose them. */
function panelRows({ experts }: Subject, chunk: number): number {
  if (experts === undefined) return 1;
  const rowsEach = (chunk * experts.used) / experts.count;
  return 1 + (PANEL_ROWS - 1) / 2 / Math.max(1, rowsEach);
}

/** The processor has a part of the bandwidth where a GPU has its memory in the same. */
function besideGpus(machine: Pick<Machine, 'cpu' | 'gpus' | 'memory'>): Pick<Machine, 'cpu' | 'memory'> {
  const { cpu, memory } = machine;
  const share = memoryShare(machine);
  const { bytesPerSecond, nearBytesPerSecond: near } = memory;
  const beside = {
    bytesPerSecond: bytesPerSecond * share,
    ...(near && { nearBytesPerSecond: near * share }),
  };
  return { cpu, memory: { ...memory, ...beside } };
}

/**
 * The machine with the bandwidth at which so many bytes are read again and again. What stays in the last cache of a pass over
 * {@link NEAR_BYTES} saves so much time; a longer pass drives it out, the more the longer it is.
 *
 * @example readingAgain(machine, 96e6).memory.bytesPerSecond
 */
export function readingAgain<M extends Pick<Machine, 'memory'>>(machine: M, bytes: number): M {
  const { bytesPerSecond: far, nearBytesPerSecond: near } = machine.memory;
  if (near === undefined || near <= far) return machine;
  const saved = Math.min(bytes, NEAR_BYTES) * (1 / far - 1 / near);
  const left = Math.min(1, Math.max(0, (FAR_BYTES - bytes) / (FAR_BYTES - NEAR_BYTES)));
  const bytesPerSecond = bytes / (bytes / far - saved * left);
  return { ...machine, memory: { ...machine.memory, bytesPerSecond } };
}

function memoryShare({ gpus }: Pick<Machine, 'gpus'>): number {
  return gpus.some(({ unified }) => unified) ? SHARED_MEMORY : 1;
}

/** Weights by number format, each counted as often as `weight` says; formats in the order of the tensors. */
function byFormat(subject: Subject, weight: (tensor: PlannedTensor) => number): FormatCost[] {
  const sums = new Map<DTypeName, { bytes: number; numbers: number }>();
  for (const tensor of subject.tensors) {
    const sum = sums.get(tensor.dtype) ?? { bytes: 0, numbers: 0 };
    const times = weight(tensor);
    sum.bytes += tensor.bytes * times;
    sum.numbers += tensor.numbers * times;
    sums.set(tensor.dtype, sum);
  }
  return [...sums].map(([dtype, sum]) => ({ dtype, ...sum }));
}

function efficiencyOn(machine: Pick<Machine, 'gpus'>, engine: OtherEngine): Efficiency {
  const of: Efficiency = EFFICIENCY[engine];
  return { ...of, memory: of.memory * memoryShare(machine) };
}

interface Timed {
  readonly seconds: number;
  readonly bound: Bound;
}

/** Bytes of cache that one token reads: all rows, but of an indexed cache only those that are chosen. */
function cacheReadBytes(subject: Subject, depthTokens: number): number {
  const index = (name: string) => name.endsWith('.index');
  const sum = (names: (name: string) => boolean, tokens: number) =>
    cacheBytes({ streams: subject.streams.filter(({ name }) => names(name)) }, 'F16').perToken * tokens;
  return sum(index, depthTokens) + sum((name) => !index(name), attendedTokens(subject, depthTokens));
}

/** Rows that V3.2's indexer chooses. */
const INDEXED_TOKENS = 2048;

function attendedTokens({ streams }: Subject, depthTokens: number): number {
  const indexed = streams.some(({ name }) => name.endsWith('.index'));
  return indexed ? Math.min(depthTokens, INDEXED_TOKENS) : depthTokens;
}

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
