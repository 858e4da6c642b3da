/**
 * Owns: what lies in a folder of this machine that a model is taken from: its files, and what each of them has to be.
 * Refuses to know: where anything goes.
 *
 * What a file must be says a list of digests (`SHA256SUMS` and the like) that lies beside it or in the folder itself, or a
 * digest of its own (`model.gguf.sha256`); without any it is read.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, relative, resolve, sep } from 'node:path';
import { HadalError } from '../error.ts';
import { sha256OfFile } from './digest.node.ts';
import { isPlainPath, type RepoFile } from './hugging-face.node.ts';

const MODEL_FILE = /\.(?:gguf|safetensors)$/i;
/** More files than any model has. */
const MOST_FILES = 10_000;
/** A list of a folder, and the digest of one file; a line of either, as coreutils and BSD write it. */
const LIST = /^sha256sums?(?:\.txt)?$/i;
const SINGLE = /\.sha256$/i;
const LINE = /^(?<sha256>[0-9a-f]{64})(?: [ *](?:\.\/)?(?<file>\S.*?))?\r?$/i;
const BSD_LINE = /^SHA256 \((?:\.\/)?(?<file>.+)\) = (?<sha256>[0-9a-f]{64})\r?$/i;
const LONGEST_SUMS = 4 << 20;

/** A folder, and the file or quantization in it that is meant. */
export interface Source {
  readonly folder: string;
  readonly wanted?: string;
}

/**
 * What a text means: a file, a folder, or a folder with `:` and a file or quantization in it.
 *
 * @throws HadalError `folder-missing`, `file-not-a-model`, `source-unreadable`
 * @example (await locateSource('/media/stick/DeepSeek-V2-Lite:Q4_K_M')).wanted // 'Q4_K_M'
 */
export async function locateSource(source: string): Promise<Source> {
  const facts = await factsOf(source);
  if (facts?.isDirectory()) return { folder: resolve(source) };
  if (facts?.isFile()) {
    if (MODEL_FILE.test(source)) return { folder: dirname(resolve(source)), wanted: basename(source) };
    throw new HadalError('file-not-a-model', {
      what: source,
      expected: 'a GGUF or safetensors file, or a folder with a model',
      got: 'a file of another kind',
      next: 'name the model file, or the folder that it is in',
    });
  }
  const [, named = '', wanted = ''] = /^(.+):([^:]+)$/s.exec(source) ?? [];
  if (named !== '' && (await factsOf(named))?.isDirectory()) return { folder: resolve(named), wanted };
  throw new HadalError('folder-missing', {
    what: source,
    expected: 'a file or a folder with a model',
    got: 'nothing there',
    next: 'check the path, and that the disk it is on is mounted',
  });
}

/**
 * The files of a folder and of those in it, but hidden ones and lists of digests; digests are not known yet.
 *
 * @throws HadalError `folder-too-large`, `source-unreadable`
 * @example (await filesUnder('/media/stick/DeepSeek-V2-Lite')).map(({ path }) => path)
 */
export async function filesUnder(folder: string): Promise<RepoFile[]> {
  const entries = await ofSource(folder, () => readdir(folder, { recursive: true, withFileTypes: true }));
  if (entries.length > MOST_FILES) {
    throw new HadalError('folder-too-large', {
      what: folder,
      expected: `a folder of one model, with at most ${MOST_FILES} files`,
      got: `${entries.length}`,
      next: 'name the folder of the model itself',
    });
  }
  const files: RepoFile[] = [];
  for (const entry of entries) {
    const full = join(entry.parentPath, entry.name);
    const path = relative(folder, full).split(sep).join('/');
    if (path.startsWith('.') || path.includes('/.') || !isPlainPath(path)) continue;
    if (LIST.test(path) || SINGLE.test(path)) continue;
    const facts = await factsOf(full);
    if (facts?.isFile()) files.push({ path, expected: { bytes: facts.size, sha256: '' } });
  }
  return files;
}

/** Options of {@link digestsOf}. */
export interface DigestOptions {
  readonly signal: AbortSignal | undefined;
  /** Bytes read so far of those that have to be read. */
  readonly onProgress: (done: number, total: number) => void;
}

/**
 * The SHA-256 of files of a folder, in their order: as its lists say, else by reading.
 *
 * @throws HadalError `link-outside`, `digest-missing` where a list leaves a file out, `digest-conflict` where two say
 *   different things of one, `source-unreadable`
 * @example await digestsOf('/media/stick/V2-Lite', files, { signal, onProgress })
 */
