/**
 * Owns: which device holds which part of a model: by layer, by expert, and what does not fit.
 * Refuses to know: engines' command lines, how fast anything is.
 */
import type { CacheDType } from '../backend/backend.ts';
import type { Gpu, Machine } from './machine.ts';
import {
  bytesPerToken,
  cacheBytes,
  heldBy,
  type PlannedTensor,
  type Subject,
  weightBytes,
} from './subject.ts';

/** Something that holds weights. */
export interface Device {
  /** `GPU 0`, `memory`, `disk`. */
  readonly id: string;
  readonly kind: 'gpu' | 'memory' | 'disk';
  /** What a model may take of it. */
  readonly usableBytes: number;
  readonly bytesPerSecond: number;
  readonly gpu?: Gpu;
}

/** What one device holds. */
export interface Held {
  readonly device: Device;
  /** Layers whose attention, and whose feed-forward if it is dense, is here. */
  readonly layers: readonly number[];
  /** Layers whose experts are here. */
  readonly expertLayers: readonly number[];
  readonly weightBytes: number;
  readonly cacheBytes: number;
  /** Of the weights here, what one token reads. */
  readonly readBytesPerToken: number;
  /** Multiply-adds of one token with the weights here. */
  readonly multiplyAddsPerToken: number;
}

/** What is wanted of a placement. */
export interface Demand {
  readonly contextTokens: number;
  /** Conversations held at the same time. */
  readonly sequences: number;
  readonly cacheDType: CacheDType;
}

/** A model on devices. */
export interface Placement {
  readonly held: readonly Held[];
  /** Whether all devices work on every layer at once, or one after the other. */
  readonly split: 'tensor' | 'layers';
  /** Weights, cache and working space, of all devices. */
  readonly bytes: number;
}

/** What an engine keeps beside weights and cache on a GPU. */
const GPU_WORKING_BYTES = 1.2e9;
/** What may be taken of a GPU that shows nothing else. */
const GPU_SHARE = 0.95;
const MEMORY_SHARE = 0.9;
/** What the system and other programs keep at least. */
const SYSTEM_BYTES = 2 * 2 ** 30;
/** Scratch tensors, buffers and the program itself. */
const WORKING_BYTES = 128 << 20;

/**
 * The devices of a machine, fastest first. A GPU that has no memory of its own shares the machine's, which then counts
 * once.
 *
 * @example devicesOf(machine).map(({ id }) => id) // ['GPU 0', 'memory', 'disk']
 */
export function devicesOf({ gpus, memory, disks }: Machine): Device[] {
  const unified = gpus.some((gpu) => gpu.unified);
  const disk = disks[0];
  return [
    ...gpus.map((gpu, i): Device => {
      return {
        id: `GPU ${i}`,
        kind: 'gpu',
        usableBytes: gpu.bytes * (gpu.unified ? 1 : GPU_SHARE) - GPU_WORKING_BYTES,
        bytesPerSecond: gpu.bytesPerSecond,
        gpu,
      };
    }),
    ...(unified ? [] : [memoryDevice(memory)]),
    ...(disk?.bytesPerSecond === undefined
      ? []
      : [
          {
            id: 'disk',
            kind: 'disk' as const,
            usableBytes: disk.freeBytes,
            bytesPerSecond: disk.bytesPerSecond,
          },
        ]),
  ];
}

/** The machine's memory, for an engine that uses nothing else. Example: `memoryDevice(machine.memory).usableBytes`. */
export function memoryDevice({ bytes, bytesPerSecond }: Machine['memory']): Device {
  const usableBytes = Math.max(0, Math.min(bytes * MEMORY_SHARE, bytes - SYSTEM_BYTES) - WORKING_BYTES);
  return { id: 'memory', kind: 'memory', usableBytes, bytesPerSecond };
}

/** Cache bytes of a demand. Example: `demandedCache(subject, demand)`. */
export function demandedCache(subject: Pick<Subject, 'streams'>, demand: Demand): number {
  const { perToken, perSequence } = cacheBytes(subject, demand.cacheDType);
  return demand.sequences * (perSequence + perToken * demand.contextTokens);
}

