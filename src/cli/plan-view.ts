/**
 * Owns: how plans are shown to people, and as JSON.
 * Refuses to know: how they are made.
 */
import { ENGINE_TITLES } from '../planner/engines.ts';
import type { Gpu, Machine } from '../planner/machine.ts';
import type { Held } from '../planner/placement.ts';
import { type ModelPlan, onlyTooSmall, type Way } from '../planner/plan.ts';
import { bytesByPart, bytesPerToken, multiplyAddsPerToken, parameters } from '../planner/subject.ts';
import { digits, formatBytes, formatCount, table } from './figures.ts';

/** Rows of the short list. */
const SHORT_LIST = 12;

/**
 * What a machine can run, best first.
 *
 * @example terminal.out(familyReport(machine, planFamily(readFamily(), machine, {}), false));
 */
export function familyReport(machine: Machine, plans: readonly ModelPlan[], all: boolean): string {
  const shown = all ? plans : distinct(plans).slice(0, SHORT_LIST);
  const rows = shown.map((plan) => {
    const [way] = plan.ways;
    return [
      plan.subject.title,
      plan.subject.format,
      formatBytes(plan.weightBytes),
      way === undefined ? '' : formatCount(way.longestContext),
      way === undefined ? '' : digits(way.decode.tokensPerSecond),
      way === undefined ? '' : digits(way.prefill.tokensPerSecond),
      plan.ways
        .filter(({ fromDisk }) => !fromDisk)
        .map(({ engine }) => ENGINE_TITLES[engine])
        .join(', '),
    ];
  });
  const head = ['model', 'weights', 'size', 'context', 'decode/s', 'prefill/s', 'who runs it'];
  const list =
    rows.length === 0
      ? 'No published DeepSeek model fits this machine.'
      : `What fits, best first (tokens a second as predicted)\n${indent(table([head, ...rows], [2, 3, 4, 5]))}`;
  const rest = plans.length - shown.length;
  return [
    machineText(machine),
    '',
    list,
    ...(rest > 0 ? [`  and ${rest} more; --all shows them`] : []),
    '',
  ].join('\n');
}

/** Models of the same tensors fit alike: the first stands for all. */
function distinct(plans: readonly ModelPlan[]): ModelPlan[] {
  const seen = new Set<string>();
  return plans.filter(({ subject: { model } }) => {
    if (model === undefined || seen.has(model.alike)) return false;
    seen.add(model.alike);
    return true;
  });
}

/**
 * One model on one machine: its parts, its cache, every way to run it.
 *
 * @example terminal.out(modelReport(machine, plan, []));
 */
export function modelReport(machine: Machine, plan: ModelPlan, changes: readonly string[]): string {
  const { subject, demand } = plan;
  const model = subject.model;
  const parts = [...bytesByPart(subject)].map(([part, bytes]) => {
    return [part, formatBytes(bytes), `${digits((bytes / plan.weightBytes) * 100)} %`];
  });
  const active = multiplyAddsPerToken(subject);
  const facts = [
    [
      'model',
      `${subject.title}, ${subject.format}${model?.shape.unverified ? ' (a size of it is derived)' : ''}`,
    ],
    ...(model?.note === undefined ? [] : [['', model.note]]),
    ...(model === undefined ? [] : [['license', model.license]]),
    ['numbers', `${billions(parameters(subject))}, ${billions(active)} multiplied for each token`],
    [
      'weights',
      `${formatBytes(plan.weightBytes)}, of which a token reads ${formatBytes(bytesPerToken(subject))}`,
    ],
    ...parts.map(([part = '', ...cells]) => ['', `${part.padEnd(16)}${cells.join(', ')}`]),
    ['cache', `${formatBytes(plan.cacheBytesPer1K)} for every 1,024 tokens (${demand.cacheDType})`],
    [
      'wanted',
      `${formatCount(demand.contextTokens)} tokens of context${demand.sequences > 1 ? `, ${demand.sequences} times` : ''}: ${formatBytes(plan.cacheBytes)} of cache`,
    ],
    ...(plan.askedContext > demand.contextTokens
      ? [['', `the model's longest context: ${formatCount(plan.askedContext)} were asked for`]]
      : []),
    ...sourceRows(plan),
  ];
  const ways = plan.ways.flatMap((way) => ['', ...wayText(way)]);
  const refusals = plan.refusals.map(({ engine, why }) => [ENGINE_TITLES[engine], why]);
  return [
    machineText(machine),
    '',
    table(facts),
    ...ways,
    ...(plan.ways.length === 0 ? ['', nothingText(plan)] : []),
    ...(refusals.length === 0 ? [] : ['', 'Not by', indent(table(refusals))]),
    ...(changes.length === 0 ? [] : ['', 'To make it fit', ...changes.map((change) => `  ${change}`)]),
    '',
  ].join('\n');
}

