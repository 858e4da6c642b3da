/**
 * Owns: what laying out a model file is in any format: the plan of a tensor, places, alignment, cutting in shards.
 * Refuses to know: headers, files on disk, how numbers are encoded.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import { HadalError } from '../error.ts';

/** A tensor to be written, whatever the format. */
export interface TensorPlan {
  readonly name: string;
  readonly dtype: DTypeName;
  /** GGUF order, row length first; safetensors files get it reversed. */
  readonly shape: readonly number[];
}

/** Where everything of a file to be written goes: `header` at 0 and each tensor at its offset; gaps are zeros. */
export interface FileLayout {
  readonly header: Uint8Array;
  /** In the order of the plan; absolute offsets. */
  readonly places: readonly { readonly offset: number; readonly bytes: number }[];
  readonly totalBytes: number;
}

/** Rounds up to a multiple. Example: `aligned(33, 32) // 64` */
export function aligned(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/**
 * A laid out file with its tensors' bytes filled in.
 *
 * @throws HadalError `tensor-bytes` where a tensor has fewer or more bytes than its place.
 * @example filled(layOutGguf(plan), plan.tensors)
 */
export function filled(
  { header, places, totalBytes }: FileLayout,
  tensors: readonly (TensorPlan & { readonly data: Uint8Array })[],
): Uint8Array {
  const file = new Uint8Array(totalBytes);
  file.set(header);
  for (const [i, { name, data }] of tensors.entries()) {
    const { offset, bytes } = places[i]!;
    if (data.length !== bytes) {
      throw new HadalError('tensor-bytes', {
        what: `the data of tensor "${name}"`,
        expected: `${bytes} bytes`,
        got: `${data.length}`,
        next: 'encode the whole tensor in the type of its plan',
      });
    }
    file.set(data, offset);
  }
  return file;
}

/**
 * Cuts a list of tensors, in its order, into shards of at most `mostBytes` of data each; a larger tensor has a shard to
 * itself. There is at least one shard.
 *
 * @example cutBySize(tensors, ({ bytes }) => bytes, 5e9) // [[a, b], [c]]
 */
export function cutBySize<T>(
  tensors: readonly T[],
  bytesOf: (tensor: T) => number,
  mostBytes: number,
): T[][] {
  const shards: T[][] = [[]];
  let room = mostBytes;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (bytes > room && shards.at(-1)!.length > 0) {
      shards.push([]);
      room = mostBytes;
    }
    shards.at(-1)!.push(tensor);
    room -= bytes;
  }
  return shards;
}
