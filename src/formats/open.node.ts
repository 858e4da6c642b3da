/**
 * Owns: opening what is on disk as a model file: GGUF or safetensors, whole or in shards, or a Hugging Face folder.
 * Refuses to know: what the model is.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { HadalError } from '../error.ts';
import { heldFile, openFile } from './byte-source.node.ts';
import { readGguf } from './gguf/read.ts';
import { joinShards as joinGguf, shardNames } from './gguf/shards.ts';
import { FOLDER_TEXTS, INDEX_NAME, LATER_TEXTS, MOST_TEXT_BYTES } from './hf-folder.ts';
import { readSafetensors } from './safetensors/read.ts';
import { joinShards as joinSafetensors, readIndex, SINGLE_NAME } from './safetensors/shards.ts';
import type { ByteSource, HeldFiles, ModelFile } from './tensor-info.ts';

/**
 * Opens a GGUF file, all shards of the one that any shard's path names, one safetensors file, or a Hugging Face folder,
 * whose texts (config.json …) are in `metadata` under their names. Only headers are read. Where a model is `held`, nothing
 * is opened by its path. Close with {@link closeModelFile}.
 *
 * @throws HadalError as {@link openFile}, `readGguf`, `readSafetensors` and `readIndex` do; `gguf-shards` and
 *   `safetensors-shards` where one is missing or foreign; `folder-empty` for a folder without weights;
 *   `file-not-held` for a file that is none of those held.
 * @example const file = await openModelFile('model-00001-of-00002.gguf');
 */
export async function openModelFile(path: string, held?: HeldFiles): Promise<ModelFile> {
  if (held !== undefined) return openFrom(path, fromHeld(path, held), held.texts !== undefined);
  const facts = await stat(path).catch(() => undefined);
  return openFrom(path, fromDisk(path, FOLDER_TEXTS), facts?.isDirectory() === true);
}

/**
 * Opens a model as {@link openModelFile} does, to be held: what a folder is read for later is read now, and in `metadata` too;
 * nothing more is read of it, whatever is there by then.
 *
 * @throws HadalError as {@link openModelFile} does.
 * @example const file = await openWholeModel(path); const held = heldFiles(path, file);
 */
export async function openWholeModel(path: string): Promise<ModelFile> {
  const facts = await stat(path).catch(() => undefined);
  return openFrom(path, fromDisk(path, ALL_TEXTS), facts?.isDirectory() === true);
}

/** What {@link openWholeModel} opened, for opening it again. Example: `openModelFile(path, heldFiles(path, file))` */
export function heldFiles(path: string, { sources, metadata }: ModelFile): HeldFiles {
  const files = sources.map((source) => ({ path: resolve(source.name), fd: source.fd! }));
  if (files.some((file) => file.path === resolve(path))) return { files };
  const texts = ALL_TEXTS.flatMap((name) => {
    const text = metadata.get(name);
    return typeof text === 'string' ? [[name, text] as const] : [];
  });
  return { files, texts: new Map(texts) };
}

/** Closes all sources of a model file. */
export async function closeModelFile(file: ModelFile): Promise<void> {
  await Promise.all(file.sources.map((source) => source.close()));
}

/**
 * A text of a folder, or undefined where the folder has no such file.
 *
 * @throws HadalError `folder-text` where it is too long or not UTF-8, and what {@link openFile} throws.
 * @example await readFolderText('DeepSeek-V3', 'tokenizer.json')
 */
export async function readFolderText(folder: string, name: string): Promise<string | undefined> {
  return readTextFile(join(folder, name)).catch((error: unknown) => {
    if (error instanceof HadalError && error.code === 'file-missing') return undefined;
    throw error;
  });
}

/**
 * A whole text.
 *
 * @param mostBytes that it may take
 * @throws HadalError `folder-text` where it is too long or not UTF-8, and what {@link openFile} throws.
 * @example await readTextFile('chat_template.jinja')
 */
export async function readTextFile(path: string, mostBytes = MOST_TEXT_BYTES): Promise<string> {
  const source = await openFile(path);
  const wrong = (expected: string, got: string) =>
    new HadalError('folder-text', { what: path, expected, got, next: 'fetch it again' });
  try {
    if (source.size > mostBytes) throw wrong(`at most ${mostBytes} bytes`, `${source.size} bytes`);
    const bytes = await source.read(0, source.size);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw error instanceof TypeError ? wrong('text in UTF-8', 'other bytes') : error;
  } finally {
    await source.close();
  }
}

const ALL_TEXTS: readonly string[] = [...FOLDER_TEXTS, ...LATER_TEXTS];

/** Where the parts of a model come from. */
interface Place {
  /** Texts of a folder, those that are wanted with the headers. */
  readonly wanted: readonly string[];
  /** Whether no other text will ever be wanted. */
  readonly whole: boolean;
  text(name: string): Promise<string | undefined>;
  /** The one file of a folder without an index. */
  single(): Promise<string>;
  file(path: string): Promise<ByteSource>;
}

function fromDisk(path: string, wanted: readonly string[]): Place {
  return {
    wanted,
    whole: wanted === ALL_TEXTS,
    text: (name) => readFolderText(path, name),
    single: () => singleName(path),
    file: openFile,
  };
}

function fromHeld(path: string, { files, texts = new Map() }: HeldFiles): Place {
  return {
    wanted: [...texts.keys()],
    whole: true,
    text: async (name) => texts.get(name),
    single: async () => basename(files[0]?.path ?? path),
    async file(name) {
      const held = files.find((one) => one.path === resolve(name));
      if (held !== undefined) return heldFile(name, held.fd);
      throw new HadalError('file-not-held', {
        what: name,
        expected: 'one of the files that are open already',
        got: 'another',
        next: 'open the model again',
      });
    },
  };
}