export async function digestsOf(
  folder: string,
  files: readonly RepoFile[],
  { signal, onProgress }: DigestOptions,
): Promise<string[]> {
  for (const { path } of files) await demandInside(folder, path);
  const sums = await sumsOf(folder, files);
  for (const { path } of files) {
    const list = [`${path}.sha256`, posix.dirname(path), '.'].flatMap((at) => sums.lists.get(at) ?? [])[0];
    if (list === undefined || sums.digests.has(path)) continue;
    const at = posix.dirname(list);
    throw new HadalError('digest-missing', {
      what: join(folder, path),
      expected: `a line of it in ${list}`,
      got: 'none',
      next: `if it is as it should be: cd ${join(folder, at)} && sha256sum ${posix.relative(at, path)} >> ${posix.basename(list)}`,
    });
  }
  const unknown = files.filter(({ path }) => !sums.digests.has(path));
  const unknownBytes = unknown.reduce((sum, { expected }) => sum + expected.bytes, 0);
  const digests: string[] = [];
  let before = 0;
  for (const { path, expected } of files) {
    let sha256 = sums.digests.get(path)?.sha256;
    if (sha256 === undefined) {
      const from = join(folder, path);
      const progress = (done: number) => onProgress(before + done, unknownBytes);
      sha256 = await ofSource(from, () => sha256OfFile(from, progress, signal));
      before += expected.bytes;
    }
    digests.push(sha256);
  }
  return digests;
}

/**
 * Reads of the source; what goes wrong is the source's, not that of where things go.
 *
 * @throws HadalError `source-unreadable`
 * @example const file = await ofSource(path, () => open(path));
 */
export async function ofSource<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error && 'code' in error)) throw error;
    const complaint = {
      what: path,
      expected: 'a source that can be read',
      got: String(error.code),
      next: 'check who may read it, and that its disk is mounted and whole',
    };
    throw new HadalError('source-unreadable', complaint, { cause: error });
  }
}

/** Undefined where there is nothing; a link that leads nowhere is nothing. */
function factsOf(path: string) {
  return ofSource(path, () =>
    stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    }),
  );
}

/** A link may lead to another place in the folder, and from a snapshot of a hub's cache to its blobs; nowhere else. */
async function demandInside(folder: string, path: string): Promise<void> {
  const full = join(folder, path);
  const [to, home] = await ofSource(full, () => Promise.all([realpath(full), realpath(folder)]));
  const blobs = basename(dirname(home)) === 'snapshots' ? [join(dirname(dirname(home)), 'blobs')] : [];
  if ([home, ...blobs].some((allowed) => to.startsWith(allowed.endsWith(sep) ? allowed : allowed + sep))) {
    return;
  }
  throw new HadalError('link-outside', {
    what: full,
    expected: 'a file of the folder',
    got: `a link to ${to}`,
    next: `put the file itself in its place, or take that: hadal pull ${to}`,
  });
}

/** What `sha256sum` wrote into a folder and those in it; all paths are relative to it, with slashes. */
interface Sums {
  readonly digests: ReadonlyMap<string, { readonly sha256: string; readonly saidBy: string }>;
  /** Lists by the folder that they are of, and digests of one file by their own names. */
  readonly lists: ReadonlyMap<string, string>;
}

async function sumsOf(folder: string, files: readonly RepoFile[]): Promise<Sums> {
  const digests = new Map<string, { readonly sha256: string; readonly saidBy: string }>();
  const lists = new Map<string, string>();
  for (const at of new Set(['.', ...files.map(({ path }) => posix.dirname(path))])) {
    const place = join(folder, at);
    for (const name of (await ofSource(place, () => readdir(place))).sort()) {
      if (!LIST.test(name) && !SINGLE.test(name)) continue;
      const saidBy = posix.join(at, name);
      const path = join(folder, saidBy);
      const facts = await factsOf(path);
      if (!facts?.isFile()) continue;
      const of = LIST.test(name) ? at : saidBy.replace(SINGLE, '.sha256');
      lists.set(of, lists.get(of) ?? saidBy);
      await demandInside(folder, saidBy);
      if (facts.size > LONGEST_SUMS) continue;
      for (const line of (await ofSource(path, () => readFile(path, 'utf8'))).split('\n')) {
        const said = (LINE.exec(line.trimEnd()) ?? BSD_LINE.exec(line.trimEnd()))?.groups;
        if (said?.sha256 === undefined) continue;
        // A lone digest is of the file that its own is named after.
        const file = posix.join(at, said.file ?? name.replace(SINGLE, ''));
        const sha256 = said.sha256.toLowerCase();
        const before = digests.get(file);
        if (before !== undefined && before.sha256 !== sha256) {
          throw new HadalError('digest-conflict', {
            what: join(folder, file),
            expected: `one SHA-256 (${before.saidBy} says ${before.sha256})`,
            got: `another by ${saidBy}, ${sha256}`,
            next: 'find out which is right, and remove the other',
          });
        }
        digests.set(file, { sha256, saidBy });
      }
    }
  }
  return { digests, lists };
}
