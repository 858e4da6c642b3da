/**
 * Owns: which models are on disk, by the names that commands take, and removing one.
 * Refuses to know: the network, what is inside a model file.
 */
import { lstat, readdir, readlink, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { HadalError } from '../error.ts';
import { readCatalogue } from './catalogue.ts';
import { type CachedSnapshot, cachedSnapshots, cacheFolder } from './hf-cache.node.ts';
import { nearest } from './nearest.ts';
import { modelGroups } from './reference.ts';
import { type Environment, modelsFolder, notePath, storedPath } from './store.node.ts';

/** A model on disk. */
export interface StoredModel {
  /** What `run`, `serve`, `show` and `rm` take. */
  readonly name: string;
  /** The file or folder to open. */
  readonly path: string;
  readonly bytes: number;
  /** Every file of it. */
  readonly files: readonly string[];
  /** `catalogue`, `hub`, or what else was fetched. */
  readonly kind: 'catalogue' | 'hub' | 'file';
  readonly commit?: string;
}

/**
 * Every model on disk, by name.
 *
 * @example (await storedModels(process.env)).map(({ name }) => name);
 */
export async function storedModels(env: Environment): Promise<StoredModel[]> {
  const models = [
    ...(await catalogueModels(env)),
    ...(await otherModels(env)),
    ...(await folderModels(env)),
    ...(await cachedSnapshots(env)).flatMap(hubModels),
  ];
  return models.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * A model on disk by its name, or by its path.
 *
 * @throws HadalError `model-missing` with the names that there are.
 * @example (await storedModel('smollm2-135m', process.env)).path;
 */
export async function storedModel(name: string, env: Environment): Promise<StoredModel> {
  const models = await storedModels(env);
  const wanted = name.toLowerCase();
  const found = models.filter((model) => model.name.toLowerCase() === wanted || model.path === name);
  const [only] =
    found.length > 0 ? found : models.filter((model) => model.name.toLowerCase().startsWith(`${wanted}:`));
  if (only !== undefined) return only;
  const names = models.map((model) => model.name);
  const guess = nearest(name, names);
  throw new HadalError('model-missing', {
    what: name,
    expected: 'a model on disk',
    got: 'none of that name',
    next:
      guess !== undefined
        ? `did you mean ${guess}?`
        : names.length > 0
          ? `there are ${names.join(', ')}`
          : 'fetch one with: hadal pull smollm2-135m',
  });
}

/**
 * Removes a model: its files, and of a hub's cache the blobs that no other snapshot links to.
 *
 * @returns bytes that became free
 * @example await removeModel(await storedModel('smollm2-135m', env), env);
 */
export async function removeModel(model: StoredModel, env: Environment): Promise<number> {
  let freed = 0;
  const blobs = new Set<string>();
  for (const path of model.files) {
    const facts = await lstat(path).catch(() => undefined);
    if (facts === undefined) continue;
    if (facts.isSymbolicLink()) {
      const blob = await realpath(path).catch(() => undefined);
      // A link out of the cache is somebody else's.
      if (blob?.startsWith(`${await realpath(cacheFolder(env))}${sep}`)) blobs.add(blob);
    } else freed += facts.size;
    await rm(path);
    await rm(notePath(path), { force: true });
    await removeEmpty(dirname(path), model.kind === 'hub' ? cacheFolder(env) : modelsFolder(env));
  }
  const linked = await linkedBlobs(env);
  for (const blob of blobs) {
    if (linked.has(blob)) continue;
    freed += (await stat(blob)).size;
    await rm(blob);
    await removeEmpty(dirname(blob), cacheFolder(env));
  }
  return freed;
}

async function catalogueModels(env: Environment): Promise<StoredModel[]> {
  const models: StoredModel[] = [];
  for (const model of readCatalogue()) {
    const path = storedPath(model, env);
    const facts = await stat(path).catch(() => undefined);
    if (facts?.isFile())
      models.push({ name: model.name, path, bytes: facts.size, files: [path], kind: 'catalogue' });
  }
  return models;
}

/** Files that are at work on others. */
const UNFINISHED = /\.(incomplete|ranges|lock|part|verified)$/;

/** What folders brought: it is named by its path too, a folder of safetensors as one. */
async function folderModels(env: Environment): Promise<StoredModel[]> {
  const root = join(modelsFolder(env), 'folders');
  const models: StoredModel[] = [];
  for (const name of await readdir(root).catch(() => [])) {
    const path = join(root, name);
    const files: { path: string; bytes: number }[] = [];
    for (const entry of await readdir(path, { recursive: true, withFileTypes: true }).catch(() => [])) {
      const full = join(entry.parentPath, entry.name);
      if (!entry.isFile() || UNFINISHED.test(entry.name)) continue;
      files.push({ path: relative(path, full).split(sep).join('/'), bytes: (await stat(full)).size });
    }
    const found = modelsIn({ name: path, path, files });
    models.push(...found.map((model): StoredModel => ({ ...model, name: model.path, kind: 'file' })));
  }
  return models;
}

/** What addresses and packages brought: it is named by its path, which is the name that `run` takes. */
async function otherModels(env: Environment): Promise<StoredModel[]> {
  const models: StoredModel[] = [];
  for (const folder of ['urls', 'packages']) {
    const root = join(modelsFolder(env), folder);
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])) {
      const path = join(entry.parentPath, entry.name);
      const inWork = relative(root, path)
        .split(sep)
        .some((name) => name.startsWith('.'));
      if (!entry.isFile() || inWork || UNFINISHED.test(entry.name)) continue;
      models.push({ name: path, path, bytes: (await stat(path)).size, files: [path], kind: 'file' });
    }
  }
  return models;
}

function hubModels({ repo, commit, path, files }: CachedSnapshot): StoredModel[] {
  const found = modelsIn({
    name: repo,
    path,
    files: files.map((file) => ({ path: file.path.split(sep).join('/'), bytes: file.bytes })),
  });
  return found.map((model): StoredModel => ({ ...model, kind: 'hub', commit }));
}

/** The models in one folder: GGUF files with their shards, and the rest as one where it has safetensors. */
function modelsIn({ name, path, files }: Folder): Omit<StoredModel, 'kind'>[] {
  const bytesOf = (of: readonly { readonly bytes: number }[]) =>
    of.reduce((sum, { bytes }) => sum + bytes, 0);
  const models = modelGroups(files).map((group) => {
    return {
      name: `${name}:${group.quantization}`,
      path: join(path, group.main),
      bytes: bytesOf(group.files),
      files: group.files.map((file) => join(path, file.path)),
    };
  });
  if (!files.some((file) => file.path.endsWith('.safetensors'))) return models;
  const others = files.filter((file) => !file.path.endsWith('.gguf'));
  const whole = { name, path, bytes: bytesOf(others), files: others.map((file) => join(path, file.path)) };
  return [...models, whole];
}

interface Folder {
  readonly name: string;
  readonly path: string;
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
}

async function linkedBlobs(env: Environment): Promise<Set<string>> {
  const linked = new Set<string>();
  for (const { path, files } of await cachedSnapshots(env)) {
    for (const file of files) {
      const link = join(path, file.path);
      if (await readlink(link).catch(() => undefined)) linked.add(await realpath(link));
    }
  }
  return linked;
}

/** Folders that hold nothing any more, up to `root`. */
async function removeEmpty(folder: string, root: string): Promise<void> {
  let at = folder;
  while (at.startsWith(`${root}${sep}`) && basename(at) !== '') {
    const left = await rmdir(at).then(
      () => false,
      () => true,
    );
    if (left) return;
    at = dirname(at);
  }
}
