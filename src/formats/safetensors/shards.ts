/**
 * Owns: the index of a model in several safetensors files: reading it, holding it against the files, writing it.
 * Refuses to know: where files lie, how one header is read.
 */
import { HadalError } from '../../error.ts';
import { clipped } from '../clipped.ts';
import { cutBySize, type TensorPlan } from '../layout.ts';
import type { ModelFile, TensorInfo } from '../tensor-info.ts';
import { storable } from './types.ts';

/** The name of a model in one file. */
export const SINGLE_NAME = 'model.safetensors';

/** A plain name: never a path out of the folder. */
const FILE_NAME = /^[\w][\w.-]*\.safetensors$/;

/** Which file holds which tensor. */
export interface ShardIndex {
  /** The files, each once, in the order of their names. */
  readonly files: readonly string[];
  /** The file of every tensor. */
  readonly fileOf: ReadonlyMap<string, string>;
}

/**
 * Reads the text of an index.
 *
 * @param name of the index, for messages.
 * @throws HadalError `safetensors-index` where it is not one, or names a file outside of its folder.
 * @example readIndex(await readFile('model.safetensors.index.json', 'utf8'), 'the index').files
 */
export function readIndex(text: string, name: string): ShardIndex {
  const map = weightMap(text);
  if (map === undefined) {
    throw wrongIndex(name, 'a JSON object with a weight_map of tensors to files', 'something else');
  }
  const fileOf = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !FILE_NAME.test(file)) {
      const got = clipped(typeof file === 'string' ? file : typeof file);
      throw wrongIndex(
        `${name}, tensor ${clipped(tensor)}`,
        'the name of a .safetensors file beside it',
        got,
      );
    }
    fileOf.set(tensor, file);
  }
  if (fileOf.size === 0) throw wrongIndex(name, 'at least one tensor', 'none');
  return { files: [...new Set(fileOf.values())].sort(), fileOf };
}

function weightMap(text: string): object | undefined {
  try {
    const json: unknown = JSON.parse(text);
    const map = (json as { weight_map?: unknown } | null)?.weight_map;
    return typeof map === 'object' && map !== null && !Array.isArray(map) ? map : undefined;
  } catch {
    return undefined;
  }
}

/**
 * One file set out of the headers of the files of an index, in the index's order.
 *
 * @throws HadalError `safetensors-shards` where a tensor is missing, is in another file than the index says, in two
 *   files, or in none of the index's.
 * @example joinShards(index, await Promise.all(sources.map(readSafetensors)))
 */
export function joinShards(index: ShardIndex, shards: readonly ModelFile[]): ModelFile {
  const tensors = new Map<string, TensorInfo>();
  for (const [source, shard] of shards.entries()) {
    const file = index.files[source]!;
    for (const tensor of shard.tensors.values()) {
      const said = index.fileOf.get(tensor.name);
      if (said !== file) {
        const expected = said === undefined ? 'only tensors of the index' : `it in ${said}, by the index`;
        throw mixed(`${file}, tensor ${clipped(tensor.name)}`, expected, `it in ${file}`);
      }
      tensors.set(tensor.name, { ...tensor, source });
    }
  }
  for (const [tensor, file] of index.fileOf) {
    if (!tensors.has(tensor))
      throw mixed(`${file}, tensor ${clipped(tensor)}`, 'it there, by the index', 'none');
  }
  return {
    format: 'safetensors',
    sources: shards.flatMap(({ sources }) => sources),
    metadata: shards[0]?.metadata ?? new Map(),
    tensors,
  };
}

/** The files that a model is written in. */
export interface ShardPlan<T extends TensorPlan> {
  readonly files: readonly { readonly name: string; readonly tensors: readonly T[] }[];
  /** The text of `model.safetensors.index.json`; absent for a single file. */
  readonly index?: string;
}

/**
 * Which tensors go in which file, as Python's libraries name them: `model.safetensors`, or
 * `model-00001-of-00003.safetensors` and an index.
 *
 * @example shardSafetensors(tensors, 5e9).files.map(({ name }) => name)
 */
export function shardSafetensors<T extends TensorPlan>(
  tensors: readonly T[],
  mostBytes: number,
): ShardPlan<T> {
  const shards = cutBySize(tensors, dataBytes, mostBytes);
  if (shards.length === 1) return { files: [{ name: SINGLE_NAME, tensors }] };
  const five = (number: number) => String(number).padStart(5, '0');
  const files = shards.map((shard, i) => ({
    name: `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`,
    tensors: shard,
  }));
  const places = files.flatMap(({ name, tensors: shard }) => shard.map((tensor) => [tensor.name, name]));
  const totalBytes = tensors.reduce((sum, tensor) => sum + dataBytes(tensor), 0);
  const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(places) };
  return { files, index: `${JSON.stringify(index, null, 2)}\n` };
}

function dataBytes({ dtype, shape }: TensorPlan): number {
  return shape.reduce((product, length) => product * length, storable(dtype)?.blockBytes ?? 0);
}

function wrongIndex(what: string, expected: string, got: string): HadalError {
  return new HadalError('safetensors-index', {
    what,
    expected,
    got,
    next: 'fetch the index of the same model again',
  });
}

function mixed(what: string, expected: string, got: string): HadalError {
  return new HadalError('safetensors-shards', {
    what,
    expected,
    got,
    next: 'the files are of different models or versions: fetch all of one again',
  });
}
