/**
 * Owns: how long Hadal's products of weights take on a machine: what its kernels reach by number format, as measured.
 * Refuses to know: models, placements, how the figures are measured.
 *
 * kernel-rates.json is written by `npm run bench:kernels -- --write` and by nothing else: no figure in it is chosen so
 * that a prediction comes out right. It knows nothing of models, so bench/planner, which does, can judge it.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype } from '../dtypes/table.ts';
import type { Machine } from './machine.ts';

const positive = z.number().positive();
const schema = z.strictObject({
  made: z.strictObject({
    by: z.string(),
    date: z.iso.date(),
    machine: z.string(),
    isa: z.string(),
    rounds: positive,
  }),
  formats: z.record(
    z.string(),
    z.strictObject({
      reach: positive.describe('one row, streaming: bytes over those that memory gives'),
      cap: positive.describe('one row, cached: bytes for each 8-bit operation that the registers give'),
      multiply: positive.describe('many rows: operations over those that the registers give'),
      unpack: z.number().min(0).describe('of a weight, however many rows: 8-bit operations for each number'),
    }),
  ),
});

/** What the kernels of one number format reach. */
export interface KernelRate {
  /** Of the bandwidth of memory, for one row times weights that stream through. */
  readonly reach: number;
  /** Bytes for each 8-bit operation of the machine, for one row times weights that are at hand. */
  readonly cap: number;
  /** Of the 8-bit operations of the machine, for each further row. */
  readonly multiply: number;
  /** 8-bit operations for each number of a weight, however many rows there are. */
  readonly unpack: number;
}

/** The measured rates by number format. Example: `readKernelRates().Q4_K?.reach`. */
export function readKernelRates(): Readonly<Partial<Record<string, KernelRate>>> {
  return schema.parse(JSON.parse(readFileSync(new URL('./kernel-rates.json', import.meta.url), 'utf8')))
    .formats;
}

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
}

/**
 * What the kernels do on a machine. A format that was not measured counts as the measured one of the nearest size.
 *
 * @example kernelTimes(machine).readSeconds({ dtype: 'Q8_0', bytes: 1.4e9, numbers: 1.3e9 }) // 0.05
 */
export function kernelTimes({ cpu, memory }: Pick<Machine, 'cpu' | 'memory'>): KernelTimes {
  const rates = readKernelRates();
  const plain = !cpu.features.some((name) => name.startsWith('avx2') || name.startsWith('avx512'));
  const of = plain ? PLAIN_KERNELS : { memory: 1, processor: 1 };
  const bytesPerSecond = memory.bytesPerSecond * of.memory;
  const operations = cpu.int8PerSecond * of.processor;
  const rateOf = (name: DTypeName): KernelRate => {
    const found = rates[name];
    if (found !== undefined) return found;
    const off = (other: string) => Math.abs(bits(other as DTypeName) - bits(name));
    const [nearest] = Object.entries(rates).sort(([a], [b]) => off(a) - off(b));
    if (nearest?.[1] === undefined) throw new Error('kernel-rates.json names no format');
    return nearest[1];
  };
  const limits = ({ dtype: name, bytes }: FormatCost) => {
    const { reach, cap } = rateOf(name);
    return { memory: bytes / (bytesPerSecond * reach), arithmetic: bytes / (operations * cap) };
  };
  return {
    readSeconds(cost) {
      const { memory: reading, arithmetic } = limits(cost);
      return Math.max(reading, arithmetic);
    },
    isComputing(cost) {
      const { memory: reading, arithmetic } = limits(cost);
      return arithmetic > reading;
    },
    multiplySeconds({ dtype: name, numbers }, multiplyAdds) {
      const { multiply, unpack } = rateOf(name);
      return (numbers * unpack + (2 * multiplyAdds) / multiply) / operations;
    },
  };
}

function bits(name: DTypeName): number {
  const { blockBytes, blockElements } = dtype(name);
  return (8 * blockBytes) / blockElements;
}
