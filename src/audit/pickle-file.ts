/**
 * Owns: judging files that hold pickles: PyTorch's archives, its files of before 2020, NumPy's, and bare pickles.
 * Refuses to know: opcodes and the records of archives.
 */
import { HadalError } from '../error.ts';
import type { ByteSource } from '../formats/tensor-info.ts';
import type { FileKind } from './file-kind.ts';
import { quoted } from './finding.ts';
import { judgeNumpy, NUMPY_HEAD_BYTES } from './numpy.ts';
import { judgePickle, type StorageReference } from './pickle.ts';
import { storageBytes } from './pickle-globals.ts';
import { entryBytes, readZip, type ZipEntry } from './zip.ts';

/** What is in a file of pickles that is harmless. */
export interface PickleFileContent {
  /** e.g. `a PyTorch archive`. */
  readonly what: string;
  readonly tensors: number;
  /** Python names that reading it would import. */
  readonly names: readonly string[];
}

const MOST_PICKLE_BYTES = 64 << 20;
/** The first pickle of a file of torch before 1.6: a number by which it is known. */
const TORCH_MAGIC = 0x1950a86a20f9469cfc6cn;
const TORCH_PROTOCOL = 1001;
/** What PyTorch puts in its archives beside pickles and numbers. */
const TORCH_TEXTS =
  /^(version|byteorder|\.format_version|\.storage_alignment|\.data\/(serialization_id|version)|data\/?)$/;

/**
 * Judges a file by what Python would do to read it. Every byte of it is accounted for.
 *
 * @throws HadalError as `judgePickle`, `readZip`, `entryBytes` and `judgeNumpy` do; `pickle-broken` for bytes that belong to
 *   nothing, `pickle-code` for archives with program code.
 * @example (await judgePickleFile(source, 'zip')).tensors
 */
export async function judgePickleFile(source: ByteSource, kind: FileKind): Promise<PickleFileContent> {
  if (kind === 'zip') return judgeArchive(source);
  if (kind === 'numpy') {
    judgeNumpy(await source.read(0, Math.min(source.size, NUMPY_HEAD_BYTES)), source.size, source.name);
    return { what: 'a NumPy array', tensors: 1, names: [] };
  }
  return judgeBare(source);
}

async function judgeBare(source: ByteSource): Promise<PickleFileContent> {
  const bytes = await source.read(0, Math.min(source.size, MOST_PICKLE_BYTES));
  const first = judgePickle(bytes, source.name);
  if (first.value === TORCH_MAGIC) return judgeOldTorch(source, bytes, first.end);
  if (first.end !== source.size) throw leftOver(source, first.end, source.size);
  if (first.storages.length > 0) throw wrong(source, 'numbers of its tensors', 'a pickle alone');
  return { what: 'a pickle', tensors: first.tensors, names: first.names };
}

/** Five pickles (magic, protocol, machine, object, keys), then for each key the count of its numbers and the numbers. */
function judgeOldTorch(source: ByteSource, bytes: Uint8Array, start: number): PickleFileContent {
  const protocol = judgePickle(bytes, source.name, start);
  if (Number(protocol.value) !== TORCH_PROTOCOL) throw wrong(source, 'protocol 1001 of torch', 'another');
  const machine = judgePickle(bytes, source.name, protocol.end);
  const object = judgePickle(bytes, source.name, machine.end);
  const keys = judgePickle(bytes, source.name, object.end);
  const storages = distinct(source, object.storages);
  const numbers = [...storages.values()].reduce((sum, storage) => sum + 8 + bytesOf(source, storage), 0);
  if (keys.end + numbers !== source.size) throw leftOver(source, keys.end + numbers, source.size);
  const names = [machine, object, keys].flatMap((one) => one.names);
  return {
    what: 'a PyTorch file in the form of before 2020',
    tensors: object.tensors,
    names: [...new Set(names)],
  };
}

