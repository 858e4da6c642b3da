/**
 * Owns: finding out what this machine is: processor, memory and its speed, GPUs, disks, as files and tools tell.
 * Refuses to know: models.
 */
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open, rm, statfs } from 'node:fs/promises';
import { availableParallelism, cpus, hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { createMachineProbe, nativeThreads } from '../backend/native/probe.node.ts';
import { HadalError } from '../error.ts';
import { type Environment, modelsFolder } from '../hub/store.node.ts';
import { memoryHere } from '../runtime/memory.ts';
import {
  completeGpu,
  type Disk,
  type GivenGpu,
  type Gpu,
  int8PerCore,
  type Machine,
  readGpuTable,
} from './machine.ts';

/** Options of {@link probeMachine}. */
export interface ProbeOptions {
  readonly env: Environment;
  /** Reads of memory, of which the best counts: other programs only slow it down. */
  readonly rounds?: number;
  /** Writes and reads a file to see how fast the disk is; off by default. */
  readonly disk?: boolean;
  readonly onProgress?: (doing: string) => void;
}

const FEATURES =
  /^(avx|avx2|fma|f16c|avx512f|avx512bw|avx512_vnni|avx512_bf16|avx_vnni|amx_tile|amx_int8|amx_bf16|asimd|asimddp|i8mm|sve)$/;
/** Reading memory takes half a gigabyte for a moment; with less than this it is not tried. */
const LEAST_FREE_BYTES = 1 << 30;
const DISK_BYTES = 64 << 20;
const TOOL_MS = 5_000;

/**
 * This machine. Takes under a second, but for the disk.
 *
 * @example (await probeMachine({ env: process.env })).memory.bytesPerSecond / 1e9
 */
export async function probeMachine({
  env,
  rounds = 5,
  disk = false,
  onProgress,
}: ProbeOptions): Promise<Machine> {
  const assumed: string[] = [];
  const memory = memoryHere();
  const features = processorFeatures();
  const cores = nativeThreads() ?? availableParallelism();
  onProgress?.('reading memory');
  const rates = measured(memory.availableBytes, rounds, assumed);
  onProgress?.('looking for GPUs');
  const gpus = findGpus(memory.presentBytes, assumed);
  onProgress?.('looking at disks');
  const disks = await findDisks(env, disk);
  const model = cpus()[0]?.model.trim();
  return {
    name: hostname(),
    cpu: {
      ...(model ? { model } : {}),
      cores,
      features,
      int8PerSecond: rates?.int8PerSecond ?? int8PerCore(features) * cores,
    },
    memory: {
      bytes: memory.presentBytes,
      availableBytes: memory.availableBytes,
      bytesPerSecond: rates?.bytesPerSecond ?? 40e9,
    },
    gpus,
    disks,
    assumed,
  };
}

function measured(
  availableBytes: number,
  rounds: number,
  assumed: string[],
): { bytesPerSecond: number; nearBytesPerSecond: number; int8PerSecond: number } | undefined {
  const without = (why: string) => {
    assumed.push(`memory gives 40 GB/s and the processor multiplies by its features (${why})`);
    return undefined;
  };
  if (availableBytes < LEAST_FREE_BYTES) return without('too little memory is free to measure');
  try {
    const probe = createMachineProbe();
    const times = Array.from({ length: rounds });
    // The first pass also takes the memory from the system.
    probe.readRate();
    return {
      bytesPerSecond: Math.max(...times.map(() => probe.readRate())),
      nearBytesPerSecond: Math.max(...times.map(() => probe.nearReadRate())),
      int8PerSecond: Math.max(...times.slice(0, 3).map(() => probe.multiplyRate())),
    };
  } catch (error) {
    if (error instanceof HadalError) return without('the native addon is not there to measure');
    throw error;
  }
}

function processorFeatures(): string[] {
  const info = textOf('/proc/cpuinfo');
  const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1]?.split(' ') ?? [];
  if (flags.length > 0) return flags.filter((flag) => FEATURES.test(flag));
  return process.arch === 'arm64' ? ['neon'] : [];
}

/** Every way to see a GPU, in order; the first that sees one is believed. */
const GPU_FINDERS: readonly (() => GivenGpu[])[] = [
  nvidiaTool,
  nvidiaDriver,
  displayDevices,
  appleTool,
  vulkanTool,
];

