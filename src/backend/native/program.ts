/**
 * Owns: recording operations as 32-bit words, as native/src/program.rs reads them.
 * Refuses to know: the addon, what operations mean.
 */
import type { Batch, Span, Tensor, Weight } from '../backend.ts';

/** The code of each operation. */
export const OPERATIONS = {
  write: 0,
  checkpoint: 1,
  embed: 2,
  rmsNorm: 3,
  matmul: 4,
  rope: 5,
  store: 6,
  attend: 7,
  pickRows: 8,
  add: 9,
  gather: 10,
  argmax: 11,
  latentAttend: 12,
  route: 13,
  experts: 14,
  countExperts: 15,
  layerNorm: 16,
} as const;

/** A tensor as the addon knows it: columns [start, start + cols) of its tensor `native`. */
export interface NativeTensor extends Tensor {
  readonly native: number;
  readonly start: number;
}

/** A weight or a cache as the addon knows it. */
export interface NativeHandle {
  readonly native: number;
}

const NONE = -1;
const scratch = new DataView(new ArrayBuffer(4));

/** Words of the operations since the last read. The buffer is used again. */
export class Program {
  #words = new Int32Array(1 << 12);
  #length = 0;
  #begun = 0;

  /** What has been recorded; valid until the next recording. */
  get words(): Int32Array {
    return this.#words.subarray(0, this.#length);
  }

  /** How many words have been recorded. */
  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
  }

  /** Whole operations that were recorded before. */
  append(words: Int32Array): void {
    this.#room(words.length);
    this.#words.set(words, this.#length);
    this.#length += words.length;
  }

  /** Begins an operation; `end` completes it. */
  begin(operation: keyof typeof OPERATIONS): this {
    this.#begun = this.#length;
    return this.int(OPERATIONS[operation]).int(0);
  }

  end(): void {
    this.#words[this.#begun + 1] = this.#length - this.#begun;
  }

  int(value: number): this {
    this.#room(1);
    this.#words[this.#length++] = value;
    return this;
  }

  float(value: number): this {
    scratch.setFloat32(0, value);
    return this.int(scratch.getInt32(0));
  }

  bits(data: Float32Array | Int32Array): this {
    this.append(new Int32Array(data.buffer, data.byteOffset, data.length));
    return this;
  }

  tensor(tensor: Tensor): this {
    const { native, start, cols } = tensor as NativeTensor;
    return this.int(native).int(start).int(cols);
  }

  maybeTensor(tensor: Tensor | undefined): this {
    return tensor === undefined ? this.int(NONE) : this.tensor(tensor);
  }

  handle(handle: object | undefined): this {
    return this.int(handle === undefined ? NONE : (handle as NativeHandle).native);
  }

  weights(...weights: readonly (Weight | undefined)[]): this {
    for (const weight of weights) this.handle(weight);
    return this;
  }

  span({ rows, decodeRows }: Span): this {
    return this.int(rows).int(decodeRows);
  }

  batch(batch: Batch): this {
    return this.span(batch).tensor(batch.positions).tensor(batch.sequences).tensor(batch.pages);
  }

  #room(words: number): void {
    if (this.#length + words <= this.#words.length) return;
    const grown = new Int32Array(Math.max(this.#length + words, this.#words.length * 2));
    grown.set(this.#words);
    this.#words = grown;
  }
}