/**
 * Everything that Hadal holds on one device; undefined when it does not fit. (What other engines hold of the embedding is
 * theirs to say: of them all weights are placed.)
 *
 * @example placeWhole(subject, memoryDevice(machine.memory), demand)
 */
export function placeWhole(subject: Subject, device: Device, demand: Demand): Placement | undefined {
  const cache = demandedCache(subject, demand);
  const { tensors } = heldBy(subject);
  const weights = weightBytes({ tensors });
  if (weights + cache > device.usableBytes) return undefined;
  const layers = Array.from({ length: subject.layers }, (_, layer) => layer);
  const held = holding(device, tensors, layers, layers, cache);
  return { held: [held], split: 'layers', bytes: weights + cache + subject.scratchBytes };
}

/**
 * Every layer cut over equal GPUs, as tensor parallelism does; undefined when it does not fit. A latent cache cannot be
 * cut by heads: each GPU holds all of it.
 *
 * @example placeTensorParallel(subject, gpuDevices, demand)
 */
export function placeTensorParallel(
  subject: Subject,
  devices: readonly Device[],
  demand: Demand,
): Placement | undefined {
  const cuts = devices.length;
  const weightsEach = weightBytes(subject) / cuts;
  const cacheEach = tensorParallelBytes(subject, cuts, demand) / cuts - weightsEach;
  if (devices.some(({ usableBytes }) => weightsEach + cacheEach > usableBytes)) return undefined;
  const layers = Array.from({ length: subject.layers }, (_, layer) => layer);
  const whole = holding(devices[0]!, subject.tensors, layers, layers, cacheEach);
  const held = devices.map((device): Held => {
    return {
      ...whole,
      device,
      weightBytes: weightsEach,
      readBytesPerToken: whole.readBytesPerToken / cuts,
      multiplyAddsPerToken: whole.multiplyAddsPerToken / cuts,
    };
  });
  return { held, split: 'tensor', bytes: cuts * (weightsEach + cacheEach + GPU_WORKING_BYTES) };
}

/**
 * Weights and cache of all GPUs together when every layer is cut so many times. A latent cache is there once for each.
 *
 * @example tensorParallelBytes(subject, 8, demand)
 */
export function tensorParallelBytes(subject: Subject, cuts: number, demand: Demand): number {
  const latent = !subject.streams.some(({ name }) => name.endsWith('.k'));
  return weightBytes(subject) + demandedCache(subject, demand) * (latent ? cuts : 1);
}

/**
 * Layers over devices in order, as llama.cpp places them: what every token reads (attention, dense and shared parts,
 * cache) goes to the GPUs first, then experts of the last layers as far as they fit; the rest stays in memory, and what
 * memory does not hold is read from disk. Undefined when not even that holds it.
 *
 * @example placeByLayers(subject, devicesOf(machine), demand)?.held.map(({ device }) => device.id)
 */
export function placeByLayers(
  subject: Subject,
  devices: readonly Device[],
  demand: Demand,
): Placement | undefined {
  const units = unitsOf(subject, demand);
  const free = new Map(devices.map((device) => [device, device.usableBytes]));
  const at = new Map<Unit, Device>();
  const gpus = devices.filter(({ kind }) => kind === 'gpu');
  // A GPU comes again before the disk: for a table on a machine whose GPU has all the memory.
  const of = (kind: Device['kind']) => devices.filter((device) => device.kind === kind);
  const others = [...of('memory'), ...gpus, ...of('disk')];
  const put = (unit: Unit, among: readonly Device[]): boolean => {
    const device = among.find((candidate) => (free.get(candidate) ?? 0) >= unit.bytes);
    if (device === undefined) return false;
    free.set(device, (free.get(device) ?? 0) - unit.bytes);
    at.set(unit, device);
    return true;
  };
  // Equal GPUs get equal parts, so that none is full while another is empty.
  const spread = spreading(units, gpus, free);
  // From the last layer down: where not all fit, the first layers are those that stay in memory.
  const down = units.toReversed();
  for (const unit of [...down.filter(({ always }) => always), ...down.filter(({ always }) => !always)]) {
    if (!put(unit, spread(unit)) && !put(unit, others)) return undefined;
  }
  const held = devices.flatMap((device) => {
    const mine = units.filter((unit) => at.get(unit) === device);
    if (mine.length === 0) return [];
    const layers = mine.filter(({ always, layer }) => always && layer !== undefined);
    // A table that is looked up, as the embedding, is of no layer.
    const experts = mine.filter(({ always, layer }) => !always && layer !== undefined);
    return holding(
      device,
      mine.flatMap(({ tensors }) => tensors),
      layers.map(({ layer }) => layer ?? 0),
      experts.map(({ layer }) => layer ?? 0),
      mine.reduce((sum, unit) => sum + unit.cacheBytes, 0),
    );
  });
  const working = held.reduce(
    (sum, { device }) => sum + (device.kind === 'gpu' ? GPU_WORKING_BYTES : 0),
    WORKING_BYTES,
  );
  const bytes = held.reduce((sum, part) => sum + part.weightBytes + part.cacheBytes, working);
  return { held, split: 'layers', bytes };
}

