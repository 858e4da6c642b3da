/**
 * Owns: which engines can run a model in a quantization, and the exact command for each.
 * Refuses to know: how fast they are, how layers are cut.
 */
import type { FamilyModel } from '../hub/family.ts';
import type { Gpu, Machine } from './machine.ts';
import {
  type Demand,
  type Device,
  demandedCache,
  devicesOf,
  memoryDevice,
  type Placement,
  placeByLayers,
  placeTensorParallel,
  placeWhole,
  tensorParallelBytes,
} from './placement.ts';
import type { EngineName } from './speed.ts';
import { heldBy, type Subject, weightBytes } from './subject.ts';

/** A placement and who runs it how, or why an engine cannot. */
export type Runner =
  | { readonly engine: EngineName; readonly placement: Placement; readonly command: string }
  | { readonly engine: EngineName; readonly refusal: string; readonly tooSmall?: true };

/** Names that the commands of people go by. */
export const ENGINE_TITLES: Readonly<Record<EngineName, string>> = {
  hadal: 'Hadal',
  'llama.cpp': 'llama.cpp',
  vllm: 'vLLM',
  sglang: 'SGLang',
};

/**
 * Every engine's way with a model on a machine.
 *
 * @example runnersOf(subject, machine, demand).filter((runner) => 'placement' in runner)
 */
export function runnersOf(subject: Subject, machine: Machine, demand: Demand): Runner[] {
  return [
    hadal(subject, machine, demand),
    llamaCpp(subject, machine, demand),
    ...tensorParallel(subject, machine, demand),
  ];
}

/** What an engine is refused for that would run the model on a larger machine. */
function noRoom(engine: EngineName, wantedBytes: number, devices: readonly Device[], where: string): Runner {
  const there = devices.reduce((sum, { usableBytes }) => sum + Math.max(0, usableBytes), 0);
  const why =
    wantedBytes > there
      ? `${gigabytes(wantedBytes)} are wanted, ${gigabytes(there)} of ${where} can be taken`
      : `its parts are too large for ${where}`;
  return { engine, refusal: `it does not fit: ${why}`, tooSmall: true };
}

/** Example: `gigabytes(1.12e12) // '1.12 TB'`. */
export function gigabytes(bytes: number): string {
  return bytes >= 1e12 ? `${(bytes / 1e12).toPrecision(3)} TB` : `${(bytes / 1e9).toPrecision(3)} GB`;
}

const NOT_KNOWN = 'it is not known to run this model';

/** Whether another engine is known to run a model; of a file nobody asks. */
function runs({ model }: Subject, engine: Exclude<EngineName, 'hadal'>): boolean {
  return model?.engines?.includes(engine) ?? true;
}

/**
 * Weights and cache that an engine wants room for.
 *
 * @example wantedBytes('hadal', subject, demand) // without what it keeps apart
 */
export function wantedBytes(engine: 'hadal' | 'llama.cpp', subject: Subject, demand: Demand): number {
  return weightBytes(engine === 'hadal' ? heldBy(subject) : subject) + demandedCache(subject, demand);
}

function hadal(subject: Subject, { memory }: Machine, demand: Demand): Runner {
  const engine = 'hadal';
  if (!subject.known) {
    const refusal =
      subject.model?.also === undefined
        ? `it does not know the architecture ${subject.architecture} yet`
        : 'it does not see pictures yet';
    return { engine, refusal };
  }
  if (demand.cacheDType !== 'F16') return { engine, refusal: 'hadal serve keeps its cache in F16' };
  if (
    subject.quantization === 'native' &&
    subject.model?.shape.native.kind === 'fp8' &&
    subject.model.shape.native.experts
  )
    return { engine, refusal: 'it does not read this number format yet' };
  const device = memoryDevice(memory);
  const placement = placeWhole(subject, device, demand);
  if (placement === undefined)
    return noRoom(engine, wantedBytes(engine, subject, demand), [device], 'memory');
  const context = demand.contextTokens === subject.contextTokens ? '' : ` --context ${demand.contextTokens}`;
  const parallel = demand.sequences === 1 ? '' : ` --parallel ${demand.sequences}`;
  return { engine, placement, command: `hadal serve ${nameOf(subject)}${context}${parallel}` };
}

