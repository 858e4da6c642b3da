/**
 * Owns: `hadal inspect`: what a model file says of itself, without loading it.
 * Refuses to know: how files are read, what tensors are for.
 */
import { defineCommand } from 'citty';
import { HadalError } from '../error.ts';
import { openModelFile } from '../formats/open.node.ts';
import type { MetaValue, ModelFile, TensorInfo } from '../formats/tensor-info.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { describeModel, type ModelDescription } from '../model/load.ts';
import { cacheCost } from '../model/streams.ts';
import { layoutWords, tensorWords } from '../model/tensor-words.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes, formatCount, table } from './figures.ts';

export const text: CommandText = {
  usage: 'inspect FILE [flags]',
  examples: [
    'hadal inspect ./model.gguf',
    'hadal inspect ./model.gguf --tensors',
    'hadal inspect ./DeepSeek-V3 --json',
  ],
};

export const command = defineCommand({
  meta: { name: 'inspect', description: 'show what a model file holds, without loading it' },
  args: {
    file: {
      type: 'positional',
      required: false,
      description: 'a GGUF or safetensors file, a folder, or a name that is on disk',
    },
    tensors: { type: 'boolean', description: 'list every tensor instead of kinds of tensors' },
    json: { type: 'boolean', description: 'print everything in one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const path = await resolveModel(given.word(0, 'FILE', `hadal ${text.usage}`), { env, fetch: false });
    const file = await openModelFile(path);
    try {
      const described = describe(file);
      if (given.has('json')) terminal.json(document(path, file, described));
      else terminal.out(report(path, file, described, given.has('tensors')));
    } finally {
      for (const source of file.sources) await source.close();
    }
  },
});

/** What Hadal makes of a file, or the sentence that says why it cannot run it. */
type Described = { readonly model: ModelDescription } | { readonly problem: HadalError };

function describe(file: ModelFile): Described {
  try {
    return { model: describeModel(file) };
  } catch (error) {
    if (error instanceof HadalError) return { problem: error };
    throw error;
  }
}

function cacheBytesPerToken({ streams }: ModelDescription): number {
  return cacheCost(streams, 'F16').reduce((sum, { bytesPerToken }) => sum + bytesPerToken, 0);
}

function fileBytes(file: ModelFile): number {
  return file.sources.reduce((sum, { size }) => sum + size, 0);
}

function elements(tensor: TensorInfo): number {
  return tensor.shape.reduce((product, length) => product * length, 1);
}

function report(path: string, file: ModelFile, described: Described, every: boolean): string {
  const tensors = [...file.tensors.values()];
  const numbers = tensors.reduce((sum, tensor) => sum + elements(tensor), 0);
  const tensorBytes = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const facts = [
    ['file', path],
    ['format', `${file.format}, ${formatBytes(fileBytes(file))}${shards(file)}`],
    [
      'numbers',
      `${formatCount(numbers)} in ${formatCount(tensors.length)} tensors, ${formatBytes(tensorBytes)}`,
    ],
    ...modelFacts(described),
    ...layoutFacts(file),
  ];
  return [
    table(facts),
    '',
    'Metadata',
    indent(table([...file.metadata].map(([key, value]) => [key, showMeta(value)]))),
    '',
    'Number formats',
    indent(table(byType(tensors), [1, 2, 3])),
    '',
    every ? 'Tensors' : 'Tensors (N stands for the layer, E for the expert)',
    indent(table(every ? tensors.map(tensorRow) : byKind(tensors), every ? [3] : [3, 4])),
    '',
  ].join('\n');
}

function modelFacts(described: Described): string[][] {
  if ('problem' in described) return [['runs', `no: ${described.problem.message}`]];
  const { model } = described;
  const cache = cacheBytesPerToken(model);
  return [
    [
      'model',
      `${model.architecture}, ${model.config.layers} layers, context ${formatCount(model.contextTokens)}`,
    ],
    ['weights', `${formatBytes(model.heldBytes)} in memory, mapped from the file${apartWords(model)}`],
    ['cache', `${formatBytes(cache * 1024)} for every 1,024 tokens (F16)`],
    [
      'full context',
      `${formatBytes(model.heldBytes + cache * model.contextTokens)} for weights and ${formatCount(model.contextTokens)} tokens`,
    ],
  ];
}

function apartWords({ weightBytes, heldBytes }: ModelDescription): string {
  const apart = weightBytes - heldBytes;
  return apart === 0 ? '' : `; of ${formatBytes(apart)} more only rows are read`;
}

function layoutFacts(file: ModelFile): string[][] {
  const { latent, predictor } = layoutWords(file);
  const facts: string[][] = [];
  if (latent !== undefined) facts.push(['latent', latent]);
  if (predictor !== undefined) {
    const { layers, tensors, bytes } = predictor;
    const which = `${layers.length === 1 ? 'layer' : 'layers'} ${layers.join(', ')}`;
    facts.push(['predictor', `nextn, ${which}: ${formatCount(tensors)} tensors, ${formatBytes(bytes)}`]);
  }
  return facts;
}

function shards(file: ModelFile): string {
  return file.sources.length > 1 ? ` in ${file.sources.length} files` : '';
}

/** A metadata value on one line: long texts and lists are cut, and say how long they are. */
function showMeta(value: MetaValue): string {
  if (typeof value === 'string') {
    const shown = JSON.stringify(value);
    return shown.length > 96 ? `${shown.slice(0, 95)}… (${formatCount(value.length)} characters)` : shown;
  }
  if (typeof value !== 'object') return String(value);
  const first = Array.from(value.slice(0, 4) as ArrayLike<unknown>, (item) =>
    typeof item === 'object' ? '[…]' : typeof item === 'string' ? JSON.stringify(item) : String(item),
  );
  return value.length > 4
    ? `[${first.join(', ')}, … ${formatCount(value.length)} in all]`
    : `[${first.join(', ')}]`;
}

function byType(tensors: readonly TensorInfo[]): string[][] {
  const sums = new Map<string, { tensors: number; numbers: number; bytes: number }>();
  for (const tensor of tensors) {
    const sum = sums.get(tensor.dtype) ?? { tensors: 0, numbers: 0, bytes: 0 };
    sum.tensors++;
    sum.numbers += elements(tensor);
    sum.bytes += tensor.bytes;
    sums.set(tensor.dtype, sum);
  }
  return [...sums]
    .sort(([, a], [, b]) => b.bytes - a.bytes)
    .map(([dtype, sum]) => [
      dtype,
      `${formatCount(sum.tensors)} tensors`,
      `${formatCount(sum.numbers)} numbers`,
      formatBytes(sum.bytes),
    ]);
}

function tensorRow(tensor: TensorInfo): string[] {
  const { name, dtype, shape, bytes } = tensor;
  return [name, dtype, `[${shape.join(', ')}]`, formatBytes(bytes), tensorWords(name) ?? ''];
}

/** Tensors that differ only in their layer or expert, as one row. */
function byKind(tensors: readonly TensorInfo[]): string[][] {
  const kinds = new Map<string, { row: string[]; count: number; bytes: number; words: string }>();
  for (const tensor of tensors) {
    const name = tensor.name
      .replace(/^(blk|model\.layers)\.\d+\./, '$1.N.')
      .replace(/\.experts\.\d+\./, '.experts.E.');
    const shape = `[${tensor.shape.join(', ')}]`;
    const key = `${name} ${tensor.dtype} ${shape}`;
    const words = tensorWords(tensor.name) ?? '';
    const kind = kinds.get(key) ?? { row: [name, tensor.dtype, shape], count: 0, bytes: 0, words };
    kind.count++;
    kind.bytes += tensor.bytes;
    kinds.set(key, kind);
  }
  return [...kinds.values()].map(({ row, count, bytes, words }) => [
    ...row,
    `x ${count}`,
    formatBytes(bytes),
    words,
  ]);
}

function document(path: string, file: ModelFile, described: Described): object {
  return {
    path,
    format: file.format,
    bytes: fileBytes(file),
    files: file.sources.map(({ name, size }) => ({ name, bytes: size })),
    model: 'problem' in described ? null : modelDocument(described.model),
    problem:
      'problem' in described ? { code: described.problem.code, message: described.problem.message } : null,
    layout: layoutWords(file),
    metadata: Object.fromEntries(file.metadata),
    tensors: [...file.tensors.values()].map(({ name, dtype, shape, source, offset, bytes }) => ({
      name,
      dtype,
      shape,
      file: source,
      offset,
      bytes,
    })),
  };
}

function modelDocument(model: ModelDescription): object {
  return {
    architecture: model.architecture,
    layers: model.config.layers,
    parameters: model.parameters,
    context_tokens: model.contextTokens,
    weight_bytes: model.weightBytes,
    held_weight_bytes: model.heldBytes,
    cache_bytes_per_token: cacheBytesPerToken(model),
    cache_dtype: 'F16',
  };
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}
