/**
 * Owns: the engine's end of the channel: opens the model, runs the engine, answers messages.
 * Refuses to know: who asks; text, prompts, HTTP; how constraints are made.
 */
import { createHash } from 'node:crypto';
import { fstat } from 'node:fs';
import { promisify } from 'node:util';
import { parentPort } from 'node:worker_threads';
import type { Backend } from '../backend/backend.ts';
import { chooseBackend } from '../backend/choose.node.ts';
import { closeModelFile, openModelFile } from '../formats/open.node.ts';
import type { ModelFile } from '../formats/tensor-info.ts';
import { loadModel } from '../model/load.ts';
import type { ArchiveMaker, DiskCache } from './archive.ts';
import { type AnyEvent, type FromEngine, type OpenMessage, packError, type ToEngine } from './channel.ts';
import type { ConstraintMaker } from './constraint.ts';
import { diskArchive } from './disk-archive.node.ts';
import { createEngine, type Engine } from './engine.ts';
import { machineLease } from './lease.node.ts';

const LOADING_EVERY_MS = 50;

/** What {@link serveEngine} cannot know by itself. */
export interface EngineParts {
  /** Makes the constraints of requests to a model. */
  readonly constraints: (path: string, file: ModelFile) => Promise<ConstraintMaker>;
}

interface Opened {
  readonly engine: Engine;
  close(): Promise<void>;
}

function send(message: FromEngine): void {
  if (parentPort) parentPort.postMessage(message);
  else process.send?.(message);
}

async function open(message: OpenMessage, parts: EngineParts): Promise<Opened> {
  const { env, threads, abortFlag } = message;
  const backend = chooseBackend({
    env,
    onWarning: (sentence: string) => send({ type: 'warning', sentence }),
    ...(threads === undefined ? {} : { threads }),
    ...(abortFlag === undefined ? {} : { abortFlag }),
  });
  const file = await openModelFile(message.modelPath, message.held);
  let reportedMs = 0;
  const model = await loadModel(file, backend, {
    onProgress(doneBytes, totalBytes) {
      const nowMs = performance.now();
      if (nowMs - reportedMs < LOADING_EVERY_MS && doneBytes < totalBytes) return;
      reportedMs = nowMs;
      send({ type: 'loading', doneBytes, totalBytes });
    },
  });
  const archive = message.diskCache && (await archiveOf(message.diskCache, file, backend));
  const { contextTokens, cacheTokens, cacheDType, maxSequences, promptMs, countExperts, drafting } = message;
  const lease = message.leaseName === undefined ? undefined : machineLease(message.leaseName);
  const engine = createEngine(backend, model, {
    ...(lease === undefined ? {} : { lease }),
    ...(archive === undefined ? {} : { archive }),
    constraints: await parts.constraints(message.modelPath, file),
    ...(contextTokens === undefined ? {} : { contextTokens }),
    ...(cacheTokens === undefined ? {} : { cacheTokens }),
    ...(cacheDType === undefined ? {} : { cacheDType }),
    ...(maxSequences === undefined ? {} : { maxSequences }),
    ...(promptMs === undefined ? {} : { promptMs }),
    ...(countExperts === undefined ? {} : { countExperts }),
    ...(drafting === undefined ? {} : { drafting }),
  });
  const { architecture, vocabSize, layers, weightBytes, multiplyAddsPerToken } = model;
  send({
    type: 'ready',
    description: {
      architecture,
      contextTokens: engine.contextTokens,
      vocabSize,
      layers,
      weightBytes,
      multiplyAddsPerToken,
      backend: backend.info,
    },
  });
  return {
    engine,
    async close() {
      await engine[Symbol.asyncDispose]();
      lease?.close();
      await backend[Symbol.asyncDispose]();
      await closeModelFile(file);
    },
  };
}

/** Pages of this very file, computed by this very program. */
async function archiveOf(
  { version, ...options }: DiskCache,
  file: ModelFile,
  { info }: Backend,
): Promise<ArchiveMaker> {
  const identity = [version, info.name, info.isa, await fileIdentity(file)].join('\n');
  const onWarning = (sentence: string) => send({ type: 'warning', sentence });
  return (layout, pageBytes) => diskArchive({ ...options, identity, onWarning }, layout, pageBytes);
}

/** Sizes and dates of all files, as they are open, and digests of what comes before their tensors. */
async function fileIdentity({ sources, tensors }: ModelFile): Promise<string> {
  const parts = sources.map(async (source, i) => {
    const own = [...tensors.values()].filter((tensor) => tensor.source === i);
    const headBytes = own.reduce((least, { offset }) => Math.min(least, offset), source.size);
    const head = await source.read(0, headBytes);
    const facts = source.fd === undefined ? undefined : await promisify(fstat)(source.fd);
    return `${source.size} ${facts?.mtimeMs} ${createHash('sha256').update(head).digest('hex')}`;
  });
  return (await Promise.all(parts)).join('\n');
}

/**
 * What is said of requests goes out together at the end of a turn, before the next step is computed: what a step gives to
 * all of them is one message.
 */
class Outbox {
  #messages: FromEngine[] = [];

  push(message: FromEngine): void {
    if (this.#messages.push(message) === 1) setImmediate(() => this.flush());
  }

  flush(): void {
    const messages = this.#messages;
    this.#messages = [];
    if (messages.length > 0) send(messages.length === 1 ? messages[0]! : { type: 'several', messages });
  }
}

async function forward(outbox: Outbox, requestId: string, events: AsyncIterable<AnyEvent>): Promise<void> {
  try {
    for await (const event of events) outbox.push({ type: 'event', requestId, event });
    outbox.push({ type: 'done', requestId });
  } catch (error) {
    outbox.push({ type: 'done', requestId, error: packError(error) });
  }
}

/**
 * Answers the messages that this worker thread or child process is sent. For the main file of either.
 *
 * @example serveEngine({ constraints: async (path, file) => constraintsOf(file) });
 */
export function serveEngine(parts: EngineParts): void {
  let opened: Opened | undefined;
  let closed = false;
  const outbox = new Outbox();
  const receive = async (message: ToEngine): Promise<void> => {
    switch (message.type) {
      case 'open':
        try {
          opened = await open(message, parts);
        } catch (error) {
          send({ type: 'refused', error: packError(error) });
        }
        return;
      case 'generate':
        if (opened) await forward(outbox, message.request.requestId, opened.engine.generate(message.request));
        return;
      case 'score':
        if (opened) await forward(outbox, message.request.requestId, opened.engine.score(message.request));
        return;
      case 'embed':
        if (opened) await forward(outbox, message.request.requestId, opened.engine.embed(message.request));
        return;
      case 'abort':
        opened?.engine.abort(message.requestId);
        return;
      case 'stats':
        if (opened) send({ type: 'stats', call: message.call, stats: opened.engine.stats() });
        return;
      case 'close':
        await opened?.close();
        closed = true;
        outbox.flush();
        send({ type: 'closed' });
        if (parentPort) parentPort.close();
        else process.disconnect();
    }
  };
  if (parentPort) parentPort.on('message', (message: ToEngine) => void receive(message));
  else {
    process.on('message', (message: ToEngine) => void receive(message));
    // A terminal and a service manager send these to every process; what becomes of running answers the asking one decides.
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => undefined);
    // Without the asking process there is nobody to answer. An exit would wait for the step that is computed.
    process.on('disconnect', () => (closed ? process.exit(0) : process.kill(process.pid, 'SIGKILL')));
  }
}
