/**
 * Owns: what somebody typed to say where a model comes from, and which files of a repository they mean.
 * Refuses to know: the network, the disk.
 */
import { HadalError } from '../error.ts';
import { REPO_NAME, REVISION, type RepoFile, type RepoListing } from './hugging-face.node.ts';
import { nearest } from './nearest.ts';

/** Where a model comes from. */
export type Reference =
  | {
      readonly kind: 'repo';
      readonly repo: string;
      readonly revision: string;
      /** A file, a quantization, or nothing. */
      readonly wanted?: string;
    }
  | { readonly kind: 'url'; readonly url: URL; readonly sha256?: string }
  | { readonly kind: 'pypi'; readonly name: string; readonly version?: string }
  | { readonly kind: 'npm'; readonly name: string; readonly version?: string }
  /** A file or folder of this machine; never the form of a text, so that no name becomes a path. */
  | { readonly kind: 'folder'; readonly path: string };

/**
 * What a text refers to; undefined when it is of no such form, and so may be a path or a name.
 *
 * `user/repo[@revision][:file or quantization]`, `hf:…` and `hf.co/…` for the same, `https://…[#sha256=…]`, `pypi:name[==version]`,
 * `npm:name[@version]`.
 *
 * @example parseReference('unsloth/DeepSeek-R1-GGUF:Q4_K_M');
 */
