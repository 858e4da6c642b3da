/**
 * Owns: the one place that turns a name or a path into something that answers: hub, file, tokenizer, chat format, engine.
 * Refuses to know: terminals, protocols, how an engine is hosted.
 */
import { performance } from 'node:perf_hooks';
import type { BackendInfo, CacheDType } from '../backend/backend.ts';
import { type ChatFormat, chatFormatFor } from '../chat/format.ts';
import type { DiskCache } from '../engine/archive.ts';
import { type EngineHost, startEngineHost } from '../engine/host.node.ts';
import type { Sampling } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import { closeModelFile, heldFiles, openModelFile, openWholeModel } from '../formats/open.node.ts';
import type { HeldFiles, MetaValue, ModelFile } from '../formats/tensor-info.ts';
import { modelOfMetadata, readCatalogue } from '../hub/catalogue.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import type { Announcement, FetchProgress } from '../hub/progress.ts';
import type { Environment } from '../hub/store.node.ts';
import { describeModel, type ModelDescription } from '../model/load.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type Answerer, createAnswerer } from './answerer.ts';
import { createEmbedder, type Embedder } from './embedder.ts';
import { engineMainFile } from './engine-file.node.ts';
import { chatTemplateOfFolder, samplingOfFolder } from './hf-settings.ts';
import { bytesNeeded, cacheThatFits, contextThatFits, type Memory, memoryHere } from './memory.ts';
import { poolingOf } from './pooling.ts';
import { tokenizerMaker } from './tokenizer-maker.node.ts';

/** Options of {@link openTokenizer}, and of {@link openModel} as far as the file goes. */
export interface FileOptions {
  /** `process.env` when absent. */
  readonly env?: Environment;
  readonly signal?: AbortSignal;
  /** Told before a model is fetched. */
  readonly onAnnounce?: (announcement: Announcement) => void;
  readonly onFetch?: (progress: FetchProgress) => void;
  /** Told when another process is fetching the same file, and is waited for. */
  readonly onWait?: (lock: string) => void;
  /** Refuses a model, by throwing, before anything of it is mapped; what it was shown is what is mapped then. */
  readonly admit?: (path: string, file: ModelFile) => Promise<void>;
}

/** Options of {@link openModel}. */
export interface OpenOptions extends FileOptions {
  /** The model's own limit when absent, as far as memory allows. */
  readonly contextTokens?: number;
  /** Bytes that it may take, by which the context is chosen where none is; what memory allows when absent. */
  readonly roomBytes?: number;
  /**
   * Tokens of cache for all answers together, one context at least. When absent as many as `maxSequences` of that length
   * take, as far as memory allows; one context where that is absent as well.
   */
  readonly cacheTokens?: number;
  readonly cacheDType?: CacheDType;
  /** Answers that are made at the same time. */
  readonly maxSequences?: number;
  /** How long prompts may hold the next tokens of others' answers up, in milliseconds; 250 when absent. */
  readonly promptMs?: number;
  readonly threads?: number;
  /** Counts how often experts are chosen, for `engine.stats`; off by default. */
  readonly countExperts?: boolean;
  /** Engines of this machine with the same name take turns computing; none when absent. */
  readonly leaseName?: string;
  /** Where pages of prompts outlive the engine; nowhere when absent. It holds content. */
  readonly diskCache?: DiskCache;
  /** Where the engine runs; a worker thread when absent. */
  readonly host?: 'worker' | 'process';
  /** Bytes of weights made ready so far, and in all. */
  readonly onLoad?: (doneBytes: number, totalBytes: number) => void;
  readonly onWarning?: (sentence: string) => void;
}

/** Bytes held by an opened model. */
export interface OpenedMemory {
  readonly weightBytes: number;
  readonly cacheBytes: number;
  readonly tensorBytes: number;
  /** Of this whole process. */
  readonly residentBytes: number;
}

/** A model that is loaded and answers. */
export interface OpenedModel extends AsyncDisposable {
  /** The file on disk. */
  readonly path: string;
  /** As of {@link MeasuredModel}, with the context that it has. */
  readonly bytes: number;
  readonly answerer: Answerer;
  readonly embedder: Embedder;
  readonly engine: EngineHost;
  readonly description: ModelDescription;
  readonly backend: BackendInfo;
  /** From opening the file to being ready, the fetching of a model apart. */
  readonly loadMs: number;
  /** The system message of the model's own chat format. */
  readonly defaultSystem?: string;
  memory(): Promise<OpenedMemory>;
  /** Stops what runs and frees everything; a second call waits for the first. */
  close(): Promise<void>;
}

/** Where neither the person, the catalogue nor the folder says how tokens are chosen. */
const DEFAULT_SAMPLING: Sampling = { temperature: 0.7, topP: 0.95 };
const DEFAULT_CACHE: CacheDType = 'F16';

