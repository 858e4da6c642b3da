/**
 * Owns: which models are loaded: on demand, kept for a time, pinned, put out when memory runs out, started again.
 * Refuses to know: how a model is opened, HTTP, keys, what is asked of a model.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Pooling } from '../engine/request.ts';
import { HadalError } from '../error.ts';

/** A model that may be asked for. */
export interface ServedModel {
  /** What requests call it. */
  readonly name: string;
  readonly aliases: readonly string[];
  /** A path or a name of the catalogue; requests never see or choose it. */
  readonly source: string;
  /** Loaded at the start and, until somebody unpins it, never put out. */
  readonly pinned: boolean;
  /** How its hidden states become one vector; as its file has it when absent. */
  readonly pooling?: Pooling;
}

/** How far a load is. */
export type OnProgress = (done: number, total: number) => void;

/** What the manager needs of a loaded model. */
export interface LoadedModel extends AsyncDisposable {
  /** Resolves, with what is known of why, when the engine is gone; also after it was closed. */
  readonly ended: Promise<unknown>;
  /** What it takes. */
  readonly bytes: number;
}

/** How models are opened and measured. */
export interface ModelOpener<M extends LoadedModel> {
  /** `roomBytes` is what others leave: what can be chosen of a model is chosen so that it takes no more. */
  open(model: ServedModel, onProgress: OnProgress, signal: AbortSignal, roomBytes: number): Promise<M>;
  /** Bytes that it needs where `roomBytes` are left. Fetches a model that is not here, and reads its header only. */
  bytesOf(
    model: ServedModel,
    onProgress: OnProgress,
    signal: AbortSignal,
    roomBytes: number,
  ): Promise<number>;
}

/** What became of a model, for logs and metrics. */
export type ModelEvent =
  | { readonly type: 'loading' | 'evicted' | 'expired' | 'unloaded'; readonly model: string }
  | { readonly type: 'loaded'; readonly model: string; readonly ms: number }
  | { readonly type: 'failed' | 'died'; readonly model: string; readonly error: unknown };

/** Options of {@link createModels}. */
export interface ModelsOptions<M extends LoadedModel> {
  readonly served: readonly ServedModel[];
  readonly opener: ModelOpener<M>;
  /** Bytes that all loaded models together may take. */
  readonly budgetBytes: number;
  /** How long a model stays after its last request; below 0 for ever. */
  readonly keepAliveMs: number;
  readonly onEvent?: (event: ModelEvent) => void;
}

/** A model in use. It is not put out before it is released. */
export interface Lease<M> {
  readonly model: M;
  /** Gives it back; `keepAliveMs` over the manager's own. Later calls do nothing. */
  release(keepAliveMs?: number): void;
}

/** What is known of a served model. */
export interface ModelStatus {
  readonly model: ServedModel;
  readonly state: 'absent' | 'loading' | 'ready';
  /** How far a load is, once that is known. */
  readonly progress: { readonly done: number; readonly total: number } | undefined;
  readonly pinned: boolean;
  readonly inUse: number;
  /** Bytes that it takes or will take, once known. */
  readonly bytes: number | undefined;
  /** When it is put out unless it is used; undefined when it stays. */
  readonly expiresAtMs: number | undefined;
}

/** The loaded models. */
export interface Models<M extends LoadedModel> extends AsyncDisposable {
  /**
   * A model by its name, loaded if it is not. `onProgress` is told how far that is.
   *
   * @throws HadalError `model-unknown`, `model-unloadable`, `memory-full`, `closing`; the signal's reason.
   */
  acquire(name: string, options: { signal: AbortSignal; onProgress?: OnProgress }): Promise<Lease<M>>;
  /** The served model of a name or alias, or undefined. */
  find(name: string): ServedModel | undefined;
  status(): readonly ModelStatus[];
  /** Serves one more; one whose name is served already changes nothing. */
  add(model: ServedModel): void;
  /** Puts a model out and serves it no longer; whoever asks meanwhile is told so. Rejects as {@link Models.unload}. */
  remove(name: string): Promise<void>;
  /** The loaded model of a name, without using it. */
  peek(name: string): M | undefined;
  /** Keeps a model loaded once it is, or lets it go again like others. Throws `model-unknown`. */
  pin(name: string, pinned: boolean): void;
  /**
   * Puts a model out.
   *
   * @throws HadalError `model-unknown`; `model-pinned`; `model-busy` while it answers or is loaded.
   */
  unload(name: string): Promise<void>;
  /** Loads the pinned ones. Rejects as {@link Models.acquire}. */
  start(signal: AbortSignal): Promise<void>;
}

