/**
 * Owns: running an engine in a worker thread or a child process, and this side of its channel.
 * Refuses to know: what the engine does with a message; text, prompts, HTTP.
 *
 * A fault in a child process loses its requests and nothing else: they end with `engine-died` and what is known of why.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { CacheDType } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { HeldFiles } from '../formats/tensor-info.ts';
import type { DiskCache } from './archive.ts';
import {
  type AnyEvent,
  type EngineDescription,
  type FromEngine,
  type ToEngine,
  unpackError,
} from './channel.ts';
import { EventQueue } from './event-queue.ts';
import type {
  EmbedEvent,
  EmbedRequest,
  EngineEvent,
  EngineStats,
  GenerateRequest,
  ScoreEvent,
  ScoreRequest,
} from './request.ts';
import type { Drafting } from './speculative.ts';

/** Options of {@link startEngineHost}. */
export interface EngineHostOptions {
  /** The file that the thread or process runs; it calls `serveEngine`. */
  readonly mainFile: URL;
  readonly modelPath: string;
  /** What of the model is open already, and stays open until the engine has ended. */
  readonly held?: HeldFiles;
  readonly kind: 'worker' | 'process';
  readonly contextTokens?: number;
  readonly cacheTokens?: number;
  readonly cacheDType?: CacheDType;
  readonly maxSequences?: number;
  /** How long prompts may hold the next tokens of others' answers up, in milliseconds; 250 when absent. */
  readonly promptMs?: number;
  readonly threads?: number;
  /** Counts choices of experts for `stats`; off by default. */
  readonly countExperts?: boolean;
  /** Drafting tokens from the text so far; `auto` by default, which drafts where it pays. */
  readonly drafting?: Drafting;
  /** Where pages of prompts outlive the engine; nowhere when absent. */
  readonly diskCache?: DiskCache;
  /** Engines of this machine with the same name take turns computing; none when absent. */
  readonly leaseName?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly onLoad?: (doneBytes: number, totalBytes: number) => void;
  readonly onWarning?: (sentence: string) => void;
  /** Stops the loading. */
  readonly signal?: AbortSignal;
}

/** An engine elsewhere; the methods are those of `Engine`. */
export interface EngineHost extends AsyncDisposable {
  readonly description: EngineDescription;
  readonly contextTokens: number;
  generate(request: GenerateRequest): AsyncIterable<EngineEvent>;
  score(request: ScoreRequest): AsyncIterable<ScoreEvent>;
  embed(request: EmbedRequest): AsyncIterable<EmbedEvent>;
  abort(requestId: string): void;
  stats(): Promise<EngineStats>;
  /** Resolves when nothing can be asked any more, with the error that says why. */
  readonly ended: Promise<unknown>;
  /** Of its process; undefined for a thread. */
  readonly pid: number | undefined;
}

/** What carries the messages. */
interface Carrier {
  readonly pid: number | undefined;
  post(message: ToEngine): void;
  /** Ends it at once. */
  kill(): Promise<unknown>;
  onMessage(listener: (message: FromEngine) => void): void;
  /** Called once when it is gone, with what is known of why. */
  onGone(listener: (why: string) => void): void;
}

/** How long a host may take to close in order before it is ended. */
const CLOSE_MS = 10_000;
/** How much of a dying process's last words is kept. */
const LAST_WORDS = 2_000;

/**
 * Loads a model in a thread or process of its own.
 *
 * @throws HadalError what opening and loading throw there; `engine-died`; the signal's reason.
 * @example await using engine = await startEngineHost({ mainFile, modelPath: 'model.gguf', kind: 'worker' });
 */
