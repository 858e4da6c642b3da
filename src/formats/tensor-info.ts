/**
 * Owns: what a model file says of its tensors, whatever the format.
 * Refuses to know: what a tensor is for, how its numbers are multiplied.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import type { ValueType } from './gguf/types.ts';

/** One tensor of a file: where its bytes are and how they are to be read. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DTypeName;
  /**
   * GGUF order: `shape[0]` is the length of a row (fastest varying). A PyTorch weight [out, in] is [in, out] here. Only
   * safetensors files have scalars, whose shape is empty, and tensors without numbers.
   */
  readonly shape: readonly number[];
  /** Index into the `sources` of the file set (0 unless sharded). */
  readonly source: number;
  /** Absolute byte offset in that source. */
  readonly offset: number;
  readonly bytes: number;
}

/** A metadata value of GGUF; integers of 64 bits are numbers when safe, else bigint. Numeric arrays are typed arrays. */
export type MetaValue =
  | number
  | bigint
  | boolean
  | string
  | readonly string[]
  | readonly boolean[]
  | readonly MetaValue[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

/** What is known of a model on disk after reading headers only. */
export interface ModelFile {
  readonly format: 'gguf' | 'safetensors';
  /** The files, in shard order; tensor data is read or mapped from these. */
  readonly sources: readonly ByteSource[];
  readonly metadata: ReadonlyMap<string, MetaValue>;
  /** GGUF's type of each metadata value, for writing it again. */
  readonly metadataTypes?: ReadonlyMap<string, ValueType>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Whether all that may be read of its folder is in `metadata`: what is not there is read from nowhere else. */
  readonly whole?: boolean;
}

/** Random access to bytes: a file, a Blob, a buffer. Reads outside `[0, size)` are errors, never short. */
export interface ByteSource {
  /** For messages: a path or a label. */
  readonly name: string;
  /** The path on disk when there is one: the native backend maps it. */
  readonly path?: string;
  /** The number under which the system has it open, where there is one: what is mapped is what is open. */
  readonly fd?: number;
  readonly size: number;
  /** The bytes; they lie in `into`, of at least so many, where the source has to copy them and it is given. */
  read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** All of a model that may be read, open already: nothing else is opened, whatever is at its paths by now. */
export interface HeldFiles {
  /** The files of tensors by their whole paths, and their numbers in this process. */
  readonly files: readonly { readonly path: string; readonly fd: number }[];
  /** All texts of a folder by their names; absent for a file. */
  readonly texts?: ReadonlyMap<string, string>;
}
