/**
 * Owns: the names of a GGUF's shards, putting their headers together into one file set, and cutting a plan in shards.
 * Refuses to know: where shards lie, how one header is read.
 */

import { dtype } from '../../dtypes/table.ts';
import { HadalError } from '../../error.ts';
import { clipped } from '../clipped.ts';
import { cutBySize, type TensorPlan } from '../layout.ts';
import type { ModelFile, TensorInfo } from '../tensor-info.ts';
import { type GgufPlan, typed } from './write.ts';

const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;

/**
 * The names of all shards, first to last, of the set that `path` belongs to; undefined when it is not named as one of a set.
 *
 * @example shardNames('m-00002-of-00003.gguf') // ['m-00001-of-00003.gguf', …]
 */
export function shardNames(path: string): readonly string[] | undefined {
  const match = SHARD.exec(path);
  if (match === null) return undefined;
  const [, prefix, number, total] = match;
  const count = Number(total);
  if (Number(number) < 1 || Number(number) > count) return undefined;
  return Array.from({ length: count }, (_, i) => shardName(prefix!, i, count));
}

function shardName(prefix: string, index: number, count: number): string {
  const five = (number: number) => String(number).padStart(5, '0');
  return `${prefix}-${five(index + 1)}-of-${five(count)}.gguf`;
}

/**
 * The name of a GGUF file without the number of its shard and its ending: what files made from it are called after.
 *
 * @example ggufStem('v2-lite-00001-of-00003.gguf') // 'v2-lite'
 */
export function ggufStem(name: string): string {
  return name.replace(/(-\d{5}-of-\d{5})?\.gguf$/i, '');
}

/** A file of a set that is to be written. */
export interface GgufShard<T extends TensorPlan> {
  readonly name: string;
  readonly plan: GgufPlan<T>;
}

/** Most shards that `split.count` can say. */
const MOST_SHARDS = 65_535;

/**
 * Cuts a plan in files of at most `mostBytes` of tensor data, as llama.cpp's gguf-split does: metadata in the first, the
 * `split.*` keys in all. One file, with the plan as it is, where all of it fits.
 *
 * @throws HadalError `gguf-unwritable` for more shards than the format can count.
 * @example for (const { name, plan } of shardGguf('model', plan, 5e9)) await writeTo(name, layOutGguf(plan));
 */
export function shardGguf<T extends TensorPlan>(
  prefix: string,
  { metadata, tensors }: GgufPlan<T>,
  mostBytes: number,
): readonly GgufShard<T>[] {
  const shards = cutBySize(tensors, dataBytes, mostBytes);
  if (shards.length === 1) return [{ name: `${prefix}.gguf`, plan: { metadata, tensors } }];
  if (shards.length > MOST_SHARDS) {
    throw new HadalError('gguf-unwritable', {
      what: prefix,
      expected: `at most ${MOST_SHARDS} shards`,
      got: `${shards.length}`,
      next: 'allow larger shards',
    });
  }
  return shards.map((shard, index) => ({
    name: shardName(prefix, index, shards.length),
    plan: {
      metadata: [
        ...(index === 0 ? metadata : []),
        ['split.no', typed('u16', index)] as const,
        ['split.count', typed('u16', shards.length)] as const,
        ['split.tensors.count', typed('i32', tensors.length)] as const,
      ],
      tensors: shard,
    },
  }));
}

function dataBytes({ dtype: name, shape }: TensorPlan): number {
  const { blockElements, blockBytes } = dtype(name);
  return (shape.reduce((product, length) => product * length, 1) / blockElements) * blockBytes;
}

/**
 * One file set out of the headers of all shards, in order; metadata is the first one's.
 *
 * @throws HadalError `gguf-shards` where their numbers, counts or tensors contradict each other.
 * @example joinShards(await Promise.all(sources.map(readGguf)))
 */
export function joinShards(shards: readonly ModelFile[]): ModelFile {
  const [first] = shards;
  const tensors = new Map<string, TensorInfo>();
  for (const [index, shard] of shards.entries()) {
    const name = shard.sources[0]?.name ?? `shard ${index + 1}`;
    const number = shard.metadata.get('split.no');
    const count = shard.metadata.get('split.count');
    if (number !== index || count !== shards.length) {
      throw wrong(name, `shard ${index + 1} of ${shards.length}`, `split.no ${number}, split.count ${count}`);
    }
    const architecture = shard.metadata.get('general.architecture');
    if (architecture !== undefined && architecture !== first?.metadata.get('general.architecture')) {
      throw wrong(name, 'a shard of the same model', `one of architecture ${clipped(String(architecture))}`);
    }
    for (const tensor of shard.tensors.values()) {
      if (tensors.has(tensor.name))
        throw wrong(name, 'tensors of its own', `${clipped(tensor.name)} once more`);
      tensors.set(tensor.name, { ...tensor, source: index });
    }
  }
  const total = first?.metadata.get('split.tensors.count');
  if (first === undefined || (total !== undefined && total !== tensors.size)) {
    throw wrong(first?.sources[0]?.name ?? 'the shards', `${total} tensors`, `${tensors.size} in all shards`);
  }
  return { ...first, sources: shards.flatMap((shard) => shard.sources), tensors };
}

function wrong(what: string, expected: string, got: string): HadalError {
  return new HadalError('gguf-shards', { what, expected, got, next: 'fetch all shards of one model again' });
}
