/**
 * Owns: how long Hadal's kernels take on a machine: products of weights by number format, and what there is besides.
 * Refuses to know: models, placements, how the figures are measured.
 *
 * kernel-rates.json is written by `npm run bench:kernels -- --out` and by nothing else: no figure in it is chosen so
 * that a prediction comes out right. It knows nothing of models, so bench/planner, which does, can judge it.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype } from '../dtypes/table.ts';
import type { Machine } from './machine.ts';
import type { StepNumbers, StepWork } from './step-work.ts';

const positive = z.number().positive();
const each = z.number().min(0);
const schema = z.strictObject({
  made: z.strictObject({
    by: z.string(),
    date: z.iso.date(),
    machine: z.string(),
    isa: z.string(),
    rounds: positive,
  }),
  operations: z.strictObject({
    regionSeconds: each.describe('a region of all threads that has next to nothing to do'),
    callSeconds: each.describe('an operation on next to nothing'),
    stepSeconds: each.describe('a token of an engine beside what its model computes'),
    // 8-bit operations for each number, head and attended token, or multiply-add.
    rounded: each,
    placed: each,
    normed: each,
    rotated: each,
    turned: each,
    gated: each,
    kept: each,
    routed: each,
    picked: each,
    heads: each.describe('a head of a prompt row with one token that it attends to'),
    attended: each.describe('a multiply-add of the same'),
    expanded: each.describe('a multiply-add that makes keys and values of latents'),
    generated: each.describe('a multiply-add of attention of one row'),
    generatedLatent: each.describe('the same of latent attention'),
  }),
  formats: z.record(
    z.string(),
    z.strictObject({
      overlap: z
        .number()
        .min(1)
        .describe('one row: how far reading and multiplying go on at once, 1 one after the other'),
      cap: positive.describe('one row, cached: bytes for each 8-bit operation that the registers give'),
      multiply: positive.describe('many rows: operations over those that the registers give'),
      unpack: z.number().min(0).describe('of a weight, however many rows: 8-bit operations for each number'),
    }),
  ),
});

/** What the kernels of one number format reach. */
export interface KernelRate {
  /**
   * How far reading and multiplying go on at once for one row: with times r and m of either alone both take
   * (r^overlap + m^overlap)^(1 / overlap). 1 is one after the other; of a large one only the longer of the two counts.
   */
  readonly overlap: number;
  /** Bytes for each 8-bit operation of the machine, for one row times weights that are at hand. */
  readonly cap: number;
  /** Of the 8-bit operations of the machine, for each further row. */
  readonly multiply: number;
  /** 8-bit operations for each number of a weight, however many rows there are. */
  readonly unpack: number;
}

/** What was measured. Example: `readKernelRates().formats.Q4_K?.reach`. */
export function readKernelRates(): KernelRates {
  return schema.parse(JSON.parse(readFileSync(new URL('./kernel-rates.json', import.meta.url), 'utf8')));
}

/** The rates by number format, and what there is besides products. */
export interface KernelRates {
  readonly formats: Readonly<Partial<Record<string, KernelRate>>>;
  readonly operations: z.output<typeof schema>['operations'];
}

/** What is part of a product with one row, as its figures have it, and has to be counted for many. */
const OF_PRODUCTS = ['rounded', 'placed'] as const satisfies readonly StepNumbers[];

/** What every token's activations go through, whether it is read or generated. */
const SMALL = [
  'normed',
  'rotated',
  'turned',
  'gated',
  'kept',
  'routed',
] as const satisfies readonly StepNumbers[];

/** Hadal's kernels without AVX2: this part of what the measured ones reach. */
const PLAIN_KERNELS = { memory: 0.2, processor: 0.1 };

/** What weights of one number format cost. */
export interface FormatCost {
  readonly dtype: DTypeName;
  readonly bytes: number;
  readonly numbers: number;
}

/** Seconds of Hadal's products on a machine. */
export interface KernelTimes {
  /** One row times weights. */
  readSeconds(of: FormatCost): number;
  /** Whether {@link readSeconds} is bound by arithmetic, not by memory. */
  isComputing(of: FormatCost): boolean;
  /** So many multiply-adds with weights that are unpacked once. */
  multiplySeconds(of: FormatCost, multiplyAdds: number): number;
  /** What a token that is generated takes besides, behind so many others: attention, and everything that is small. */
  generateSeconds(work: StepWork, attendedTokens: number, depthTokens: number): StepSeconds;
  /** What a prompt of so many tokens takes besides. */
  promptSeconds(work: StepWork, tokens: number): StepSeconds;
}

