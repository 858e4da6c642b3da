/**
 * Owns: the reference backend: every operation of the waist in plain loops, and its memory.
 * Refuses to know: speed, threads, models, files' formats.
 *
 * Numbers are kept as f32 and summed as f64; weights stay in their number format and rows are decoded as they are used.
 * This is the specification of every operation, the fallback where the addon cannot load, and the oracle of the tests.
 */
import { HadalError } from '../../error.ts';
import type { Backend, Weight } from '../backend.ts';
import {
  checkAdd,
  checkArgmax,
  checkAttend,
  checkColumns,
  checkCountExperts,
  checkEmbed,
  checkExperts,
  checkGather,
  checkLatentAttend,
  checkLayerNorm,
  checkMatmul,
  checkNewCache,
  checkNewTensor,
  checkPage,
  checkPickRows,
  checkRead,
  checkReshape,
  checkRmsNorm,
  checkRope,
  checkRoute,
  checkScaled,
  checkStack,
  checkStore,
  checkWrite,
} from '../shapes.ts';
import { attend, store } from './attention.ts';
import { countExperts, experts, route } from './experts.ts';
import { latentAttend } from './latent-attention.ts';
import { embed, matmul } from './linear.ts';
import { pickRows } from './pick-rows.ts';
import { rope } from './rope.ts';
import { add, argmax, gather, layerNorm, rmsNorm } from './rows.ts';
import { allocate, type HeldCache, type HeldTensor, heldCache } from './storage.ts';
import { type HeldWeight, heldWeight, reshaped, scaledBy, stacked, withValues } from './weights.ts';

/** Options of {@link createReferenceBackend}. */
export interface ReferenceOptions {
  /** Shared with the thread that may abort: a nonzero first Int32 is an abort; it is set back to 0 when noticed. */
  readonly abortFlag?: SharedArrayBuffer;
}

/** Weights up to this many decoded bytes are decoded once; those that come after are decoded at every use. */
const VALUE_BYTES = 1 << 30;

/**
 * A backend of plain TypeScript, in any JavaScript runtime.
 *
 * @example
 * const backend = createReferenceBackend();
 * const x = backend.tensor('F32', 1, 576);
 */
