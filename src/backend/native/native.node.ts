/**
 * Owns: the native backend: handles of the addon, operations recorded until something is read.
 * Refuses to know: how operations are carried out (native/), what a model is.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DTypeName } from '../../dtypes/dtype.ts';
import { HadalError } from '../../error.ts';
import type { TensorInfo } from '../../formats/tensor-info.ts';
import type { Backend, CacheStore, LatentWeights, Weight } from '../backend.ts';
import { cacheRowBytes } from '../cache-format.ts';
import * as check from '../shapes.ts';
import { type Addon, type Context, errorOf, faults, loadAddon } from './addon.node.ts';
import { type NativeHandle, type NativeTensor, Program } from './program.ts';

/** Options of {@link createNativeBackend}. */
export interface NativeOptions {
  /** As many as the machine or container gives when absent. */
  readonly threads?: number;
  /** `scalar`, `avx2` or `avx512`; the best of this processor when absent. */
  readonly isa?: string;
}

/** Why the native backend cannot be used here, or undefined where it can. */
export function nativeProblem(): string | undefined {
  const loaded = loadAddon();
  return 'problem' in loaded ? loaded.problem : undefined;
}

/** The instruction sets that the addon can use on this processor, best first; none without the addon. */
export function nativeIsas(): readonly string[] {
  const loaded = loadAddon();
  return 'problem' in loaded ? [] : loaded.addon.isas().split(',');
}

/**
 * A backend that computes in the addon's threads, and short steps in the caller's. Weights of files stay where they are: the
 * file is mapped, and rows of what is kept apart are read from it as they are wanted; Windows' files are read whole.
 *
 * @throws HadalError `native-unavailable`, `isa-unavailable`, `out-of-memory`
 * @example const backend = createNativeBackend({ threads: 2 });
 */
export function createNativeBackend({ threads = 0, isa = '' }: NativeOptions = {}): Backend {
  const loaded = loadAddon();
  if ('problem' in loaded) {
    throw new HadalError('native-unavailable', {
      what: `the native backend: ${loaded.problem}`,
      next: 'build it with `npm run build`, or set HADAL_BACKEND=reference',
    });
  }
  return nativeBackend(
    loaded.addon,
    faults(() => loaded.addon.create(threads, isa)),
  );
}

interface NativeCache extends CacheStore, NativeHandle {}
interface NativeWeight extends Weight, NativeHandle {}

const SCORINGS = { softmax: 0, sigmoid: 1, 'sqrt-softplus': 2 } as const;
const GROUP_SCORES = { max: 0, top2: 1 } as const;

/** Names that `again` remembers of each: batches of as many sizes, some ten thousand words each of a large model. */
const MOST_KNOWN = 64;

/** Words of a name of `again`, what came with them, and how long it took the last time, in milliseconds. */
interface Recorded {
  readonly words: Int32Array;
  readonly result: unknown;
  lastMs?: number;
}

/**
 * What took less the last time is computed on the thread that asks: handing it to another and being woken costs 0.15 ms
 * and, with as many threads as cores, a place on one of them, which cost a model with steps of 13 ms 3 to 10 %, and one
 * with steps of 40 ms nothing that could be measured. An abort that comes meanwhile waits for the end of the one step.
 */
const SHORT_MS = 30;

/** Whether the addon maps files, and reads rows of what is kept apart in them; otherwise it holds them whole. */
const MAPS_FILES = process.platform !== 'win32';

