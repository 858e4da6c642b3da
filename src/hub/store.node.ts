/**
 * Owns: where models live on disk, and whether a stored file is whole.
 * Refuses to know: the network, what is inside a model file.
 */
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { CatalogueModel } from './catalogue.ts';
import { sha256OfFile } from './digest.node.ts';
import { isPlainPath } from './hugging-face.node.ts';

/** The environment variables that say where things are. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The folder that holds all models: `$HADAL_HOME/models`, else `$XDG_DATA_HOME/hadal/models`, else
 * `~/.local/share/hadal/models`.
 *
 * @example modelsFolder({ HADAL_HOME: '/srv/hadal' }); // '/srv/hadal/models'
 */
export function modelsFolder(env: Environment): string {
  if (env.HADAL_HOME) return join(env.HADAL_HOME, 'models');
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'hadal', 'models');
}

/**
 * The folder that keeps computed prefixes of prompts: `$HADAL_HOME/pages`, else `$XDG_CACHE_HOME/hadal/pages`, else
 * `~/.cache/hadal/pages`.
 *
 * @example pageCacheFolder({ HADAL_HOME: '/srv/hadal' }); // '/srv/hadal/pages'
 */
export function pageCacheFolder(env: Environment): string {
  if (env.HADAL_HOME) return join(env.HADAL_HOME, 'pages');
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'hadal', 'pages');
}

/**
 * The path that a model of the catalogue has or will have. Made from catalogue fields only, never from typed text.
 *
 * @example storedPath(model, process.env);
 */
export function storedPath(model: CatalogueModel, env: Environment): string {
  return join(modelsFolder(env), model.name, model.file);
}

/**
 * Whether the file at `path` is the model, whole: size and SHA-256. A file that was checked before and has not changed
 * since is not read again.
 *
 * @param onProgress bytes read so far and in all, when the file has to be read
 * @example if (await isWhole(storedPath(model, env), model)) return path;
 */
export async function isWhole(
  path: string,
  model: CatalogueModel,
  onProgress?: (done: number, total: number) => void,
): Promise<boolean> {
  const facts = await stat(path).catch(() => undefined);
  if (!facts?.isFile() || facts.size !== model.bytes) return false;
  const note = await readFile(notePath(path), 'utf8').catch(() => '');
  if (note === noteText(model, facts.mtimeMs)) return true;
  if ((await sha256OfFile(path, onProgress)) !== model.sha256) return false;
  await writeNote(path, model);
  return true;
}

/**
 * Remembers that the file at `path` was found whole as it is now. Where the folder cannot be written, the file is
 * simply read again next time.
 */
export async function writeNote(path: string, model: CatalogueModel): Promise<void> {
  const facts = await stat(path);
  await writeFile(notePath(path), noteText(model, facts.mtimeMs)).catch(() => undefined);
}

/** The last segment of a path as a file name; `model.gguf` where it is not plain. Example: `fileName('/a/b.gguf')`. */
export function fileName(path: string): string {
  let name = 'model.gguf';
  try {
    name = decodeURIComponent(path.slice(path.lastIndexOf('/') + 1));
  } catch {
    // A broken escape is no name.
  }
  return isPlainPath(name) && !name.startsWith('.') && name.length <= 200 ? name : 'model.gguf';
}

/** Removes a stored file and its note. */
export async function removeStored(path: string): Promise<void> {
  await rm(notePath(path), { force: true });
  await rm(path, { force: true });
}

/** Where it is noted that a file was found whole. */
export function notePath(path: string): string {
  return `${path}.verified`;
}

function noteText(model: CatalogueModel, mtimeMs: number): string {
  return `sha256 ${model.sha256}\nbytes ${model.bytes}\nmodified ${mtimeMs}\n`;
}
