/**
 * Owns: the names of a GGUF's shards and putting their headers together into one file set.
 * Refuses to know: where shards lie, how one header is read.
 */
import { HadalError } from '../../error.ts';
import type { ModelFile, TensorInfo } from '../tensor-info.ts';

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
  const name = (n: number) => `${prefix}-${String(n).padStart(5, '0')}-of-${total}.gguf`;
  return Array.from({ length: count }, (_, i) => name(i + 1));
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
    for (const tensor of shard.tensors.values()) {
      if (tensors.has(tensor.name)) throw wrong(name, 'tensors of its own', `"${tensor.name}" once more`);
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