/**
 * Opens a model by path or by a name of the catalogue, which is fetched where it is missing.
 *
 * A path may be a file or a Hugging Face folder.
 *
 * @throws HadalError as `resolveModel`, `openModelFile`, `describeModel`, `tokenizerFromGguf` and `tokenizerFromJson` do;
 *   `tokenizer-missing`, `folder-json`; `model-too-large`, `context-impossible`, `context-too-large` before anything is loaded; what the engine's host reports.
 * @example
 * await using model = await openModel('smollm2-135m');
 * for await (const delta of model.answerer.chat([{ role: 'user', content: 'Hi' }])) show(delta);
 */
export async function openModel(name: string, options: OpenOptions = {}): Promise<OpenedModel> {
  const { env = process.env, signal, threads, host = 'worker', cacheDType = DEFAULT_CACHE } = options;
  const path = await resolved(name, options);
  const startedMs = performance.now();
  const { header, held, release } = await opened(path, options.admit);
  const { description, tokenizer, metadata } = header;
  let sizes: CacheSizes;
  try {
    sizes = sizesOf(path, description, options);
  } catch (error) {
    await release();
    throw error;
  }
  const { contextTokens, cacheTokens } = sizes;
  const start = async () => {
    signal?.throwIfAborted();
    return startEngineHost({
      mainFile: engineMainFile(),
      modelPath: path,
      kind: host,
      contextTokens,
      cacheTokens,
      cacheDType,
      env,
      ...(options.maxSequences === undefined ? {} : { maxSequences: options.maxSequences }),
      ...(options.promptMs === undefined ? {} : { promptMs: options.promptMs }),
      ...(options.leaseName === undefined ? {} : { leaseName: options.leaseName }),
      ...(options.diskCache === undefined ? {} : { diskCache: options.diskCache }),
      ...(threads === undefined ? {} : { threads }),
      ...(options.countExperts === undefined ? {} : { countExperts: options.countExperts }),
      ...(signal === undefined ? {} : { signal }),
      ...(options.onLoad === undefined ? {} : { onLoad: options.onLoad }),
      ...(options.onWarning === undefined ? {} : { onWarning: options.onWarning }),
      ...(held === undefined ? {} : { held }),
    });
  };
  const engine = await start().catch(async (error: unknown) => {
    await release();
    throw error;
  });
  const loadMs = performance.now() - startedMs;
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= Promise.resolve(engine[Symbol.asyncDispose]()).finally(release);
    return closing;
  };
  const chatFormat = await chatFormatOf(metadata, tokenizer);
  const defaultSystem = defaultSystemOf(chatFormat);
  return {
    path,
    bytes: bytesNeeded(description, cacheTokens, cacheDType),
    answerer: createAnswerer({
      engine,
      tokenizer,
      contextTokens,
      sampling: samplingOf(metadata),
      chatFormat,
    }),
    embedder: createEmbedder({
      engine,
      tokenizer,
      dimensions: description.config.hidden,
      pooling: () => poolingOf(metadata, description.architecture),
    }),
    engine,
    description,
    backend: engine.description.backend,
    loadMs,
    ...(defaultSystem === undefined ? {} : { defaultSystem }),
    async memory() {
      const { weightBytes, cacheBytes, tensorBytes } = await engine.stats();
      return { weightBytes, cacheBytes, tensorBytes, residentBytes: process.memoryUsage.rss() };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** What is known of a model that may be loaded, and its files where they stay open for the engine. */
interface Opened {
  readonly header: ModelHeader;
  readonly held: HeldFiles | undefined;
  release(): Promise<void>;
}

/** Opens a model's files once where somebody has to admit them: what was looked at is then what is mapped. */
async function opened(path: string, admit: OpenOptions['admit']): Promise<Opened> {
  if (admit === undefined) {
    const header = await withFile(path, (file) => readHeader(path, file));
    return { header, held: undefined, release: async () => {} };
  }
  const file = await openWholeModel(path);
  try {
    await admit(path, file);
    const held = heldFiles(path, file);
    return { header: await readHeader(path, file), held, release: () => closeModelFile(file) };
  } catch (error) {
    await closeModelFile(file);
    throw error;
  }
}

/** What a model will need, before it is loaded. */
export interface MeasuredModel {
  readonly path: string;
  /** Weights and cache together, and what goes with them. */
  readonly bytes: number;
  readonly contextTokens: number;
}

/**
 * How much memory a model will take when it is opened with these options. Reads the file's header only.
 *
 * @throws HadalError as {@link openModel} does before anything is loaded.
 * @example (await measureModel('smollm2-135m')).bytes;
 */
export async function measureModel(name: string, options: OpenOptions = {}): Promise<MeasuredModel> {
  const path = await resolved(name, options);
  const description = await withFile(path, describeModel);
  const { contextTokens, cacheTokens } = sizesOf(path, description, options);
  const bytes = bytesNeeded(description, cacheTokens, options.cacheDType ?? DEFAULT_CACHE);
  return { path, bytes, contextTokens };
}

/** Tokens of one answer, and of the cache of all. */
interface CacheSizes {
  readonly contextTokens: number;
  readonly cacheTokens: number;
}

function sizesOf(path: string, description: ModelDescription, options: OpenOptions): CacheSizes {
  const { cacheDType = DEFAULT_CACHE, maxSequences = 1, roomBytes = Number.POSITIVE_INFINITY } = options;
  const { presentBytes, availableBytes } = memoryHere();
  const memory: Memory = { presentBytes, availableBytes: Math.min(availableBytes, roomBytes) };
  const wantedTokens = options.contextTokens;
  const contextTokens = contextThatFits({ name: path, description, wantedTokens, cacheDType, memory });
  const fitting = () => cacheThatFits({ description, cacheDType, memory }, contextTokens, maxSequences);
  return { contextTokens, cacheTokens: Math.max(contextTokens, options.cacheTokens ?? fitting()) };
}

/**
 * The tokenizer of a model, by path or by a name of the catalogue. Reads the file's header only.
 *
 * @throws HadalError as `resolveModel`, `openModelFile`, `tokenizerFromGguf` and `tokenizerFromJson` do.
 * @example (await openTokenizer('model.gguf')).encode('Hello');
 */
export async function openTokenizer(name: string, options: FileOptions = {}): Promise<Tokenizer> {
  const path = await resolved(name, options);
  return withFile(path, async (file) => (await tokenizerMaker(path, file))(), options.admit);
}

async function resolved(
  name: string,
  { env, signal, onAnnounce, onFetch, onWait }: FileOptions,
): Promise<string> {
  return resolveModel(name, {
    ...(env === undefined ? {} : { env }),
    ...(signal === undefined ? {} : { signal }),
    ...(onAnnounce === undefined ? {} : { onAnnounce }),
    ...(onFetch === undefined ? {} : { onProgress: onFetch }),
    ...(onWait === undefined ? {} : { onWait }),
  });
}

/** What a file says before anything of it is loaded. */
export interface ModelHeader {
  readonly description: ModelDescription;
  readonly tokenizer: Tokenizer;
  /** With the chat template under the key that GGUF files have it under. */
  readonly metadata: ReadonlyMap<string, MetaValue>;
}

/**
 * Reads the header of an opened file.
 *
 * @throws HadalError as `describeModel`, `tokenizerFromGguf` and `tokenizerFromJson` do; `tokenizer-missing`.
 * @example (await readHeader('model.gguf', file)).description.architecture;
 */
export async function readHeader(path: string, file: ModelFile): Promise<ModelHeader> {
  return {
    description: describeModel(file),
    tokenizer: (await tokenizerMaker(path, file))(),
    metadata: file.format === 'gguf' ? file.metadata : withChatTemplate(file.metadata),
  };
}

async function withFile<T>(
  path: string,
  read: (file: ModelFile) => T | Promise<T>,
  admit?: FileOptions['admit'],
): Promise<T> {
  const file = await (admit === undefined ? openModelFile(path) : openWholeModel(path));
  try {
    await admit?.(path, file);
    return await read(file);
  } finally {
    await closeModelFile(file);
  }
}

/** A folder's metadata with its chat template under the key that GGUF files have it under. */
function withChatTemplate(metadata: ReadonlyMap<string, MetaValue>): ReadonlyMap<string, MetaValue> {
  const template = chatTemplateOfFolder(metadata);
  return template === undefined ? metadata : new Map([...metadata, ['tokenizer.chat_template', template]]);
}

function samplingOf(metadata: ReadonlyMap<string, MetaValue>): Sampling {
  const known = modelOfMetadata(readCatalogue(), metadata)?.sampling ?? DEFAULT_SAMPLING;
  return { ...known, ...samplingOfFolder(metadata) };
}

/** The format of a known family; else the file's own template, by an interpreter that is loaded only then. */
export async function chatFormatOf(
  metadata: ReadonlyMap<string, MetaValue>,
  tokenizer: Tokenizer,
): Promise<() => ChatFormat> {
  try {
    const format = chatFormatFor(metadata, tokenizer);
    return () => format;
  } catch (error) {
    if (!(error instanceof HadalError)) throw error;
    const template = metadata.get('tokenizer.chat_template');
    if (error.code !== 'chat-template-unknown' || typeof template !== 'string') {
      return () => {
        throw error;
      };
    }
    const { jinjaFormat } = await import('../chat/renderers/jinja.node.ts');
    return once(() => jinjaFormat(template, tokenizer));
  }
}

/** A model without a known chat format still completes text, so this is no failure here. */
function defaultSystemOf(chatFormat: () => ChatFormat): string | undefined {
  try {
    return chatFormat().defaultSystem;
  } catch (error) {
    if (error instanceof HadalError) return undefined;
    throw error;
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