export function createReferenceBackend(options: ReferenceOptions = {}): Backend {
  const abortFlag = new Int32Array(options.abortFlag ?? new ArrayBuffer(4));
  const live = new Map<number, HeldTensor | HeldCache | HeldWeight>();
  const weightBytes = new Map<number, number>();
  let lastId = 0;
  let valueBytes = 0;

  function keep<T extends HeldTensor | HeldCache | HeldWeight>(handle: T): T {
    live.set(handle.id, handle);
    return handle;
  }

  function keepLoaded(weight: HeldWeight, bytes: number): Weight {
    weightBytes.set(weight.id, bytes);
    return keep(weight);
  }

  function checkpoint(): void {
    if (Atomics.exchange(abortFlag, 0, 0) === 0) return;
    throw new HadalError('aborted', { what: 'the running step was aborted' });
  }

  return {
    info: { name: 'reference', isa: 'javascript', threads: 1 },

    tensor(dtype, rows, cols) {
      checkNewTensor(rows, cols);
      const { buffer } = allocate(rows * cols * 4, `a tensor [${rows}, ${cols}]`);
      const data = dtype === 'F32' ? new Float32Array(buffer) : new Int32Array(buffer);
      return keep({ id: ++lastId, dtype, rows, cols, data, start: 0, stride: cols });
    },
    columns(of, start, cols) {
      checkColumns(of, start, cols);
      const from = of as HeldTensor;
      return keep({ ...from, id: ++lastId, cols, start: from.start + start });
    },
    cache(dtype, pages, pageRows, cols) {
      checkNewCache(pages, pageRows, cols);
      return keep(heldCache(++lastId, dtype, pages, pageRows, cols));
    },
    readPage(store, page) {
      checkPage(store, page);
      const { bytes, rowBytes, pageRows } = store as HeldCache;
      return bytes.slice(page * pageRows * rowBytes, (page + 1) * pageRows * rowBytes);
    },
    writePage(store, page, bytes) {
      checkPage(store, page, bytes);
      const to = store as HeldCache;
      to.bytes.set(bytes, page * to.pageRows * to.rowBytes);
    },
    async load(source, tensors, onProgress) {
      const loaded = new Map<string, Weight>();
      const total = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
      let done = 0;
      for (const { name, dtype, shape, offset, bytes } of tensors) {
        const data = await source.read(offset, bytes);
        const weight = heldWeight(++lastId, name, dtype, shape, data);
        const weightValueBytes = weight.experts * weight.rows * weight.cols * 4;
        const roomy = weight.rows > 1 && valueBytes + weightValueBytes <= VALUE_BYTES;
        if (roomy) valueBytes += weightValueBytes;
        loaded.set(
          name,
          roomy ? keepLoaded(withValues(weight), bytes + weightValueBytes) : keepLoaded(weight, bytes),
        );
        done += bytes;
        onProgress?.(done, total);
      }
      return loaded;
    },
    constant(name, dtype, shape, bytes) {
      return keepLoaded(heldWeight(++lastId, name, dtype, shape, new Uint8Array(bytes)), bytes.length);
    },
    reshape(weight, experts, rows, cols) {
      checkReshape(weight, experts, rows, cols);
      return keep(reshaped(++lastId, weight, experts, rows, cols));
    },
    stack(name, parts) {
      checkStack(name, parts);
      return keep(stacked(++lastId, name, parts));
    },
    scaled(weight, scales, block) {
      checkScaled(weight, scales, block);
      return keep(scaledBy(++lastId, weight, scales, block));
    },
    free(handle) {
      live.delete(handle.id);
      weightBytes.delete(handle.id);
    },
    write(to, data) {
      checkWrite(to, data);
      const { data: numbers, start, stride, cols } = to as HeldTensor;
      for (let at = 0, row = 0; at < data.length; at += cols, row++) {
        numbers.set(data.subarray(at, at + cols), start + row * stride);
      }
    },
    async read(from, rows) {
      checkRead(from, rows);
      checkpoint();
      const { data, start, stride, cols } = from as HeldTensor;
      const copy = from.dtype === 'F32' ? new Float32Array(rows * cols) : new Int32Array(rows * cols);
      for (let row = 0; row < rows; row++) {
        const at = start + row * stride;
        copy.set(data.subarray(at, at + cols), row * cols);
      }
      // All has been computed in one go: messages and timers get their turn here.
      await new Promise((resolve) => setTimeout(resolve, 0));
      return copy;
    },
    memory: () => memoryOf(live.values(), weightBytes.values()),
    checkpoint,
    again: (_of, _name, record) => record(),
    // It has no other thread.
    keepFree() {},
    abort() {
      Atomics.store(abortFlag, 0, 1);
    },
    async [Symbol.asyncDispose]() {
      live.clear();
      weightBytes.clear();
    },

    embed(span, out, table, tokens) {
      checkEmbed(span, out, table, tokens);
      embed(span, out, table, tokens);
    },
    rmsNorm(span, out, x, weight, eps) {
      checkRmsNorm(span, out, x, weight);
      rmsNorm(span, out, x, weight, eps);
    },
    layerNorm(span, out, x, weight, bias, eps) {
      checkLayerNorm(span, out, x, weight, bias);
      layerNorm(span, out, x, weight, bias, eps);
    },
    matmul(span, x, products) {
      checkMatmul(span, x, products);
      matmul(span, x, products);
    },
    rope(span, x, positions, frequencies, options) {
      checkRope(span, x, positions, frequencies, options);
      rope(span, x, positions, frequencies, options);
    },
    store(span, cache, x, slots) {
      checkStore(span, cache, x, slots);
      store(span, cache, x, slots);
    },
    attend(batch, out, q, keys, values, options) {
      checkAttend(batch, out, q, keys, values, options);
      attend(batch, out, q, keys, values, options);
    },
    latentAttend(batch, out, q, latents, weights, options, picks) {
      checkLatentAttend(batch, out, q, latents, weights, options, picks);
      latentAttend(batch, out, q, latents, weights, options, picks);
    },
    pickRows(batch, picks, q, weights, keys, options) {
      checkPickRows(batch, picks, q, weights, keys, options);
      pickRows(batch, picks, q, weights, keys, options);
    },
    add(span, out, x) {
      checkAdd(span, out, x);
      add(span, out, x);
    },
    gather(span, out, x, rows) {
      checkGather(span, out, x, rows);
      gather(span, out, x, rows);
    },
    route(span, ids, weights, logits, bias, options) {
      checkRoute(span, ids, weights, logits, bias, options);
      route(span, ids, weights, logits, bias, options);
    },
    experts(span, out, x, ids, weights, of) {
      checkExperts(span, out, x, ids, weights, of);
      experts(span, out, x, ids, weights, of);
    },
    countExperts(span, counts, ids) {
      checkCountExperts(span, counts, ids);
      countExperts(span, counts, ids);
    },
    argmax(span, out, logits) {
      checkArgmax(span, out, logits);
      argmax(span, out, logits);
    },
  };
}

function memoryOf(
  live: Iterable<HeldTensor | HeldCache | HeldWeight>,
  weights: Iterable<number>,
): ReturnType<Backend['memory']> {
  let weightBytes = 0;
  let cacheBytes = 0;
  const buffers = new Set<ArrayBufferLike>();
  for (const bytes of weights) weightBytes += bytes;
  for (const handle of live) {
    if ('pages' in handle) cacheBytes += handle.bytes.length;
    else if ('data' in handle) buffers.add(handle.data.buffer);
  }
  const tensorBytes = [...buffers].reduce((sum, buffer) => sum + buffer.byteLength, 0);
  return { weightBytes, cacheBytes, tensorBytes };
}