async function openFrom(path: string, place: Place, folder: boolean): Promise<ModelFile> {
  if (folder) return openFolder(path, place);
  if (/\.safetensors$/i.test(path)) {
    return openTogether([path], readSafetensors, missingAsItIs, ([file]) => file!, place);
  }
  const names = shardNames(path) ?? [path];
  const joined = (files: readonly ModelFile[]) => (files.length === 1 ? alone(files[0]!) : joinGguf(files));
  return openTogether(names, readGguf, missingShard, joined, place);
}

async function openFolder(folder: string, place: Place): Promise<ModelFile> {
  const metadata = new Map<string, string>();
  for (const name of place.wanted) {
    const text = await place.text(name);
    if (text !== undefined) metadata.set(name, text);
  }
  const indexText = metadata.get(INDEX_NAME) ?? (await place.text(INDEX_NAME));
  if (indexText === undefined) {
    const single = await openFrom(join(folder, await place.single()), place, false);
    return ofFolder(single, metadata, place);
  }
  const index = readIndex(indexText, join(folder, INDEX_NAME));
  const paths = index.files.map((name) => join(folder, name));
  const joined = (files: readonly ModelFile[]) => joinSafetensors(index, files);
  const file = await openTogether(paths, readSafetensors, missingListed, joined, place);
  return ofFolder(file, metadata, place);
}

/** The weights with the folder's texts. What weights call by the name of a text stands for none that the folder lacks. */
function ofFolder(file: ModelFile, texts: ReadonlyMap<string, string>, { whole }: Place): ModelFile {
  const own = [...file.metadata].filter(([name]) => !ALL_TEXTS.includes(name));
  return { ...file, metadata: new Map([...own, ...texts]), whole };
}

/** The one safetensors file of a folder without an index. */
async function singleName(folder: string): Promise<string> {
  const names = (await readdir(folder)).sort();
  const weights = names.filter((name) => name.endsWith('.safetensors'));
  if (weights.includes(SINGLE_NAME)) return SINGLE_NAME;
  const [first, second] = weights;
  if (first !== undefined && second === undefined && !/-of-\d+\.safetensors$/.test(first)) return first;
  const gguf = names.find((name) => /\.gguf$/i.test(name));
  const pickle = names.find((name) => /\.(bin|pth?|ckpt)$/.test(name));
  if (first !== undefined) {
    throw new HadalError('safetensors-shards', {
      what: folder,
      expected: `${SINGLE_NAME}, or ${INDEX_NAME} with the files that it lists`,
      got: `${first}${second === undefined ? '' : `, ${second}${weights.length > 2 ? ' …' : ''}`}`,
      next: `fetch ${INDEX_NAME} too`,
    });
  }
  throw new HadalError('folder-empty', {
    what: folder,
    expected: `a folder with ${SINGLE_NAME} or ${INDEX_NAME}`,
    got: gguf ?? pickle ?? (names.length === 0 ? 'an empty folder' : 'a folder without weights'),
    next:
      gguf !== undefined
        ? `name the file itself: ${join(folder, gguf)}`
        : pickle !== undefined
          ? 'fetch its safetensors form: pickled files run code when they are read'
          : 'check the path, or fetch the whole folder',
  });
}

/** What is to be said of a file that cannot be opened. */
type Opening = (cause: unknown, name: string, index: number, names: readonly string[]) => unknown;

const missingAsItIs: Opening = (cause) => cause;

const missingShard: Opening = (cause, name, index, names) =>
  names.length > 1 ? missing('gguf-shards', cause, name, `shard ${index + 1} of ${names.length}`) : cause;

const missingListed: Opening = (cause, name) =>
  missing('safetensors-shards', cause, name, `a file that ${INDEX_NAME} lists`);

function missing(code: string, cause: unknown, what: string, expected: string): unknown {
  if (!(cause instanceof HadalError) || cause.code !== 'file-missing') return cause;
  return new HadalError(code, { what, expected, got: 'nothing there', next: 'fetch it' }, { cause });
}

/** Opens files, reads their headers and joins them; closes all of them where one is refused. */
async function openTogether(
  names: readonly string[],
  read: (source: ByteSource) => Promise<ModelFile>,
  explain: Opening,
  join: (files: readonly ModelFile[]) => ModelFile,
  place: Place,
): Promise<ModelFile> {
  const sources: ByteSource[] = [];
  try {
    for (const [index, name] of names.entries()) {
      const opening = place.file(name);
      sources.push(await opening.catch((cause) => Promise.reject(explain(cause, name, index, names))));
    }
    const files: ModelFile[] = [];
    for (const source of sources) files.push(await read(source));
    return join(files);
  } catch (error) {
    await Promise.all(sources.map((source) => source.close()));
    throw error;
  }
}

/** Refuses a shard that lost its name: its set cannot be found. */
function alone(file: ModelFile): ModelFile {
  const count = file.metadata.get('split.count');
  if (typeof count !== 'number' || count <= 1) return file;
  throw new HadalError('gguf-shards', {
    what: file.sources[0]!.name,
    expected: `a name that ends in -00001-of-${String(count).padStart(5, '0')}.gguf, as this is one shard of ${count}`,
    got: 'another name',
    next: 'give all shards their names back',
  });
}
