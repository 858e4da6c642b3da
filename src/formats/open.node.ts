/**
 * Owns: opening what is on disk as a model file: one GGUF file or all of its shards.
 * Refuses to know: what the model is.
 */
import { HadalError } from '../error.ts';
import { openFile } from './byte-source.node.ts';
import { readGguf } from './gguf/read.ts';
import { joinShards, shardNames } from './gguf/shards.ts';
import type { ByteSource, ModelFile } from './tensor-info.ts';

/**
 * Opens a GGUF file, or all shards of the one that any shard's path names. Only headers are read. Close with
 * {@link closeModelFile}.
 *
 * @throws HadalError as {@link openFile} and `readGguf` do; `gguf-shards` where one is missing or foreign.
 * @example const file = await openModelFile('model-00001-of-00002.gguf');
 */
export async function openModelFile(path: string): Promise<ModelFile> {
  const names = shardNames(path) ?? [path];
  const sources: ByteSource[] = [];
  try {
    for (const [index, name] of names.entries()) {
      sources.push(
        await openFile(name).catch((cause) => Promise.reject(missingShard(cause, name, index, names))),
      );
    }
    const files: ModelFile[] = [];
    for (const source of sources) files.push(await readGguf(source));
    return files.length === 1 ? alone(files[0]!) : joinShards(files);
  } catch (error) {
    await Promise.all(sources.map((source) => source.close()));
    throw error;
  }
}

/** Closes all sources of a model file. */
export async function closeModelFile(file: ModelFile): Promise<void> {
  await Promise.all(file.sources.map((source) => source.close()));
}

/** Refuses a shard that lost its name: its set cannot be found. */
function alone(file: ModelFile): ModelFile {
  const count = file.metadata.get('split.count');
  if (typeof count !== 'number' || count <= 1) return file;
  throw new HadalError('gguf-shards', {
    what: file.sources[0]!.name,
    expected: `a name that ends in -00001-of-${String(count).padStart(5, '0')}.gguf, as this is one shard of ${count}`,
    got: 'another name',
    next: 'give all shards their names back',
  });
}

function missingShard(cause: unknown, name: string, index: number, names: readonly string[]): unknown {
  const missing = cause instanceof HadalError && cause.code === 'file-missing' && names.length > 1;
  if (!missing) return cause;
  return new HadalError(
    'gguf-shards',
    { what: name, expected: `shard ${index + 1} of ${names.length}`, got: 'nothing there', next: 'fetch it' },
    { cause },
  );
}