async function judgeArchive(source: ByteSource): Promise<PickleFileContent> {
  const entries = await readZip(source);
  if (entries.length > 0 && entries.every(({ name }) => /\.npy$/.test(name)))
    return judgeNpz(source, entries);
  const root = entries[0]?.name.split('/')[0];
  const inside = new Map<string, ZipEntry>();
  for (const entry of entries) {
    if (!entry.name.startsWith(`${root}/`))
      throw wrong(source, `all in the folder ${quoted(root ?? '')}`, quoted(entry.name));
    inside.set(entry.name.slice(`${root}/`.length), entry);
  }
  const pickle = inside.get('data.pkl');
  if (pickle === undefined)
    throw wrong(source, 'an archive of PyTorch, with data.pkl, or one of arrays', 'another');
  // torch.save packs nothing, and a pickle is held whole to be judged: a small file must not make a large one of it.
  if (pickle.method !== 0) throw wrong(source, 'data.pkl stored as it is', 'it packed');
  const content = judgePickle(await whole(source, pickle), `${source.name}, ${pickle.name}`);
  if (content.end !== pickle.bytes) throw leftOver(source, content.end, pickle.bytes);
  const storages = distinct(source, content.storages);
  for (const [name, entry] of inside) {
    if (name === 'data.pkl') continue;
    const key = /^data\/(\w+)$/.exec(name)?.[1];
    const storage = key === undefined ? undefined : storages.get(key);
    if (storage !== undefined) {
      const bytes = bytesOf(source, storage);
      if (entry.method !== 0 || entry.bytes !== bytes) {
        throw wrong(source, `${bytes} stored bytes in ${quoted(name)}`, `${entry.bytes}`);
      }
      storages.delete(storage.key);
    } else if (!TORCH_TEXTS.test(name) || entry.bytes > 4096) {
      throw new HadalError(/\.(py|pkl|debug_pkl)$|^code\//.test(name) ? 'pickle-code' : 'pickle-broken', {
        what: `${source.name}, ${quoted(entry.name)}`,
        expected: 'only data.pkl, the numbers that it names, and version texts',
        got: 'something else, such as the program of a TorchScript archive',
        next: 'do not load it; take safetensors or GGUF files instead',
      });
    }
    for await (const _ of entryBytes(source, entry));
  }
  const [missing] = storages.keys();
  if (missing !== undefined) throw wrong(source, `the numbers of data/${missing}`, 'none');
  return { what: 'a PyTorch archive', tensors: content.tensors, names: content.names };
}

async function judgeNpz(source: ByteSource, entries: readonly ZipEntry[]): Promise<PickleFileContent> {
  for (const entry of entries) {
    const head = Buffer.alloc(Math.min(entry.bytes, NUMPY_HEAD_BYTES));
    let at = 0;
    for await (const piece of entryBytes(source, entry)) {
      if (at < head.length) head.set(piece.subarray(0, head.length - at), at);
      at += piece.length;
    }
    judgeNumpy(head, entry.bytes, `${source.name}, ${entry.name}`);
  }
  return { what: 'an archive of NumPy arrays', tensors: entries.length, names: [] };
}

async function whole(source: ByteSource, entry: ZipEntry): Promise<Uint8Array> {
  if (entry.bytes > MOST_PICKLE_BYTES)
    throw wrong(source, `at most ${MOST_PICKLE_BYTES} bytes of pickle`, `${entry.bytes}`);
  const pieces: Uint8Array[] = [];
  for await (const piece of entryBytes(source, entry)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Each storage once; tensors share them, and must agree about them. */
function distinct(source: ByteSource, storages: readonly StorageReference[]): Map<string, StorageReference> {
  const found = new Map<string, StorageReference>();
  for (const storage of storages) {
    const before = found.get(storage.key);
    if (before !== undefined && (before.type !== storage.type || before.numbers !== storage.numbers)) {
      throw wrong(source, `one storage ${quoted(storage.key)}`, 'two different ones of that name');
    }
    found.set(storage.key, storage);
  }
  return found;
}

function bytesOf(source: ByteSource, { type, numbers }: StorageReference): number {
  const each = storageBytes(type);
  const bytes = each === undefined ? Number.NaN : each * numbers;
  if (!Number.isSafeInteger(bytes))
    throw wrong(source, 'storages of a possible size', `${numbers} in ${type}`);
  return bytes;
}

function leftOver(source: ByteSource, end: number, size: number): HadalError {
  return wrong(source, `an end at byte ${end}, where the last value ends`, `${size} bytes`);
}

function wrong(source: ByteSource, expected: string, got: string): HadalError {
  return new HadalError('pickle-broken', {
    what: source.name,
    expected,
    got,
    next: 'do not load it; take safetensors or GGUF files instead',
  });
}
