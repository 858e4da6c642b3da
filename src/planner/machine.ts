/**
 * Owns: the record of a machine, reading one that somebody described, and what is known of GPUs by name (gpus.json).
 * Refuses to know: how this machine is probed, models.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { HadalError } from '../error.ts';

const GIB = 2 ** 30;
const GB = 1e9;
const positive = z.number().positive();
const vendor = z.enum(['nvidia', 'amd', 'apple', 'intel', 'other']);

const tableSchema = z.strictObject({
  sources: z.array(z.string()).min(1),
  gpus: z.array(
    z.strictObject({
      name: z.string().min(1),
      vendor,
      gib: positive.optional().describe('absent where the GPU uses the memory of the machine'),
      gb_per_second: positive,
      tflops: positive.describe('dense products of 16-bit numbers'),
      fp8: z.boolean(),
      link_gb_per_second: positive.optional().describe('to the other GPUs, or over PCIe'),
    }),
  ),
});

const machineSchema = z.strictObject({
  $schema: z.string().optional(),
  name: z.string().min(1),
  cpu: z.strictObject({
    model: z.string().optional(),
    cores: z.number().positive(),
    features: z.array(z.string()).optional().describe('as /proc/cpuinfo names them: avx2, avx512_vnni …'),
    int8_tops: positive.optional().describe('products and sums of 8-bit integers, in 10^12 a second'),
  }),
  memory: z.strictObject({
    gib: positive,
    gb_per_second: positive.optional().describe('40 otherwise, which is two channels of DDR4'),
  }),
  gpus: z
    .array(
      z.strictObject({
        name: z.string().min(1).describe('one that is known by name needs no more'),
        count: z.int().min(1).max(1024).optional(),
        vendor: vendor.optional(),
        gib: positive.optional(),
        gb_per_second: positive.optional(),
        tflops: positive.optional(),
        fp8: z.boolean().optional(),
        link_gb_per_second: positive.optional(),
      }),
    )
    .optional(),
  disks: z
    .array(z.strictObject({ path: z.string(), free_gib: positive, gb_per_second: positive.optional() }))
    .optional(),
});

/** One GPU. */
export interface Gpu {
  readonly name: string;
  readonly vendor: z.output<typeof vendor>;
  /** Of its own, or what it may take of the machine's. */
  readonly bytes: number;
  readonly unified: boolean;
  readonly bytesPerSecond: number;
  /** Dense 16-bit products and sums a second. */
  readonly flops: number;
  readonly fp8: boolean;
  readonly linkBytesPerSecond: number;
}

/** A disk that models may lie on. */
export interface Disk {
  readonly path: string;
  readonly freeBytes: number;
  readonly bytesPerSecond?: number;
}

/** A machine as far as it matters for running models. */
export interface Machine {
  readonly name: string;
  readonly cpu: {
    readonly model?: string;
    /** What may be used: the quota of a container counts. */
    readonly cores: number;
    readonly features: readonly string[];
    /** Products and sums of 8-bit integers a second, by all cores. */
    readonly int8PerSecond: number;
  };
  readonly memory: {
    readonly bytes: number;
    /** What could be had now. */
    readonly availableBytes: number;
    readonly bytesPerSecond: number;
    /** The same of as little as a small model, read again and again: a part stays in the last cache. */
    readonly nearBytesPerSecond?: number;
  };
  readonly gpus: readonly Gpu[];
  readonly disks: readonly Disk[];
  /** Which figures are assumed, not measured or given. */
  readonly assumed: readonly string[];
}

/** The part of unified memory that macOS lets the GPU have by default. */
const UNIFIED_SHARE = 0.75;
const ASSUMED_BYTES_PER_SECOND = 40 * GB;
/** What an unknown GPU is taken for: a small one of some years ago. */
const ASSUMED_GPU = { gib: 8, gb_per_second: 250, tflops: 20, fp8: false, vendor: 'other' as const };
const ASSUMED_LINK = 16;
const ASSUMED_DISK_BYTES_PER_SECOND = 2 * GB;

/**
 * 8-bit products and sums a second of one core by its features: a clock of 3.5 GHz, and as many a clock as the widest
 * instruction does.
 *
 * @example int8PerCore(['avx2']) / 1e9 // 112
 */
export function int8PerCore(features: readonly string[]): number {
  const perClock = features.includes('avx512_vnni')
    ? 128
    : features.includes('avx512bw')
      ? 64
      : features.some((name) => ['avx2', 'avx_vnni', 'neon', 'asimddp'].includes(name))
        ? 32
        : 8;
  return perClock * 3.5e9;
}

/**
 * Reads a described machine from a file.
 *
 * @throws HadalError `machine-missing`, `machine-broken`, naming the field.
 * @example readMachine('workstation.json').gpus.length
 */
export function readMachine(path: string): Machine {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const missing = error instanceof Error && 'code' in error;
    throw new HadalError(missing ? 'machine-missing' : 'machine-broken', {
      what: path,
      expected: 'the description of a machine in JSON',
      got: missing ? (MISSING[String(error.code)] ?? String(error.code)) : String((error as Error).message),
      next: 'docs/guide/plan.md shows one; `hadal plan --schema` says what may be in it',
    });
  }
  return parseMachine(json, path);
}

const MISSING: Readonly<Record<string, string>> = {
  ENOENT: 'nothing there',
  EACCES: 'a file that may not be read',
  EISDIR: 'a folder',
};