function llamaCpp(subject: Subject, machine: Machine, demand: Demand): Runner {
  const engine = 'llama.cpp';
  if (!runs(subject, engine)) return { engine, refusal: NOT_KNOWN };
  if (subject.quantization === 'native')
    return { engine, refusal: `it takes GGUF files: hadal plan ${subject.name}:Q4_K_M` };
  const devices = devicesOf(machine);
  const placement = placeByLayers(subject, devices, demand);
  if (placement === undefined) {
    const kinds = [...new Set(devices.map(({ kind }) => (kind === 'gpu' ? 'GPUs' : kind)))].join(', ');
    return noRoom(engine, wantedBytes(engine, subject, demand), devices, kinds);
  }
  const gpus = placement.held.filter(({ device }) => device.kind === 'gpu');
  const onGpus = gpus.reduce((sum, { layers }) => sum + layers.length, 0);
  const flags = [
    `-c ${demand.contextTokens * demand.sequences}`,
    ...(demand.sequences > 1 ? [`-np ${demand.sequences}`] : []),
    ...(gpus.length === 0 ? [] : [`-ngl ${onGpus === subject.layers ? 99 : onGpus}`]),
    ...(gpus.length === 0 ? [] : expertFlags(placement)),
    ...(demand.cacheDType === 'Q8_0' ? ['-ctk q8_0 -ctv q8_0'] : []),
    '--jinja',
  ];
  return { engine, placement, command: `llama-server ${modelFlag(subject)} ${flags.join(' ')}` };
}

/** What llama.cpp calls the first GPU of a maker's. */
const BACKENDS: Readonly<Record<Gpu['vendor'], string>> = {
  nvidia: 'CUDA',
  amd: 'ROCm',
  apple: 'Metal',
  intel: 'SYCL',
  other: 'Vulkan',
};

/**
 * Experts that are not where their layer is. llama.cpp gives them the device of their layer otherwise, and has a short
 * way to say that those of the first layers stay in memory.
 */
function expertFlags({ held }: Placement): string[] {
  const gpus = held.filter(({ device }) => device.kind === 'gpu');
  const elsewhere = held
    .filter(({ device }) => device.kind !== 'gpu')
    .flatMap(({ expertLayers }) => expertLayers)
    .sort((a, b) => a - b);
  const all = held.flatMap(({ expertLayers }) => expertLayers).sort((a, b) => a - b);
  const moved = gpus.flatMap(({ device, layers, expertLayers }, i) => {
    const foreign = expertLayers.filter((layer) => !layers.includes(layer));
    return foreign.length === 0 ? [] : [override(foreign, `${BACKENDS[device.gpu?.vendor ?? 'other']}${i}`)];
  });
  if (elsewhere.length === 0) return moved;
  const prefix = elsewhere.every((layer, i) => layer === all[i]);
  return [...moved, prefix ? `--n-cpu-moe ${(elsewhere.at(-1) ?? 0) + 1}` : override(elsewhere, 'CPU')];
}

function override(layers: readonly number[], device: string): string {
  return `-ot "blk\\.(${layers.join('|')})\\.ffn_.*_exps\\.=${device}"`;
}