function nothingText(plan: ModelPlan): string {
  return onlyTooSmall(plan)
    ? 'It does not fit. `hadal plan` alone lists what does.'
    : 'Nothing that is planned for here runs it.';
}

/** Where the file of the commands comes from, when no repository is known to have it. */
function sourceRows({ subject: { model, path, quantization, known } }: ModelPlan): string[][] {
  if (model === undefined || path !== undefined || quantization === 'native') return [];
  if (model.gguf !== undefined) {
    // Quantizers publish the K types of nearly every model; the IQ types of some.
    if (!quantization.startsWith('IQ')) return [];
    const asks = `hadal pull ${model.name}:${quantization}`;
    return [['file', `${model.gguf} may not have ${quantization}: ${asks} says what it has`]];
  }
  const make = known ? `; make it: hadal pull ${model.repo}, hadal convert FOLDER --to ${quantization}` : '';
  return [['file', `no repository with ${quantization} is known here${make}`]];
}

function wayText(way: Way): string[] {
  const rate = (of: Way['decode']) => `${digits(of.tokensPerSecond)} tokens/s, limited by ${of.bound}`;
  return [
    `${ENGINE_TITLES[way.engine]}: ${way.command}`,
    indent(
      table([
        ['decode', `${rate(way.decode)}; ${digits(way.decodeFull.tokensPerSecond)} with the context full`],
        ['prefill', rate(way.prefill)],
        [
          'takes',
          `${formatBytes(way.placement.bytes)} in all; a context of ${formatCount(way.longestContext)} fits`,
        ],
        ...heldRows(way.placement.held),
      ]),
    ),
  ];
}

/** Devices that hold alike are one row. */
function heldRows(held: readonly Held[]): string[][] {
  return held.map((part) => {
    const cells = [
      `${formatBytes(part.weightBytes)} of weights`,
      ...(part.cacheBytes > 0 ? [`${formatBytes(part.cacheBytes)} of cache`] : []),
      ...(part.layers.length > 0 ? [`layers ${ranges(part.layers)}`] : []),
      ...(part.expertLayers.length > 0 ? [`experts of layers ${ranges(part.expertLayers)}`] : []),
    ];
    return [part.device.id, cells.join(', ')];
  });
}

/** Example: `ranges([0, 1, 2, 5])` is `0-2, 5`. */
export function ranges(numbers: readonly number[]): string {
  const sorted = numbers.toSorted((a, b) => a - b);
  const runs: [number, number][] = [];
  for (const number of sorted) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ');
}