/**
 * Checks a described machine, and completes it with what is known of its GPUs.
 *
 * @throws HadalError `machine-broken`, naming the field.
 * @example parseMachine({ name: 'pc', cpu: { cores: 8 }, memory: { gib: 64 }, gpus: [{ name: 'RTX 3090' }] }, 'pc.json')
 */
export function parseMachine(json: unknown, from: string): Machine {
  const result = machineSchema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new HadalError('machine-broken', {
      what: from,
      expected: 'a machine as docs/guide/plan.md describes it',
      got: `${issue?.path.join('.') || 'the document'}: ${issue?.message}`,
      next: 'mend the file; `hadal plan --schema` says what may be in it',
    });
  }
  const { name, cpu, memory, gpus = [], disks = [] } = result.data;
  const features = cpu.features ?? ['avx2'];
  const assumed: string[] = [];
  if (cpu.int8_tops === undefined)
    assumed.push(`the processor multiplies as ${features.join(', ')} lets it at 3.5 GHz`);
  if (memory.gb_per_second === undefined) assumed.push('memory gives 40 GB/s');
  const known = readGpuTable();
  const memoryBytes = memory.gib * GIB;
  return {
    name,
    cpu: {
      ...(cpu.model === undefined ? {} : { model: cpu.model }),
      cores: cpu.cores,
      features,
      int8PerSecond: cpu.int8_tops === undefined ? int8PerCore(features) * cpu.cores : cpu.int8_tops * 1e12,
    },
    memory: {
      bytes: memoryBytes,
      availableBytes: memoryBytes,
      bytesPerSecond:
        memory.gb_per_second === undefined ? ASSUMED_BYTES_PER_SECOND : memory.gb_per_second * GB,
    },
    gpus: gpus.flatMap(({ count = 1, ...given }) => {
      const gpu = completeGpu(given, known, memoryBytes, assumed);
      return Array.from({ length: count }, () => gpu);
    }),
    disks: disks.map(({ path, free_gib, gb_per_second }) => ({
      path,
      freeBytes: free_gib * GIB,
      bytesPerSecond: gb_per_second === undefined ? ASSUMED_DISK_BYTES_PER_SECOND : gb_per_second * GB,
    })),
    assumed,
  };
}

/** What is known or was said of a GPU. */
export type GivenGpu = Omit<NonNullable<z.output<typeof machineSchema>['gpus']>[number], 'count'>;

type GpuTable = z.output<typeof tableSchema>['gpus'];

/** What the table says of a GPU. */
export type GpuEntry = GpuTable[number];

/** What is known of GPUs by name. Example: `readGpuTable().length`. */
export function readGpuTable(): GpuTable {
  return tableSchema.parse(JSON.parse(readFileSync(new URL('./gpus.json', import.meta.url), 'utf8'))).gpus;
}

/** A GPU's name without case and gaps; of an `M2 Ultra` people leave out the maker. */
function plainly(name: string): string {
  const plain = name.toLowerCase().replace(/[\s_-]+/g, '');
  return /^m[1-9](?:pro|max|ultra)?$/.test(plain) ? `apple${plain}` : plain;
}

/**
 * A GPU of the table by its name, whatever the case. Throws `gpu-unknown` with the names that there are.
 *
 * @example findGpu(readGpuTable(), 'h800').tflops // 989
 */
export function findGpu(known: readonly GpuEntry[], name: string): GpuEntry {
  const found = known.find((entry) => plainly(entry.name) === plainly(name));
  if (found !== undefined) return found;
  throw new HadalError('gpu-unknown', {
    what: name,
    expected: 'a known GPU',
    got: 'none of that name',
    next: `known: ${known.map((entry) => entry.name).join(', ')}`,
  });
}

/**
 * A GPU with everything that was not said taken from the table, else assumed and noted.
 *
 * @example completeGpu({ name: 'NVIDIA GeForce RTX 4090' }, readGpuTable(), 64 * 2 ** 30, assumed).bytes
 */
export function completeGpu(given: GivenGpu, known: GpuTable, memoryBytes: number, assumed: string[]): Gpu {
  // The longest name that the GPU's own contains: "RTX 4060 Ti" before "RTX 4060".
  const entry = known
    .filter(({ name }) => plainly(given.name).includes(plainly(name)))
    .sort((a, b) => b.name.length - a.name.length)[0];
  const otherwise = entry ?? ASSUMED_GPU;
  const unified = entry !== undefined && entry.gib === undefined;
  if (entry === undefined && (given.gb_per_second === undefined || given.tflops === undefined)) {
    assumed.push(
      `${given.name} is not known, and taken for a GPU of 250 GB/s and 20 TFLOP/s where nothing else is said`,
    );
  }
  return {
    name: given.name,
    vendor: given.vendor ?? otherwise.vendor,
    bytes: unified ? memoryBytes * UNIFIED_SHARE : (given.gib ?? otherwise.gib ?? ASSUMED_GPU.gib) * GIB,
    unified,
    bytesPerSecond: (given.gb_per_second ?? otherwise.gb_per_second) * GB,
    flops: (given.tflops ?? otherwise.tflops) * 1e12,
    fp8: given.fp8 ?? otherwise.fp8,
    linkBytesPerSecond: (given.link_gb_per_second ?? entry?.link_gb_per_second ?? ASSUMED_LINK) * GB,
  };
}

/** The schema of a described machine as JSON Schema. Example: `hadal plan --schema`. */
export function machineJsonSchema(): object {
  return z.toJSONSchema(machineSchema, { target: 'draft-2020-12' });
}