/** What is placed in one piece. */
interface Unit {
  readonly tensors: readonly PlannedTensor[];
  readonly layer?: number;
  /** Whether every token reads all of it: everything but routed experts and tables. */
  readonly always: boolean;
  readonly cacheBytes: number;
  readonly bytes: number;
}

function unitsOf(subject: Subject, demand: Demand): Unit[] {
  const cacheOf = (layer: number) =>
    demandedCache({ streams: subject.streams.filter((stream) => stream.layer === layer) }, demand);
  const unit = (tensors: readonly PlannedTensor[], always: boolean, layer?: number): Unit => {
    const cache = always && layer !== undefined ? cacheOf(layer) : 0;
    return {
      tensors,
      always,
      ...(layer === undefined ? {} : { layer }),
      cacheBytes: cache,
      bytes: weightBytes({ tensors }) + cache,
    };
  };
  const byLayer = Array.from({ length: subject.layers }, (): PlannedTensor[] => []);
  for (const tensor of subject.tensors) if (tensor.layer !== undefined) byLayer[tensor.layer]?.push(tensor);
  const outside = subject.tensors.filter(({ layer }) => layer === undefined);
  const looked = outside.filter(({ share }) => share === 0);
  return [
    ...byLayer.flatMap((tensors, layer) => {
      const routed = tensors.filter(({ part }) => part === 'experts');
      const core = unit(
        tensors.filter(({ part }) => part !== 'experts'),
        true,
        layer,
      );
      return routed.length === 0 ? [core] : [core, unit(routed, false, layer)];
    }),
    unit(
      outside.filter(({ share }) => share > 0),
      true,
    ),
    ...(looked.length === 0 ? [] : [unit(looked, false)]),
  ];
}

/** The GPUs for a unit, the one first whose share of the layers it belongs to. */
function spreading(
  units: readonly Unit[],
  gpus: readonly Device[],
  free: ReadonlyMap<Device, number>,
): (unit: Unit) => readonly Device[] {
  const layers = Math.max(1, ...units.map(({ layer }) => (layer ?? 0) + 1));
  const all = gpus.reduce((sum, gpu) => sum + Math.max(0, gpu.usableBytes), 0);
  return ({ layer, always }) => {
    // Tables that are looked up are of no use on a GPU.
    if (layer === undefined && !always) return [];
    const place = ((layer ?? layers - 1) + 0.5) / layers;
    let before = 0;
    const own = gpus.find((gpu) => {
      before += Math.max(0, gpu.usableBytes) / all;
      return place <= before;
    });
    const rest = gpus.filter((gpu) => gpu !== own).sort((a, b) => (free.get(b) ?? 0) - (free.get(a) ?? 0));
    return own === undefined ? rest : [own, ...rest];
  };
}

function holding(
  device: Device,
  tensors: readonly PlannedTensor[],
  layers: readonly number[],
  expertLayers: readonly number[],
  cacheBytes: number,
): Held {
  const routed = new Set(tensors.filter(({ part }) => part === 'experts').map(({ layer }) => layer));
  return {
    device,
    layers,
    expertLayers: expertLayers.filter((layer) => routed.has(layer)).sort((a, b) => a - b),
    weightBytes: weightBytes({ tensors }),
    cacheBytes,
    readBytesPerToken: bytesPerToken({ tensors }),
    multiplyAddsPerToken: tensors.reduce((sum, { numbers, share }) => sum + numbers * share, 0),
  };
}