export function parseReference(text: string): Reference | undefined {
  if (/^https?:\/\//i.test(text)) return parseUrl(text);
  const pypi = /^pypi:([A-Za-z0-9][\w.-]*)(?:==([0-9][\w.!+-]*))?$/.exec(text);
  if (pypi?.[1]) return { kind: 'pypi', name: pypi[1], ...(pypi[2] ? { version: pypi[2] } : {}) };
  const npm = /^npm:((?:@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*)(?:@([0-9][\w.+-]*))?$/.exec(text);
  if (npm?.[1]) return { kind: 'npm', name: npm[1], ...(npm[2] ? { version: npm[2] } : {}) };
  const named = /^(?:hf:|hf\.co\/|huggingface\.co\/)?([^:@]+)(?:@([^:]+))?(?::(.+))?$/.exec(text);
  const [, repo = '', revision = 'main', wanted] = named ?? [];
  if (!REPO_NAME.test(repo) || repo.includes('..') || repo.includes('--')) return undefined;
  if (!REVISION.test(revision) || revision.includes('..')) return undefined;
  return { kind: 'repo', repo, revision, ...(wanted ? { wanted } : {}) };
}

function parseUrl(text: string): Reference | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const digest = /^#sha256=([0-9a-f]{64})$/i.exec(url.hash)?.[1]?.toLowerCase();
  url.hash = '';
  // The page of a file or of a repository on a hub names what it shows.
  const page = /^\/([^/]+\/[^/]+)(?:\/(?:resolve|blob)\/([^/]+)\/(.+)|\/tree\/([^/]+))?\/?$/.exec(
    url.pathname,
  );
  const [, repo = '', of, path, tree] = page ?? [];
  const revision = of ?? tree;
  if (digest === undefined && HUB_HOSTS.includes(url.host) && REPO_NAME.test(repo)) {
    const parts = [repo, revision && `@${revision}`, path && `:${path}`].filter(Boolean).map(decoded);
    return parts.includes(undefined) ? undefined : parseReference(parts.join(''));
  }
  return { kind: 'url', url, ...(digest === undefined ? {} : { sha256: digest }) };
}

const HUB_HOSTS = ['huggingface.co', 'hf.co'];

/** Undefined where a percent sign begins nothing. */
function decoded(text: string | undefined): string | undefined {
  try {
    return decodeURIComponent(text ?? '');
  } catch {
    return undefined;
  }
}

/** The files of a model in a repository. */
export interface Selection {
  /** The file to open, or undefined when it is the whole folder. */
  readonly main?: string;
  readonly files: readonly RepoFile[];
}

/** A model in GGUF: one file, or the shards of one. */
export interface GgufGroup<File extends { readonly path: string }> {
  readonly files: readonly File[];
  readonly main: string;
  /** As the name of the file says it. */
  readonly quantization: string;
}

/** What a folder needs to be run: weights, configuration, vocabulary, template; no code. */
const FOLDER_FILE = /^[^/]+\.(safetensors|json|model|txt|jinja)$/;
const USUAL = 'Q4_K_M';

/**
 * Which files a wish means: a file by its name (with its shards), a quantization, or the usual ones.
 *
 * @throws HadalError `file-missing`, `quantization-needed` with the names that there are.
 * @example selectFiles(listing, 'Q4_K_M').main
 */
export function selectFiles({ repo, files }: RepoListing, wanted?: string): Selection {
  const groups = modelGroups(files);
  if (wanted === undefined) {
    const usual = groups.filter(({ quantization }) => quantization === USUAL);
    const [only] = groups.length === 1 ? groups : usual;
    if (only !== undefined) return { main: only.main, files: only.files };
    if (groups.length > 0) throw choose(repo, groups, undefined);
    const folder = files.filter(({ path }) => FOLDER_FILE.test(path));
    if (folder.some(({ path }) => path.endsWith('.safetensors'))) return { files: folder };
    throw new HadalError('file-missing', {
      what: repo,
      expected: 'GGUF or safetensors files',
      got: files.length === 0 ? 'an empty repository' : 'other ones',
      next: 'choose a repository with a model in one of these formats',
    });
  }
  const named = files.find(({ path }) => path === wanted);
  if (named !== undefined) {
    const group = groups.find((candidate) => candidate.files.includes(named));
    return group === undefined
      ? { main: named.path, files: [named] }
      : { main: group.main, files: group.files };
  }
  const same = groups.filter(({ quantization }) => quantization.toLowerCase() === wanted.toLowerCase());
  const [group] = same;
  if (group !== undefined && same.length === 1) return { main: group.main, files: group.files };
  throw choose(repo, groups, wanted, same);
}

/**
 * The models in GGUF among files: shards of one are one.
 *
 * @example modelGroups([{ path: 'm-Q8_0.gguf' }])[0]?.quantization // 'Q8_0'
 */
export function modelGroups<File extends { readonly path: string }>(
  files: readonly File[],
): GgufGroup<File>[] {
  const groups = new Map<string, File[]>();
  for (const file of files) {
    const stem = /^(.*?)(?:-\d{5}-of-\d{5})?\.gguf$/i.exec(file.path)?.[1];
    // Projectors of images and drafters go with a model, and are none.
    if (stem === undefined || /(^|\/)(mmproj|mtp)[-_.]/i.test(file.path)) continue;
    groups.set(stem, [...(groups.get(stem) ?? []), file]);
  }
  return [...groups].map(([stem, members]) => {
    const sorted = members.toSorted((a, b) => (a.path < b.path ? -1 : 1));
    return { files: sorted, main: sorted[0]!.path, quantization: quantizationOf(stem) };
  });
}

/**
 * The quantization that a file's name ends with, else the whole name.
 *
 * @example quantizationOf('Q4_K_M/DeepSeek-R1-Q4_K_M') // 'Q4_K_M'
 */
export function quantizationOf(stem: string): string {
  const name = stem.slice(stem.lastIndexOf('/') + 1);
  const found = /[-._]((?:UD-)?(?:I?Q\d\w*|TQ\d_0|BF16|F16|F32|FP16|FP8|MXFP4\w*))$/i.exec(name)?.[1];
  return found?.toUpperCase() ?? name;
}

function choose(
  repo: string,
  groups: readonly GgufGroup<RepoFile>[],
  wanted: string | undefined,
  same: readonly GgufGroup<RepoFile>[] = [],
): HadalError {
  const names = (
    same.length > 1 ? same.map(({ main }) => main) : groups.map(({ quantization }) => quantization)
  ).sort();
  const guess = wanted === undefined ? undefined : nearest(wanted.toUpperCase(), names);
  return new HadalError(wanted === undefined || same.length > 1 ? 'quantization-needed' : 'file-missing', {
    what: `${repo}${wanted === undefined ? '' : `:${wanted}`}`,
    expected:
      wanted === undefined || same.length > 1 ? 'one of several to be named' : 'a file or quantization of it',
    got: wanted === undefined ? 'none' : same.length > 1 ? 'several of that name' : 'none of that name',
    next:
      names.length === 0
        ? 'it has no GGUF files: name the repository alone'
        : `there are ${names.join(', ')}: try ${repo}:${guess ?? names[0]}`,
  });
}