function tensorParallel(subject: Subject, machine: Machine, demand: Demand): Runner[] {
  const engines = ['vllm', 'sglang'] as const;
  const refuse = (refusal: string) => engines.map((engine): Runner => ({ engine, refusal }));
  const { model } = subject;
  if (!engines.some((engine) => runs(subject, engine))) return refuse(NOT_KNOWN);
  if (model === undefined) return refuse('it takes published folders');
  if (subject.quantization !== 'native')
    return refuse(`it takes published folders: hadal plan ${model.name}:native`);
  const gpus = devicesOf(machine).filter(({ kind, gpu }) => kind === 'gpu' && gpu?.vendor !== 'apple');
  const [first] = gpus;
  if (first === undefined) return refuse('there is no GPU for it');
  if (model.shape.native.kind === 'fp8' && !first.gpu?.fp8) {
    return refuse(`${first.gpu?.name ?? 'the GPU'} does not multiply 8-bit floats`);
  }
  // A power of two that cuts the heads evenly.
  const equal = gpus.filter(({ gpu }) => gpu?.name === first.gpu?.name);
  let most = 1;
  for (let cuts = 1; cuts <= equal.length && subject.heads % cuts === 0; cuts *= 2) {
    most = cuts;
    const placement = placeTensorParallel(subject, equal.slice(0, cuts), demand);
    if (placement === undefined) continue;
    const commands = { vllm: vllmCommand(model, cuts, demand), sglang: sglangCommand(model, cuts, demand) };
    return engines.map((engine): Runner => {
      return runs(subject, engine)
        ? { engine, placement, command: commands[engine] }
        : { engine, refusal: NOT_KNOWN };
    });
  }
  const wanted = tensorParallelBytes(subject, most, demand);
  const where = most === 1 ? 'the GPU' : `${most} equal GPUs`;
  return engines.map((engine) =>
    runs(subject, engine)
      ? noRoom(engine, wanted, equal.slice(0, most), where)
      : { engine, refusal: NOT_KNOWN },
  );
}

/** How vLLM is told that a folder of VL2, which names no class of its own, is one. */
const VL2_OVERRIDE = `--hf-overrides '{"architectures": ["DeepseekVLV2ForCausalLM"]}'`;

function vllmCommand({ repo }: FamilyModel, cuts: number, demand: Demand): string {
  return [
    `vllm serve ${repo} --tensor-parallel-size ${cuts} --max-model-len ${demand.contextTokens}`,
    ...(demand.sequences > 1 ? [`--max-num-seqs ${demand.sequences}`] : []),
    ...(demand.cacheDType === 'Q8_0' ? ['--kv-cache-dtype fp8'] : []),
    ...(repo.includes('/deepseek-vl2') ? [VL2_OVERRIDE] : []),
  ].join(' ');
}

function sglangCommand({ repo }: FamilyModel, cuts: number, demand: Demand): string {
  return [
    `python3 -m sglang.launch_server --model-path ${repo} --tp ${cuts} --context-length ${demand.contextTokens}`,
    ...(demand.sequences > 1 ? [`--max-running-requests ${demand.sequences}`] : []),
    ...(demand.cacheDType === 'Q8_0' ? ['--kv-cache-dtype fp8_e4m3'] : []),
    '--trust-remote-code',
  ].join(' ');
}

/** What Hadal fetches by itself where a repository is known; a file of that name otherwise. */
function nameOf(subject: Subject): string {
  const { model, quantization, path } = subject;
  return path === undefined && model !== undefined && (quantization === 'native' || model.gguf !== undefined)
    ? `${model.name}:${quantization}`
    : fileOf(subject);
}

function fileOf({ path, model, quantization }: Subject): string {
  if (path !== undefined) return path;
  const name = model?.repo.split('/')[1] ?? 'model';
  return quantization === 'native' ? `./${name}` : `./${name}-${quantization}.gguf`;
}

function modelFlag(subject: Subject): string {
  const { model, quantization, path } = subject;
  return path === undefined && model?.gguf !== undefined
    ? `-hf ${model.gguf}:${quantization}`
    : `-m ${fileOf(subject)}${model?.also === undefined ? '' : ` --mmproj ./mmproj-${model.repo.split('/')[1]}.gguf`}`;
}
