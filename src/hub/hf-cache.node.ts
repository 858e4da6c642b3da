/**
 * Owns: the layout of the Hugging Face cache on disk, which other tools share: blobs by digest, snapshots that link to
 * them, refs.
 * Refuses to know: the network, which files a model needs.
 *
 * Source: huggingface_hub's guide "Understand caching".
 */
import { randomUUID } from 'node:crypto';
import { copyFile, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { Expectation } from './digest.node.ts';
import { makeFolder } from './disk.node.ts';
import { hubHome, isPlainPath, REPO_NAME } from './hugging-face.node.ts';
import type { Environment } from './store.node.ts';

/** The folder of all repositories: `HF_HUB_CACHE`, else `hub` in `HF_HOME`. */
export function cacheFolder(env: Environment): string {
  return env.HF_HUB_CACHE || join(hubHome(env), 'hub');
}

/** The folder of a repository. Example: `repoFolder(env, 'deepseek-ai/DeepSeek-V3')` ends with `models--deepseek-ai--DeepSeek-V3`. */
export function repoFolder(env: Environment, repo: string): string {
  return join(cacheFolder(env), `models--${repo.replace('/', '--')}`);
}

/** Where a file of a commit is. */
export function snapshotPath(env: Environment, repo: string, commit: string, path = ''): string {
  return join(repoFolder(env, repo), 'snapshots', commit, ...path.split('/'));
}

/** Where the bytes of a file are: the name is its digest. */
export function blobPath(env: Environment, repo: string, expected: Expectation): string {
  return join(repoFolder(env, repo), 'blobs', 'sha256' in expected ? expected.sha256 : expected.gitBlob);
}

/**
 * Whether a blob is there with its full length. It got its name only after its digest was checked.
 *
 * @example if (await hasBlob(env, repo, file.expected)) return;
 */
export async function hasBlob(env: Environment, repo: string, expected: Expectation): Promise<boolean> {
  const facts = await stat(blobPath(env, repo, expected)).catch(() => undefined);
  return facts?.isFile() === true && facts.size === expected.bytes;
}

/**
 * Puts a blob into a snapshot under its name; where links cannot be made, as a copy.
 *
 * @example await linkBlob(env, repo, commit, file.path, file.expected);
 */
export async function linkBlob(
  env: Environment,
  repo: string,
  commit: string,
  path: string,
  expected: Expectation,
): Promise<void> {
  const link = snapshotPath(env, repo, commit, path);
  const blob = blobPath(env, repo, expected);
  await makeFolder(dirname(link));
  // Under a name of its own first: others may put the same link there, and no reader ever finds it missing.
  const own = `${link}.${randomUUID()}`;
  try {
    await symlink(relative(dirname(link), blob), own);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    await copyFile(blob, own);
  }
  await rename(own, link);
}

/** Notes which commit a branch or tag was. */
export async function writeRef(
  env: Environment,
  repo: string,
  revision: string,
  commit: string,
): Promise<void> {
  const path = join(repoFolder(env, repo), 'refs', ...revision.split('/'));
  await makeFolder(dirname(path));
  await writeFile(path, commit);
}

/** The commit that a branch or tag was when it was last fetched; a commit is itself. */
export async function readRef(env: Environment, repo: string, revision: string): Promise<string | undefined> {
  if (/^[0-9a-f]{40}$/.test(revision)) return revision;
  if (!isPlainPath(revision)) return undefined;
  const path = join(repoFolder(env, repo), 'refs', ...revision.split('/'));
  const text = (await readFile(path, 'utf8').catch(() => '')).trim();
  return /^[0-9a-f]{40}$/.test(text) ? text : undefined;
}

/** A snapshot on disk. */
export interface CachedSnapshot {
  readonly repo: string;
  readonly commit: string;
  /** The folder. */
  readonly path: string;
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
}

/**
 * Every snapshot in the cache; links that lead nowhere are left out.
 *
 * @example (await cachedSnapshots(process.env)).map(({ repo }) => repo);
 */
export async function cachedSnapshots(env: Environment): Promise<CachedSnapshot[]> {
  const snapshots: CachedSnapshot[] = [];
  for (const name of await names(cacheFolder(env))) {
    const repo = name.startsWith('models--') ? name.slice('models--'.length).replace('--', '/') : '';
    if (!REPO_NAME.test(repo)) continue;
    const folder = join(cacheFolder(env), name, 'snapshots');
    for (const commit of await names(folder)) {
      if (!/^[0-9a-f]{40}$/.test(commit)) continue;
      const path = join(folder, commit);
      snapshots.push({ repo, commit, path, files: await filesIn(path) });
    }
  }
  return snapshots;
}

async function filesIn(folder: string): Promise<{ path: string; bytes: number }[]> {
  const files: { path: string; bytes: number }[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])) {
    const path = join(entry.parentPath, entry.name);
    const facts = await stat(path).catch(() => undefined);
    if (facts?.isFile()) files.push({ path: relative(folder, path), bytes: facts.size });
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function names(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).sort();
}