function nativeBackend(addon: Addon, context: Context): Backend {
  const program = new Program();
  const tensors = new Held((native) => addon.freeTensor(context, native));
  const caches = new Held((native) => addon.freeCache(context, native));
  const weights = new Held((native) => addon.freeWeight(context, native));
  /** Mapped files: kept open while the backend lives, so that one that shrinks is noticed. */
  const files: number[] = [];
  /** What `again` recorded. */
  let known = new WeakMap<object, Map<string, Recorded>>();
  /** What of it the next read runs, if anything. */
  let next: Recorded | undefined;
  /** The read that was asked for last and has no answer yet: what is read after it comes after it. */
  let last: Promise<ArrayBuffer> | undefined;
  /** Whether the calling thread is to stay free. */
  let free = false;
  let lastId = 0;

  /** Checks, then records; an operation that does not fit takes the whole step with it. */
  function record(operation: Parameters<Program['begin']>[0], checks: () => void): Program {
    try {
      checks();
    } catch (error) {
      program.clear();
      next = undefined;
      throw error;
    }
    return program.begin(operation);
  }

  /** Runs what is recorded: if `short` on this thread, after what else waits for its turn, where there is an operation. */
  async function run(from: NativeTensor, rows: number, short: boolean): Promise<ArrayBuffer> {
    const { native, start, cols } = from;
    let words: Int32Array;
    try {
      check.checkRead(from, rows);
      words = program.words.slice();
    } finally {
      // What is recorded from here on belongs to the next read.
      program.clear();
    }
    const recorded = [context, words, native, start, cols, rows] as const;
    const before = last;
    const own = inTurn();
    last = own;
    try {
      return await own;
    } finally {
      if (last === own) last = undefined;
    }

    async function inTurn(): Promise<ArrayBuffer> {
      if (before) await before.catch(() => undefined);
      if (short && words.length > 0) await othersFirst();
      return (short ? addon.runNow(...recorded) : undefined) ?? (await addon.run(...recorded));
    }
  }

  /** Two turns: in the first, what the step before led to may still ask for one, and it is to go first too. */
  async function othersFirst(): Promise<void> {
    await nextTurn();
    await nextTurn();
  }

  function weight(
    name: string,
    dtype: DTypeName,
    [experts, rows, cols]: readonly [number, number, number],
    native: number,
    size: number,
  ): NativeWeight {
    const id = ++lastId;
    weights.add(id, native, size);
    return { id, name, dtype, experts, rows, cols, native };
  }

  const shapeOf = (name: string, shape: readonly number[]): readonly [number, number, number] => {
    if (shape.length > 3) {
      throw new HadalError('shape', {
        what: `weight "${name}"`,
        expected: 'at most 3 dimensions',
        got: `${shape.length}`,
        next: 'check the file with `hadal inspect`',
      });
    }
    return [shape[2] ?? 1, shape[1] ?? 1, shape[0] ?? 1];
  };

  return {
    info: {
      name: 'native',
      isa: faults(() => addon.isa(context)),
      threads: faults(() => addon.threads(context)),
    },

    tensor(dtype, rows, cols) {
      check.checkNewTensor(rows, cols);
      const native = faults(() => addon.tensor(context, dtype === 'I32' ? 1 : 0, rows, cols));
      const made: NativeTensor = { id: ++lastId, dtype, rows, cols, native, start: 0 };
      tensors.add(made.id, native, rows * cols * 4);
      return made;
    },
    columns(of, start, cols) {
      check.checkColumns(of, start, cols);
      const from = of as NativeTensor;
      const view: NativeTensor = { ...from, id: ++lastId, cols, start: from.start + start };
      return view;
    },
    cache(dtype, pages, pageRows, cols) {
      check.checkNewCache(pages, pageRows, cols);
      const native = faults(() => addon.cache(context, dtype, pages, pageRows, cols));
      const made: NativeCache = { id: ++lastId, dtype, pages, pageRows, cols, native };
      caches.add(made.id, native, pages * pageRows * cacheRowBytes(dtype, cols));
      return made;
    },
    readPage(store, page) {
      check.checkPage(store, page);
      return new Uint8Array(faults(() => addon.readPage(context, (store as NativeCache).native, page)));
    },
    writePage(store, page, bytes) {
      check.checkPage(store, page, bytes);
      faults(() => addon.writePage(context, (store as NativeCache).native, page, bytes));
    },
    async load(source, wanted, onProgress, apart) {
      const made = new Map<string, Weight>();
      const total = wanted.reduce((sum, tensor) => sum + tensor.bytes, 0);
      let done = 0;
      const put = (tensor: TensorInfo, native: number, held = tensor.bytes) => {
        const shape = shapeOf(tensor.name, tensor.shape);
        made.set(tensor.name, weight(tensor.name, tensor.dtype, shape, native, held));
        done += tensor.bytes;
        onProgress?.(done, total);
      };
      const { path } = source;
      if (path === undefined) {
        for (const tensor of wanted) {
          const { name, dtype, shape, offset, bytes: size } = tensor;
          const data = await source.read(offset, size);
          put(
            tensor,
            faults(() => addon.constant(context, name, dtype, ...shapeOf(name, shape), data)),
          );
        }
        return made;
      }
      const file = faults(() => addon.openFile(context, path, source.size, (source.fd ?? -1) + 1));
      files.push(file);
      for (const tensor of wanted) {
        const { name, dtype, shape, offset, bytes: size } = tensor;
        const sizes = shapeOf(name, shape);
        const rows = apart?.has(name) === true;
        put(
          tensor,
          faults(() => addon.weight(context, name, dtype, ...sizes, file, offset, size, rows ? 1 : 0)),
          rows && MAPS_FILES ? 0 : size,
        );
      }
      faults(() => addon.bringNear(context, file));
      return made;
    },
    constant(name, dtype, shape, data) {
      const sizes = shapeOf(name, shape);
      return weight(
        name,
        dtype,
        sizes,
        faults(() => addon.constant(context, name, dtype, ...sizes, data)),
        data.length,
      );
    },
    reshape(of, experts, rows, cols) {
      check.checkReshape(of, experts, rows, cols);
      const native = faults(() => addon.reshape(context, (of as NativeWeight).native, experts, rows, cols));
      return { ...weight(of.name, of.dtype, [experts, rows, cols], native, 0), ...blockOf(of) };
    },
    stack(name, parts) {
      check.checkStack(name, parts);
      const first = parts[0]!;
      const ids = Int32Array.from(parts, (part) => (part as NativeWeight).native);
      const native = faults(() => addon.stack(context, name, ids));
      return {
        ...weight(name, first.dtype, [parts.length, first.rows, first.cols], native, 0),
        ...blockOf(first),
      };
    },
    scaled(of, scales, block) {
      check.checkScaled(of, scales, block);
      const [a, b] = [(of as NativeWeight).native, (scales as NativeWeight).native];
      const native = faults(() => addon.scaled(context, a, b, block.rows, block.cols));
      const made = weight(of.name, of.dtype, [of.experts, of.rows, of.cols], native, 0);
      return { ...made, scaleBlock: block };
    },
    free(handle) {
      // What was recorded may use it.
      known = new WeakMap();
      // Views have nothing of their own and free nothing.
      for (const held of [tensors, caches, weights]) held.free(handle.id);
    },
    write(to, data) {
      record('write', () => check.checkWrite(to, data))
        .tensor(to)
        .bits(data)
        .end();
    },
    async read(from, rows) {
      const [recorded, startedMs] = [next, performance.now()];
      next = undefined;
      try {
        const short = program.length === 0 || (!free && (recorded?.lastMs ?? SHORT_MS) < SHORT_MS);
        const answer = await run(from as NativeTensor, rows, short);
        if (recorded) recorded.lastMs = performance.now() - startedMs;
        return from.dtype === 'F32' ? new Float32Array(answer) : new Int32Array(answer);
      } catch (error) {
        const fault = errorOf(error);
        if (fault instanceof HadalError && fault.code === 'aborted') addon.clearAbort(context);
        throw fault;
      }
    },
    memory() {
      return { weightBytes: weights.bytes(), cacheBytes: caches.bytes(), tensorBytes: tensors.bytes() };
    },
    checkpoint() {
      program.begin('checkpoint').end();
    },
    again<T>(of: object, name: string, recordAll: () => T): T {
      const own = known.get(of) ?? new Map<string, Recorded>();
      known.set(of, own);
      const before = own.get(name);
      own.delete(name);
      const from = program.length;
      if (before) program.append(before.words);
      const result = before ? (before.result as T) : recordAll();
      next = before ?? { words: program.words.slice(from), result };
      own.set(name, next);
      // The one that was wanted longest ago is the first.
      if (own.size > MOST_KNOWN) own.delete(own.keys().next().value!);
      return result;
    },
    abort() {
      addon.abort(context);
    },
    keepFree(wanted) {
      free = wanted;
    },
    async [Symbol.asyncDispose]() {
      for (const held of [tensors, caches, weights]) held.freeAll();
      for (const file of files.splice(0)) faults(() => addon.closeFile(context, file));
    },

    embed(span, out, table, tokens) {
      record('embed', () => check.checkEmbed(span, out, table, tokens))
        .span(span)
        .tensor(out)
        .handle(table)
        .tensor(tokens)
        .end();
    },
    rmsNorm(span, out, x, of, eps) {
      record('rmsNorm', () => check.checkRmsNorm(span, out, x, of))
        .span(span)
        .tensor(out)
        .tensor(x)
        .handle(of)
        .float(eps)
        .end();
    },
    layerNorm(span, out, x, of, bias, eps) {
      record('layerNorm', () => check.checkLayerNorm(span, out, x, of, bias))
        .span(span)
        .tensor(out)
        .tensor(x)
        .handle(of)
        .handle(bias)
        .float(eps)
        .end();
    },
    matmul(span, x, products) {
      record('matmul', () => check.checkMatmul(span, x, products))
        .span(span)
        .tensor(x)
        .int(products.length);
      for (const { weight: of, out, bias, add, gate } of products) {
        program
          .handle(of)
          .tensor(out)
          .handle(bias)
          .int(add ? 1 : 0)
          .handle(gate);
      }
      program.end();
    },
    rope(span, x, positions, frequencies, options) {
      record('rope', () => check.checkRope(span, x, positions, frequencies, options))
        .span(span)
        .tensor(x)
        .tensor(positions)
        .handle(frequencies)
        .int(options.heads)
        .int(options.headDim)
        .int(options.offset)
        .int(options.ropeDim)
        .int(options.layout === 'neox' ? 1 : 0)
        .float(options.magnitude)
        .end();
    },
    store(span, cache, x, slots) {
      record('store', () => check.checkStore(span, cache, x, slots))
        .span(span)
        .handle(cache)
        .tensor(x)
        .tensor(slots)
        .end();
    },
    attend(batch, out, q, keys, values, options) {
      record('attend', () => check.checkAttend(batch, out, q, keys, values, options))
        .batch(batch)
        .tensor(out)
        .tensor(q)
        .handle(keys)
        .handle(values)
        .int(options.heads)
        .int(options.kvHeads)
        .int(options.headDim)
        .int(options.valueDim)
        .float(options.scale)
        .end();
    },
    latentAttend(batch, out, q, latents, weights, options, picks) {
      const [first, second] = latentHalves(weights);
      record('latentAttend', () => check.checkLatentAttend(batch, out, q, latents, weights, options, picks))
        .batch(batch)
        .tensor(out)
        .tensor(q)
        .handle(latents)
        .weights(first, second)
        .maybeTensor(picks)
        .int(options.heads)
        .int(options.nopeDim)
        .int(options.ropeDim)
        .int(options.valueDim)
        .int(options.latentDim)
        .float(options.scale)
        .end();
    },
    pickRows(batch, picks, q, weights, keys, options) {
      record('pickRows', () => check.checkPickRows(batch, picks, q, weights, keys, options))
        .batch(batch)
        .tensor(picks)
        .tensor(q)
        .tensor(weights)
        .handle(keys)
        .int(options.heads)
        .int(options.dim)
        .end();
    },
    add(span, out, x) {
      record('add', () => check.checkAdd(span, out, x))
        .span(span)
        .tensor(out)
        .tensor(x)
        .end();
    },
    gather(span, out, x, rows) {
      record('gather', () => check.checkGather(span, out, x, rows))
        .span(span)
        .tensor(out)
        .tensor(x)
        .tensor(rows)
        .end();
    },
    route(span, ids, weights, logits, bias, options) {
      record('route', () => check.checkRoute(span, ids, weights, logits, bias, options))
        .span(span)
        .tensor(ids)
        .tensor(weights)
        .tensor(logits)
        .handle(bias)
        .int(SCORINGS[options.scoring])
        .int(options.used)
        .int(options.groups)
        .int(options.groupsUsed)
        .int(GROUP_SCORES[options.groupScore])
        .int(options.normalise ? 1 : 0)
        .float(options.scale)
        .end();
    },
    experts(span, out, x, ids, weights, of) {
      record('experts', () => check.checkExperts(span, out, x, ids, weights, of))
        .span(span)
        .tensor(out)
        .tensor(x)
        .tensor(ids)
        .tensor(weights)
        .weights(of.gate, of.up, of.down)
        .end();
    },
    countExperts(span, counts, ids) {
      record('countExperts', () => check.checkCountExperts(span, counts, ids))
        .span(span)
        .tensor(counts)
        .tensor(ids)
        .end();
    },
    argmax(span, out, logits) {
      record('argmax', () => check.checkArgmax(span, out, logits))
        .span(span)
        .tensor(out)
        .tensor(logits)
        .end();
    },
  };
}

/** Live handles of one kind: their ids here and there, and their bytes. */
class Held {
  readonly #live = new Map<number, { readonly native: number; readonly bytes: number }>();
  readonly #free: (native: number) => void;

  constructor(free: (native: number) => void) {
    this.#free = free;
  }

  add(id: number, native: number, bytes: number): void {
    this.#live.set(id, { native, bytes });
  }

  free(id: number): void {
    const held = this.#live.get(id);
    if (held === undefined) return;
    this.#live.delete(id);
    faults(() => this.#free(held.native));
  }

  freeAll(): void {
    for (const id of [...this.#live.keys()]) this.free(id);
  }

  bytes(): number {
    return [...this.#live.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }
}

function latentHalves(weights: LatentWeights): [Weight, Weight | undefined] {
  return 'kvB' in weights ? [weights.kvB, undefined] : [weights.kB, weights.vB];
}

function blockOf({ scaleBlock }: Weight): { scaleBlock?: NonNullable<Weight['scaleBlock']> } {
  return scaleBlock ? { scaleBlock } : {};
}