function machineText({ name, cpu, memory, gpus, disks, assumed }: Machine): string {
  const disk = disks[0];
  return table([
    [
      'machine',
      `${cpu.model ?? name}, ${cpu.cores} cores${cpu.features.length > 0 ? ` (${cpu.features.join(' ')})` : ''}`,
    ],
    ['arithmetic', `${digits(cpu.int8PerSecond / 1e9)} billion 8-bit products and sums a second`],
    [
      'memory',
      `${formatBytes(memory.bytes)}${memory.availableBytes < memory.bytes ? `, ${formatBytes(memory.availableBytes)} free now` : ''}, ${formatBytes(memory.bytesPerSecond)}/s`,
    ],
    ['GPUs', gpus.length === 0 ? 'none found' : gpuText(gpus)],
    ...(disk === undefined
      ? []
      : [
          [
            'disk',
            `${formatBytes(disk.freeBytes)} free at ${disk.path}${disk.bytesPerSecond === undefined ? '' : `, ${formatBytes(disk.bytesPerSecond)}/s`}`,
          ],
        ]),
    ...assumed.map((sentence) => ['assumed', sentence]),
  ]);
}

function gpuText(gpus: readonly Gpu[]): string {
  const counts = new Map<string, { gpu: Gpu; count: number }>();
  for (const gpu of gpus) {
    const entry = counts.get(gpu.name) ?? { gpu, count: 0 };
    entry.count++;
    counts.set(gpu.name, entry);
  }
  return [...counts.values()]
    .map(
      ({ gpu, count }) =>
        `${count > 1 ? `${count} x ` : ''}${gpu.name}, ${formatBytes(gpu.bytes)}${gpu.unified ? ' of the memory' : ''} at ${formatBytes(gpu.bytesPerSecond)}/s`,
    )
    .join('; ');
}

/** A machine as `--json` prints it. */
export function machineDocument({ name, cpu, memory, gpus, disks, assumed }: Machine): object {
  return {
    name,
    cpu: { model: cpu.model, cores: cpu.cores, features: cpu.features, int8_per_second: cpu.int8PerSecond },
    memory: {
      bytes: memory.bytes,
      available_bytes: memory.availableBytes,
      bytes_per_second: memory.bytesPerSecond,
    },
    gpus: gpus.map(({ bytesPerSecond, linkBytesPerSecond, ...gpu }) => ({
      ...gpu,
      bytes_per_second: bytesPerSecond,
      link_bytes_per_second: linkBytesPerSecond,
    })),
    disks: disks.map(({ path, freeBytes, bytesPerSecond }) => ({
      path,
      free_bytes: freeBytes,
      bytes_per_second: bytesPerSecond ?? null,
    })),
    assumed,
  };
}

/** A plan as `--json` prints it. */
export function planDocument(plan: ModelPlan): object {
  const { subject, demand } = plan;
  return {
    model: subject.name,
    title: subject.title,
    quantization: subject.quantization,
    format: subject.format,
    parameters: parameters(subject),
    multiply_adds_per_token: multiplyAddsPerToken(subject),
    weight_bytes: plan.weightBytes,
    weight_bytes_per_token: bytesPerToken(subject),
    weight_bytes_by_part: Object.fromEntries(bytesByPart(subject)),
    cache_bytes_per_1024_tokens: plan.cacheBytesPer1K,
    cache_dtype: demand.cacheDType,
    context_tokens: demand.contextTokens,
    sequences: demand.sequences,
    ways: plan.ways.map((way) => ({
      engine: way.engine,
      command: way.command,
      memory_bytes: way.placement.bytes,
      decode: rateDocument(way.decode),
      decode_full_context: rateDocument(way.decodeFull),
      prefill: rateDocument(way.prefill),
      longest_context: way.longestContext,
      from_disk: way.fromDisk,
      devices: way.placement.held.map((part) => ({
        device: part.device.id,
        weight_bytes: part.weightBytes,
        cache_bytes: part.cacheBytes,
        layers: part.layers,
        expert_layers: part.expertLayers,
      })),
    })),
    refusals: plan.refusals.map(({ engine, why, tooSmall }) => ({ engine, why, too_small: tooSmall })),
  };
}

function rateDocument({ tokensPerSecond, bound }: Way['decode']): object {
  return { tokens_per_second: tokensPerSecond, bound };
}

function billions(count: number): string {
  return `${digits(count / 1e9)} billion`;
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}