export async function startEngineHost(options: EngineHostOptions): Promise<EngineHost> {
  const { signal, onLoad, onWarning, kind, mainFile } = options;
  signal?.throwIfAborted();
  const { held } = options;
  const carrier =
    kind === 'worker'
      ? startWorker(mainFile)
      : startProcess(mainFile, options.env, held?.files.map(({ fd }) => fd) ?? []);
  const abortFlag = kind === 'worker' ? new SharedArrayBuffer(4) : undefined;
  const host = new Host(carrier, abortFlag);
  const stop = () => host.gone(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const {
      modelPath,
      contextTokens,
      cacheTokens,
      cacheDType,
      maxSequences,
      promptMs,
      threads,
      countExperts,
      drafting,
      diskCache,
      leaseName,
    } = options;
    await host.open(
      {
        type: 'open',
        modelPath,
        ...(held === undefined ? {} : { held: kind === 'worker' ? held : inherited(held) }),
        env: { ...(options.env ?? process.env) },
        ...(contextTokens === undefined ? {} : { contextTokens }),
        ...(cacheTokens === undefined ? {} : { cacheTokens }),
        ...(cacheDType === undefined ? {} : { cacheDType }),
        ...(maxSequences === undefined ? {} : { maxSequences }),
        ...(promptMs === undefined ? {} : { promptMs }),
        ...(threads === undefined ? {} : { threads }),
        ...(countExperts === undefined ? {} : { countExperts }),
        ...(drafting === undefined ? {} : { drafting }),
        ...(diskCache === undefined ? {} : { diskCache }),
        ...(leaseName === undefined ? {} : { leaseName }),
        ...(abortFlag === undefined ? {} : { abortFlag }),
      },
      { onLoad, onWarning },
    );
    return host;
  } catch (error) {
    await carrier.kill();
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

interface Opening {
  readonly onLoad: EngineHostOptions['onLoad'];
  readonly onWarning: EngineHostOptions['onWarning'];
  readonly resolve: (description: EngineDescription) => void;
  readonly reject: (error: unknown) => void;
}

type RequestEvents = Pick<EventQueue<AnyEvent>, 'push' | 'end'>;

class Host implements EngineHost {
  readonly #carrier: Carrier;
  readonly #abortFlag: Int32Array | undefined;
  readonly #requests = new Map<string, RequestEvents>();
  readonly #calls = new Map<number, { resolve(stats: EngineStats): void; reject(error: unknown): void }>();
  #description: EngineDescription | undefined;
  #opening: Opening | undefined;
  #lastCall = 0;
  /** Why nothing can be asked any more. */
  #end: { readonly error: unknown } | undefined;
  #closing: { readonly done: Promise<void>; readonly finish: () => void } | undefined;
  readonly ended: Promise<unknown>;
  #tellEnded!: (error: unknown) => void;

  constructor(carrier: Carrier, abortFlag: SharedArrayBuffer | undefined) {
    this.#carrier = carrier;
    this.#abortFlag = abortFlag && new Int32Array(abortFlag);
    this.ended = new Promise((resolve) => {
      this.#tellEnded = resolve;
    });
    carrier.onMessage((message) => this.#receive(message));
    carrier.onGone((why) => this.gone(died(why)));
  }

  get pid(): number | undefined {
    return this.#carrier.pid;
  }

  get description(): EngineDescription {
    return this.#description!;
  }

  get contextTokens(): number {
    return this.description.contextTokens;
  }

  open(message: ToEngine, shown: Pick<Opening, 'onLoad' | 'onWarning'>): Promise<EngineDescription> {
    return new Promise((resolve, reject) => {
      this.#opening = { ...shown, resolve, reject };
      if (this.#end) reject(this.#end.error);
      else this.#carrier.post(message);
    });
  }

  generate(request: GenerateRequest): AsyncIterable<EngineEvent> {
    return this.#ask<EngineEvent>({ type: 'generate', request });
  }

  score(request: ScoreRequest): AsyncIterable<ScoreEvent> {
    return this.#ask<ScoreEvent>({ type: 'score', request });
  }

  embed(request: EmbedRequest): AsyncIterable<EmbedEvent> {
    return this.#ask<EmbedEvent>({ type: 'embed', request });
  }

  abort(requestId: string): void {
    if (this.#end || !this.#requests.has(requestId)) return;
    this.#carrier.post({ type: 'abort', requestId });
    // The reference backend computes long steps in the engine's own thread, which reads no messages meanwhile; a step that
    // is stopped in vain is computed again.
    if (this.#abortFlag && this.description.backend.name === 'reference')
      Atomics.store(this.#abortFlag, 0, 1);
  }

  stats(): Promise<EngineStats> {
    return new Promise((resolve, reject) => {
      if (this.#end) return reject(this.#end.error);
      const call = ++this.#lastCall;
      this.#calls.set(call, { resolve, reject });
      this.#carrier.post({ type: 'stats', call });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closing) {
      let finish!: () => void;
      const done = new Promise<void>((resolve) => {
        finish = resolve;
      });
      this.#closing = { done, finish };
      if (this.#end) finish();
      else {
        for (const id of this.#requests.keys()) this.abort(id);
        this.#carrier.post({ type: 'close' });
        const timer = setTimeout(finish, CLOSE_MS);
        void done.then(() => clearTimeout(timer));
      }
    }
    await this.#closing.done;
    this.gone(new HadalError('engine-closed', { what: 'the engine is closed', next: 'open it again' }));
    await this.#carrier.kill();
  }

  /** Ends everything that waits. */
  gone(error: unknown): void {
    if (this.#end) return;
    this.#end = { error };
    this.#tellEnded(error);
    this.#opening?.reject(error);
    for (const events of this.#requests.values()) events.end(error);
    for (const call of this.#calls.values()) call.reject(error);
    this.#requests.clear();
    this.#calls.clear();
    this.#closing?.finish();
  }

  #ask<T extends AnyEvent>(
    message: Extract<ToEngine, { type: 'generate' | 'score' | 'embed' }>,
  ): AsyncIterable<T> {
    const { requestId } = message.request;
    const events = new EventQueue<T>(() => this.abort(requestId));
    if (this.#end) {
      events.end(this.#end.error);
      return events;
    }
    if (this.#requests.has(requestId)) {
      const what = 'requestId';
      const got = `"${requestId}", which is running`;
      events.end(
        new HadalError('request-invalid', {
          what,
          expected: 'an id of its own',
          got,
          next: 'choose another',
        }),
      );
      return events;
    }
    // Which kind of event belongs to a request is settled here, when it is asked.
    this.#requests.set(requestId, events as unknown as RequestEvents);
    this.#carrier.post(message);
    return events;
  }

  #receive(message: FromEngine): void {
    switch (message.type) {
      case 'loading':
        this.#opening?.onLoad?.(message.doneBytes, message.totalBytes);
        break;
      case 'warning':
        this.#opening?.onWarning?.(message.sentence);
        break;
      case 'ready':
        this.#description = message.description;
        this.#opening?.resolve(message.description);
        break;
      case 'refused':
        this.gone(unpackError(message.error));
        break;
      case 'several':
        for (const one of message.messages) this.#receive(one);
        break;
      case 'event': {
        this.#requests.get(message.requestId)?.push(message.event);
        break;
      }
      case 'done':
        this.#requests.get(message.requestId)?.end(message.error && unpackError(message.error));
        this.#requests.delete(message.requestId);
        break;
      case 'stats':
        this.#calls.get(message.call)?.resolve(message.stats);
        this.#calls.delete(message.call);
        break;
      case 'closed':
        this.#closing?.finish();
    }
  }
}

function died(why: string): HadalError {
  return new HadalError('engine-died', {
    what: `the engine ended: ${why}`,
    next: 'open the model again; if it happens again, report it with this sentence',
  });
}

function startWorker(mainFile: URL): Carrier {
  const worker = new Worker(mainFile);
  let failure: string | undefined;
  worker.on('error', (error) => {
    failure = error.message;
  });
  return {
    pid: undefined,
    post: (message) => worker.postMessage(message),
    kill: () => worker.terminate(),
    onMessage: (listener) => worker.on('message', listener),
    onGone: (listener) => worker.on('exit', (code) => listener(failure ?? `its thread stopped with ${code}`)),
  };
}

/** Open files come to a child process behind its own four streams, in order. */
const FIRST_INHERITED = 4;

function inherited({ files, ...held }: HeldFiles): HeldFiles {
  return { ...held, files: files.map(({ path }, index) => ({ path, fd: FIRST_INHERITED + index })) };
}

function startProcess(mainFile: URL, env: EngineHostOptions['env'], fds: readonly number[]): Carrier {
  const child = fork(fileURLToPath(mainFile), [], {
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'pipe', 'ipc', ...fds],
    env: { ...(env ?? process.env) },
    execArgv: [],
  });
  let words = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-LAST_WORDS);
  });
  const gone = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(lastWords(words, code, signal)));
  });
  return {
    pid: child.pid,
    post: (message) => child.connected && child.send(message),
    kill: () => {
      child.kill('SIGKILL');
      return gone;
    },
    onMessage: (listener) => child.on('message', (message) => listener(message as FromEngine)),
    onGone: (listener) => void gone.then(listener),
  };
}

function lastWords(words: string, code: number | null, signal: NodeJS.Signals | null): string {
  const how =
    signal === 'SIGKILL'
      ? 'its process was killed (SIGKILL), as happens when memory runs out'
      : signal
        ? `its process was stopped by ${signal}`
        : `its process stopped with ${code}`;
  const last = words.trim().split('\n').at(-1);
  return last ? `${how}, saying "${last}"` : how;
}
