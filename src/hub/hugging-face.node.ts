/**
 * Owns: the addresses of a Hugging Face hub, its token, and what it says of a repository.
 * Refuses to know: how bytes are fetched, where they go.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import type { Expectation } from './digest.node.ts';
import { openUrl, readBody } from './http-get.node.ts';
import type { Environment } from './store.node.ts';

/** A file of a repository. */
export interface RepoFile {
  /** Path inside the repository; every segment a plain name. */
  readonly path: string;
  readonly expected: Expectation;
}

/** A repository at one commit. */
export interface RepoListing {
  readonly repo: string;
  /** 40 hexadecimal digits. */
  readonly commit: string;
  readonly license?: string;
  readonly files: readonly RepoFile[];
}

/** `owner/name`. */
export const REPO_NAME = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;
/** A branch, a tag or a commit. */
export const REVISION = /^[A-Za-z0-9][\w./-]{0,99}$/;
/** A listing is a few megabytes at most. */
const LONGEST_LISTING = 64 << 20;

/**
 * The hub to ask: `HF_ENDPOINT`, else huggingface.co.
 *
 * @throws HadalError `hub-endpoint` when it is no HTTP address.
 */
export function hubEndpoint(env: Environment): URL {
  const text = env.HF_ENDPOINT || 'https://huggingface.co';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') {
    throw new HadalError('hub-endpoint', {
      what: 'HF_ENDPOINT',
      expected: 'an address like https://huggingface.co',
      got: JSON.stringify(text),
      next: 'correct or unset it',
    });
  }
  return url;
}

/**
 * The token for a hub, as its own tools find it: `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `token` in `HF_HOME`.
 *
 * @example hubToken({ HF_TOKEN: 'hf_…' });
 */
export function hubToken(env: Environment): string | undefined {
  if (env.HF_TOKEN) return env.HF_TOKEN;
  try {
    return readFileSync(env.HF_TOKEN_PATH || join(hubHome(env), 'token'), 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}

/** `HF_HOME`, else `huggingface` in the user's cache. Example: `hubHome({ HF_HOME: '/srv/hf' })`. */
export function hubHome(env: Environment): string {
  return env.HF_HOME || join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'huggingface');
}

/**
 * The address of a file of a repository.
 *
 * @example fileUrl(hubEndpoint(env), 'deepseek-ai/DeepSeek-V3', commit, 'config.json');
 */
export function fileUrl(endpoint: URL, repo: string, revision: string, path: string): URL {
  const segments = path.split('/').map(encodeURIComponent).join('/');
  return new URL(`${base(endpoint)}/${repo}/resolve/${encodeURIComponent(revision)}/${segments}`, endpoint);
}

const listingSchema = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  cardData: z.object({ license: z.string().optional() }).nullish(),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.int().min(0).optional(),
      blobId: z
        .string()
        .regex(/^[0-9a-f]{40}$/)
        .optional(),
      lfs: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) }).nullish(),
    }),
  ),
});

/** Options of {@link listRepo}. */
export interface ListOptions {
  readonly env: Environment;
  readonly signal: AbortSignal;
  readonly answerMs?: number;
}

/**
 * What a repository holds, with the size and digest of every file.
 *
 * @throws HadalError `repo-missing`, `repo-locked`, `hub-unreachable`, `hub-refused`, `hub-broken`
 * @example (await listRepo('deepseek-ai/DeepSeek-V3', 'main', { env, signal })).commit;
 */
export async function listRepo(repo: string, revision: string, options: ListOptions): Promise<RepoListing> {
  const endpoint = hubEndpoint(options.env);
  const token = hubToken(options.env);
  const url = new URL(
    `${base(endpoint)}/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`,
    endpoint,
  );
  const answer = await openUrl(url, {
    signal: options.signal,
    token,
    ...(options.answerMs === undefined ? {} : { answerMs: options.answerMs }),
  }).catch((error: unknown) => {
    throw refusedListing(error, repo, revision, endpoint, token) ?? error;
  });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  await readBody(answer, { signal: options.signal, stallMs: 30_000 }, async (pieces) => {
    bytes += pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (bytes > LONGEST_LISTING) throw contradiction(endpoint, 'a listing of at most 64 MB', 'more');
    chunks.push(...pieces);
  });
  return parseListing(Buffer.concat(chunks).toString('utf8'), repo, endpoint);
}

function parseListing(text: string, repo: string, endpoint: URL): RepoListing {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw contradiction(endpoint, 'a listing in JSON', JSON.stringify(text.slice(0, 40)));
  }
  const result = listingSchema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw contradiction(endpoint, 'a listing of files', `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { sha, siblings, cardData } = result.data;
  const files = siblings.flatMap(({ rfilename, size, blobId, lfs }): RepoFile[] => {
    if (!isPlainPath(rfilename)) {
      throw contradiction(endpoint, 'files with plain names', JSON.stringify(rfilename));
    }
    if (lfs) return [{ path: rfilename, expected: { bytes: lfs.size, sha256: lfs.sha256 } }];
    if (blobId === undefined || size === undefined) return [];
    return [{ path: rfilename, expected: { bytes: size, gitBlob: blobId } }];
  });
  return {
    repo,
    commit: sha,
    ...(cardData?.license === undefined ? {} : { license: cardData.license }),
    files,
  };
}

/** Every segment is a name: nothing leads out of the folder that it is put in, on any system. */
export function isPlainPath(path: string): boolean {
  return (
    path.length <= 1024 &&
    path.split('/').every((name) => /^[^/\\:*?"<>|\p{Cc}]+$/u.test(name) && !/^\.{1,2}$|[. ]$/.test(name))
  );
}

function refusedListing(
  error: unknown,
  repo: string,
  revision: string,
  { host }: URL,
  token: string | undefined,
): HadalError | undefined {
  if (!(error instanceof HadalError) || error.code !== 'hub-refused') return undefined;
  if (/status 404/.test(error.message)) {
    return new HadalError('repo-missing', {
      what: `${repo}${revision === 'main' ? '' : `@${revision}`}`,
      expected: `a repository at ${host}`,
      got: 'none of that name',
      next: 'check the name; a private one needs a token in HF_TOKEN',
    });
  }
  if (/status 40[13]/.test(error.message)) {
    return new HadalError('repo-locked', {
      what: repo,
      expected: `${host} to give it`,
      got: token ? 'a refusal of the token' : 'a refusal without a token',
      next: `accept its terms at ${host}/${repo}, and put a token that may read it in HF_TOKEN`,
    });
  }
  return undefined;
}

function contradiction({ host }: URL, expected: string, got: string): HadalError {
  return new HadalError('hub-refused', { what: host, expected, got, next: 'check HF_ENDPOINT' });
}

function base(endpoint: URL): string {
  return endpoint.pathname.replace(/\/$/, '');
}