/** An engine that dies so often within so long is not started again before somebody asks for it. */
const DEATHS = { most: 3, withinMs: 60_000 };
/** Longer timers than this overflow; such a model simply stays. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Manages a set of models.
 *
 * @example
 * const lease = await models.acquire('smollm2-135m', { signal });
 * try { await answer(lease.model); } finally { lease.release(); }
 */
export function createModels<M extends LoadedModel>(options: ModelsOptions<M>): Models<M> {
  return new ManagedModels(options);
}

interface Slot<M> {
  readonly model: ServedModel;
  pinned: boolean;
  progress: ModelStatus['progress'];
  bytes: number | undefined;
  loaded: M | undefined;
  /** The load that runs, for all who wait for it. */
  bringing: Promise<void> | undefined;
  closing: Promise<void> | undefined;
  /** Asked to go as soon as nobody uses it; takes no new requests. */
  leaving: boolean;
  leases: number;
  lastUsedMs: number;
  timer: NodeJS.Timeout | undefined;
  expiresAtMs: number | undefined;
  deathsMs: number[];
  readonly listeners: Set<OnProgress>;
}

class ManagedModels<M extends LoadedModel> implements Models<M> {
  readonly #options: ModelsOptions<M>;
  readonly #slots: Slot<M>[] = [];
  readonly #names = new Map<string, Slot<M>>();
  readonly #stop = new AbortController();
  /** Loads run one after another: two at once would not know of each other's memory. */
  #loads: Promise<unknown> = Promise.resolve();
  /** Called at every release and every end of a model. */
  readonly #watchers = new Set<() => void>();

  constructor(options: ModelsOptions<M>) {
    this.#options = options;
    for (const model of options.served) this.add(model);
  }

  async acquire(
    name: string,
    { signal, onProgress }: { signal: AbortSignal; onProgress?: OnProgress },
  ): Promise<Lease<M>> {
    const slot = this.#slot(name);
    for (;;) {
      signal.throwIfAborted();
      this.#stop.signal.throwIfAborted();
      if (slot.loaded !== undefined && !slot.leaving) return this.#lease(slot, slot.loaded);
      if (onProgress) slot.listeners.add(onProgress);
      try {
        await unless(signal, this.#bring(slot));
      } finally {
        if (onProgress) slot.listeners.delete(onProgress);
      }
    }
  }

  find(name: string): ServedModel | undefined {
    return this.#names.get(name.toLowerCase())?.model;
  }

  add(model: ServedModel): void {
    if (this.#names.has(model.name.toLowerCase())) return;
    const slot = emptySlot<M>(model);
    this.#slots.push(slot);
    for (const name of [model.name, ...model.aliases]) {
      const key = name.toLowerCase();
      if (!this.#names.has(key)) this.#names.set(key, slot);
    }
  }

  async remove(name: string): Promise<void> {
    const slot = this.#slot(name);
    const gone = this.#putOut(slot);
    // In the same turn, or a request could load what nobody looks after any more.
    this.#slots.splice(this.#slots.indexOf(slot), 1);
    for (const [key, other] of this.#names) if (other === slot) this.#names.delete(key);
    await gone;
  }

  peek(name: string): M | undefined {
    return this.#names.get(name.toLowerCase())?.loaded;
  }

  status(): readonly ModelStatus[] {
    return this.#slots.map(({ model, loaded, bringing, progress, pinned, leases, bytes, expiresAtMs }) => ({
      model,
      state: loaded ? 'ready' : bringing ? 'loading' : 'absent',
      progress,
      pinned,
      inUse: leases,
      bytes,
      expiresAtMs,
    }));
  }

  pin(name: string, pinned: boolean): void {
    const slot = this.#slot(name);
    slot.pinned = pinned;
    if (slot.loaded !== undefined && slot.leases === 0) this.#expire(slot, this.#options.keepAliveMs);
  }

  async unload(name: string): Promise<void> {
    await this.#putOut(this.#slot(name));
  }

  /** Throws where it may not be put out. */
  #putOut(slot: Slot<M>): Promise<void> {
    const what = `the model ${slot.model.name}`;
    if (slot.pinned) {
      throw new HadalError('model-pinned', {
        what,
        expected: 'one that may be put out',
        got: 'a pinned one',
        next: 'unpin it first',
      });
    }
    if (slot.leases > 0 || slot.bringing !== undefined) {
      const got = slot.leases > 0 ? `${slot.leases} that run` : 'it being loaded';
      throw new HadalError('model-busy', {
        what,
        expected: 'no answers of it',
        got,
        next: 'try again when it is idle',
      });
    }
    if (slot.loaded !== undefined) this.#event({ type: 'unloaded', model: slot.model.name });
    return this.#close(slot);
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const slot of this.#slots) if (slot.pinned) await unless(signal, this.#bring(slot));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new HadalError('closing', { what: 'the server is closing', next: 'ask another one' }));
    for (const slot of this.#slots) await slot.bringing?.catch(() => undefined);
    await Promise.all(this.#slots.map((slot) => this.#close(slot)));
  }

  #slot(name: string): Slot<M> {
    const slot = this.#names.get(name.toLowerCase());
    if (slot !== undefined) return slot;
    const names = this.#slots.map(({ model }) => model.name);
    throw unknownModel(name, names);
  }

  #lease(slot: Slot<M>, model: M): Lease<M> {
    slot.leases++;
    this.#stay(slot);
    let held = true;
    return {
      model,
      release: (keepAliveMs = this.#options.keepAliveMs) => {
        if (!held) return;
        held = false;
        slot.leases--;
        slot.lastUsedMs = performance.now();
        if (slot.leases === 0 && slot.loaded !== undefined) this.#expire(slot, keepAliveMs);
        this.#tell();
      },
    };
  }