function findGpus(memoryBytes: number, assumed: string[]): Gpu[] {
  const known = readGpuTable();
  for (const find of GPU_FINDERS) {
    const found = find();
    if (found.length > 0) return found.map((gpu) => completeGpu(gpu, known, memoryBytes, assumed));
  }
  return [];
}

function nvidiaTool(): GivenGpu[] {
  const out = tool('nvidia-smi', ['--query-gpu=name,memory.total', '--format=csv,noheader,nounits']);
  return parseNvidiaTool(out);
}

/** What `nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits` says. */
export function parseNvidiaTool(out: string): GivenGpu[] {
  return out.split('\n').flatMap((line): GivenGpu[] => {
    const [name, mebibytes] = line.split(',').map((cell) => cell.trim());
    const gib = Number(mebibytes) / 1024;
    return name && gib > 0 ? [{ name, vendor: 'nvidia', gib }] : [];
  });
}

/** The driver's own files, where its tool is not installed: a container, say. */
function nvidiaDriver(): GivenGpu[] {
  const folder = '/proc/driver/nvidia/gpus';
  return entries(folder).flatMap((id): GivenGpu[] => {
    const name = /^Model:\s*(.+)$/m.exec(textOf(join(folder, id, 'information')))?.[1];
    return name ? [{ name, vendor: 'nvidia' }] : [];
  });
}

/** AMD's driver says how much memory a card has; others say only that they are there. */
function displayDevices(): GivenGpu[] {
  const folder = '/sys/class/drm';
  return entries(folder).flatMap((card): GivenGpu[] => {
    if (!/^card\d+$/.test(card)) return [];
    const device = join(folder, card, 'device');
    const bytes = Number(textOf(join(device, 'mem_info_vram_total')));
    if (textOf(join(device, 'vendor')).trim() !== '0x1002' || !(bytes > 2 ** 30)) return [];
    const name = textOf(join(device, 'product_name')).trim() || 'AMD GPU';
    return [{ name, vendor: 'amd', gib: bytes / 2 ** 30 }];
  });
}

function appleTool(): GivenGpu[] {
  if (process.platform !== 'darwin') return [];
  const name = tool('sysctl', ['-n', 'machdep.cpu.brand_string']).trim();
  return name.startsWith('Apple') ? [{ name, vendor: 'apple' }] : [];
}

function vulkanTool(): GivenGpu[] {
  return parseVulkanTool(tool('vulkaninfo', ['--summary']));
}

/** The real GPUs in what `vulkaninfo --summary` says: software that plays one has the type CPU. */
export function parseVulkanTool(out: string): GivenGpu[] {
  return out.split(/^GPU\d+:/m).flatMap((part): GivenGpu[] => {
    const name = /deviceName\s*=\s*(.+)/.exec(part)?.[1]?.trim();
    return name && /PHYSICAL_DEVICE_TYPE_(DISCRETE|INTEGRATED)_GPU/.test(part)
      ? [{ name, vendor: 'other' }]
      : [];
  });
}

async function findDisks(env: Environment, measure: boolean): Promise<Disk[]> {
  const folder = nearestExisting(modelsFolder(env));
  const disk = await statfs(folder).catch(() => undefined);
  if (disk === undefined) return [];
  const bytesPerSecond = measure ? await diskRate(folder) : undefined;
  return [
    {
      path: folder,
      freeBytes: disk.bavail * disk.bsize,
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
    },
  ];
}

/** Bytes a second of a file that the system has not kept in memory; undefined where that cannot be told. */
async function diskRate(folder: string): Promise<number | undefined> {
  const path = join(folder, `.hadal-probe-${randomUUID()}`);
  try {
    const file = await open(path, 'wx');
    try {
      await file.writeFile(Buffer.alloc(DISK_BYTES, 1));
      await file.sync();
    } finally {
      await file.close();
    }
    const startedMs = performance.now();
    const { status } = spawnSync('dd', [`if=${path}`, 'of=/dev/null', 'bs=4M', 'iflag=direct'], {
      stdio: 'ignore',
      timeout: 60_000,
    });
    return status === 0 ? (DISK_BYTES / (performance.now() - startedMs)) * 1000 : undefined;
  } catch {
    return undefined;
  } finally {
    await rm(path, { force: true });
  }
}

function nearestExisting(folder: string): string {
  return existsSync(folder) || dirname(folder) === folder ? folder : nearestExisting(dirname(folder));
}

function tool(command: string, args: readonly string[]): string {
  const { status, stdout } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: TOOL_MS,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return status === 0 ? stdout : '';
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