/** Seconds of what is no product of weights. */
export interface StepSeconds {
  readonly attention: number;
  readonly rest: number;
}

/**
 * What the kernels do on a machine. A format that was not measured counts as the measured one of the nearest size.
 *
 * @example kernelTimes(machine).readSeconds({ dtype: 'Q8_0', bytes: 1.4e9, numbers: 1.3e9 }) // 0.05
 */
export function kernelTimes({ cpu, memory }: Pick<Machine, 'cpu' | 'memory'>): KernelTimes {
  const { formats: rates, operations: besides } = readKernelRates();
  const plain = !cpu.features.some((name) => name.startsWith('avx2') || name.startsWith('avx512'));
  const of = plain ? PLAIN_KERNELS : { memory: 1, processor: 1 };
  const bytesPerSecond = memory.bytesPerSecond * of.memory;
  const operations = cpu.int8PerSecond * of.processor;
  const threads = Math.max(1, cpu.cores);
  /** Seconds of all numbers that a token passes through, by all threads. */
  const numbersSeconds = ({ numbers }: StepWork, of: readonly (keyof StepWork['numbers'])[]) =>
    of.reduce((sum, what) => sum + numbers[what] * besides[what], 0) / operations;
  const rateOf = (name: DTypeName): KernelRate => {
    const found = rates[name];
    if (found !== undefined) return found;
    const off = (other: string) => Math.abs(bits(other as DTypeName) - bits(name));
    const [nearest] = Object.entries(rates).sort(([a], [b]) => off(a) - off(b));
    if (nearest?.[1] === undefined) throw new Error('kernel-rates.json names no format');
    return nearest[1];
  };
  const limits = ({ dtype: name, bytes }: FormatCost) => {
    const { overlap, cap } = rateOf(name);
    return { memory: bytes / bytesPerSecond, arithmetic: bytes / (operations * cap), overlap };
  };
  return {
    readSeconds(cost) {
      const { memory: reading, arithmetic, overlap } = limits(cost);
      return together(reading, arithmetic, overlap);
    },
    isComputing(cost) {
      const { memory: reading, arithmetic } = limits(cost);
      return arithmetic > reading;
    },
    multiplySeconds({ dtype: name, numbers }, multiplyAdds) {
      const { multiply, unpack } = rateOf(name);
      return (numbers * unpack + (2 * multiplyAdds) / multiply) / operations;
    },
    generateSeconds(work, attendedTokens, depthTokens) {
      const width = work.attended.generated * attendedTokens + work.indexed * depthTokens;
      const rate = work.latent ? besides.generatedLatent : besides.generated;
      const fixed =
        work.regions * besides.regionSeconds + work.calls * besides.callSeconds + besides.stepSeconds;
      // One row is too little to share: a single thread does what is small.
      const small = numbersSeconds(work, [...SMALL, 'picked']) * threads;
      return { attention: (width * rate) / operations, rest: fixed + small };
    },
    promptSeconds(work, tokens) {
      const pairs = (tokens * (tokens + 1)) / 2;
      const looking = work.numbers.heads * besides.heads + work.attended.prompt * besides.attended;
      const expanding = work.expanded * besides.expanded;
      const fixed = work.regions * besides.regionSeconds + work.calls * besides.callSeconds;
      return {
        attention: (pairs * (looking + work.indexed * besides.attended) + tokens * expanding) / operations,
        rest: fixed + tokens * numbersSeconds(work, [...OF_PRODUCTS, ...SMALL]),
      };
    },
  };
}

/**
 * Seconds of two things that go on at once in part, as {@link KernelRate.overlap} has it.
 *
 * @example together(3, 4, 2) // 5
 */
export function together(a: number, b: number, overlap: number): number {
  const longer = Math.max(a, b);
  return longer === 0 ? 0 : longer * (1 + (Math.min(a, b) / longer) ** overlap) ** (1 / overlap);
}

function bits(name: DTypeName): number {
  const { blockBytes, blockElements } = dtype(name);
  return (8 * blockBytes) / blockElements;
}