  #stay(slot: Slot<M>): void {
    clearTimeout(slot.timer);
    slot.timer = undefined;
    slot.expiresAtMs = undefined;
  }

  #expire(slot: Slot<M>, keepAliveMs: number): void {
    this.#stay(slot);
    if (slot.pinned || keepAliveMs < 0 || keepAliveMs > LONGEST_TIMER_MS) return;
    slot.expiresAtMs = Date.now() + keepAliveMs;
    slot.timer = setTimeout(() => {
      if (slot.leases > 0 || slot.loaded === undefined) return;
      this.#event({ type: 'expired', model: slot.model.name });
      void this.#close(slot);
    }, keepAliveMs);
    slot.timer.unref();
  }

  /** Resolves when the model has been loaded, by whomever. */
  #bring(slot: Slot<M>): Promise<void> {
    slot.bringing ??= this.#inTurn(() => this.#load(slot)).finally(() => {
      slot.bringing = undefined;
      slot.progress = undefined;
    });
    return slot.bringing;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#loads.then(work, work);
    // Whoever waited for a model takes it before the next load looks for something to put out: else two requests would
    // take turns at loading for ever.
    this.#loads = turn.catch(() => undefined).then(() => nextTurn());
    return turn;
  }

  async #load(slot: Slot<M>): Promise<void> {
    await slot.closing;
    this.#stop.signal.throwIfAborted();
    if (slot.loaded !== undefined && !slot.leaving) return;
    const { opener } = this.#options;
    const { name } = slot.model;
    const startedMs = performance.now();
    this.#event({ type: 'loading', model: name });
    try {
      const tell: OnProgress = (done, total) => {
        slot.progress = { done, total };
        for (const listener of slot.listeners) listener(done, total);
      };
      const { signal } = this.#stop;
      slot.bytes = await opener.bytesOf(slot.model, tell, signal, this.#roomFor(slot));
      await this.#makeRoom(slot, slot.bytes);
      const loaded = await opener.open(slot.model, tell, signal, this.#roomFor(slot));
      slot.bytes = loaded.bytes;
      slot.loaded = loaded;
      slot.leaving = false;
      void loaded.ended.then((error) => this.#ended(slot, loaded, error));
      this.#event({ type: 'loaded', model: name, ms: performance.now() - startedMs });
      this.#expire(slot, this.#options.keepAliveMs);
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      if (error instanceof HadalError && error.code === 'memory-full') throw error;
      this.#event({ type: 'failed', model: name, error });
      throw new HadalError(
        'model-unloadable',
        { what: `the model ${name} could not be loaded`, next: "see the server's log for why" },
        { cause: error },
      );
    }
  }

  /** Puts out models, the one first that was used longest ago, until `bytes` more fit. */
  async #makeRoom(wanted: Slot<M>, bytes: number): Promise<void> {
    try {
      while (!(await this.#hasRoom(wanted, bytes))) this.#stop.signal.throwIfAborted();
    } finally {
      // Whoever was asked to go and is still in use need not: another gave the memory.
      for (const slot of this.#slots) slot.leaving = false;
    }
  }

  /** Whether `bytes` more fit; if not, after one more is out, or something changed. */
  async #hasRoom(wanted: Slot<M>, bytes: number): Promise<boolean> {
    const { budgetBytes } = this.#options;
    const room = this.#roomFor(wanted);
    if (bytes <= room) return true;
    const held = this.#othersThan(wanted);
    const candidates = held.filter(({ pinned }) => !pinned).toSorted((a, b) => a.lastUsedMs - b.lastUsedMs);
    const idle = candidates.find(({ leases, closing }) => leases === 0 || closing !== undefined);
    if (idle !== undefined) {
      this.#event({ type: 'evicted', model: idle.model.name });
      await this.#close(idle);
    } else if (candidates[0] !== undefined && bytes <= budgetBytes) {
      candidates[0].leaving = true;
      await this.#change();
    } else {
      throw new HadalError('memory-full', {
        what: `the model ${wanted.model.name}`,
        expected: `at most ${room} bytes beside what must stay loaded`,
        got: `${bytes} bytes`,
        next: 'ask for a smaller model, or give the server more memory or a shorter context',
      });
    }
    return false;
  }

  /** Whatever of the others is in memory. */
  #othersThan(wanted: Slot<M>): Slot<M>[] {
    return this.#slots.filter((slot) => slot !== wanted && (slot.loaded || slot.closing));
  }

  /** Bytes of the budget that others leave. */
  #roomFor(wanted: Slot<M>): number {
    const used = this.#othersThan(wanted).reduce((sum, slot) => sum + (slot.bytes ?? 0), 0);
    return this.#options.budgetBytes - used;
  }

  #close(slot: Slot<M>): Promise<void> {
    const { loaded } = slot;
    if (loaded === undefined) return slot.closing ?? Promise.resolve();
    this.#stay(slot);
    slot.loaded = undefined;
    slot.leaving = false;
    slot.closing = Promise.resolve(loaded[Symbol.asyncDispose]()).finally(() => {
      slot.closing = undefined;
      this.#tell();
    });
    return slot.closing;
  }

  /** An engine is gone. If nobody closed it, it is started again where somebody is likely to want it. */
  #ended(slot: Slot<M>, loaded: M, error: unknown): void {
    if (slot.loaded !== loaded) return;
    void this.#close(slot);
    this.#event({ type: 'died', model: slot.model.name, error });
    const nowMs = performance.now();
    slot.deathsMs = [...slot.deathsMs.filter((ms) => nowMs - ms < DEATHS.withinMs), nowMs];
    if (slot.deathsMs.length < DEATHS.most && (slot.pinned || slot.leases > 0)) {
      // A failure is told as an event, and again to whoever asks next.
      this.#bring(slot).catch(() => undefined);
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#watchers.delete(done);
        this.#stop.signal.removeEventListener('abort', done);
        resolve();
      };
      this.#watchers.add(done);
      this.#stop.signal.addEventListener('abort', done);
    });
  }

  #tell(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  #event(event: ModelEvent): void {
    this.#options.onEvent?.(event);
  }
}

function emptySlot<M>(model: ServedModel): Slot<M> {
  return {
    model,
    pinned: model.pinned,
    progress: undefined,
    bytes: undefined,
    loaded: undefined,
    bringing: undefined,
    closing: undefined,
    leaving: false,
    leases: 0,
    lastUsedMs: 0,
    timer: undefined,
    expiresAtMs: undefined,
    deathsMs: [],
    listeners: new Set(),
  };
}

/** The error of a name that no model has; `names` are those that the caller may know. */
export function unknownModel(name: string, names: readonly string[]): HadalError {
  return new HadalError('model-unknown', {
    what: `the model ${JSON.stringify(name.slice(0, 80))}`,
    expected: names.length === 0 ? 'nothing, since no model is served here' : `one of: ${names.join(', ')}`,
    next: 'GET /v1/models lists them',
  });
}

/** The promise, or the signal's reason as soon as it is aborted; the work itself goes on for others. */
function unless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
