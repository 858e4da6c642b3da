/**
 * Owns: what a file is by its first bytes, whatever its name says, and which names are given to what.
 * Refuses to know: how any of it is read.
 */

/** What a file can be. */
export type FileKind =
  | 'gguf'
  | 'safetensors'
  | 'pickle'
  | 'zip'
  | 'numpy'
  | 'archive'
  | 'hdf5'
  | 'program'
  | 'pointer'
  | 'text'
  | 'empty'
  | 'unknown';

/** How many of a file's first bytes are looked at. */
export const LOOKED_AT_BYTES = 512;

/** The words for a kind. */
export const KIND_WORDS: Readonly<Record<FileKind, string>> = {
  gguf: 'a GGUF file',
  safetensors: 'a safetensors file',
  pickle: 'a Python pickle, which runs code when it is read',
  zip: 'a zip archive',
  numpy: 'a NumPy array',
  archive: 'a compressed archive',
  hdf5: 'an HDF5 file',
  program: 'a program',
  pointer: 'a Git LFS pointer, which only names the real file',
  text: 'text',
  empty: 'an empty file',
  unknown: 'something unknown',
};

const STARTS: readonly (readonly [string, FileKind])[] = [
  ['GGUF', 'gguf'],
  ['PK\u0003\u0004', 'zip'],
  ['PK\u0005\u0006', 'zip'],
  ['\u0093NUMPY', 'numpy'],
  ['7z\u00bc\u00af\u0027\u001c', 'archive'],
  ['\u001f\u008b', 'archive'],
  ['BZh', 'archive'],
  ['\u00fd7zXZ\u0000', 'archive'],
  ['(\u00b5/\u00fd', 'archive'],
  ['Rar!', 'archive'],
  ['\u0004"M\u0018', 'archive'],
  ['\u0089HDF', 'hdf5'],
  ['\u007fELF', 'program'],
  ['MZ', 'program'],
  ['\u00cf\u00fa\u00ed\u00fe', 'program'],
  ['\u00ca\u00fe\u00ba\u00be', 'program'],
  ['#!', 'program'],
  ['version https://git-lfs', 'pointer'],
];

/** Opcodes that a pickle of protocol 0 or 1, which has no header, can begin with. */
const OLD_PICKLE = /^[(\]})cNIFSVUTKMJGLlt]/;

/**
 * What a file is by its first bytes.
 *
 * @param start its first {@link LOOKED_AT_BYTES} bytes, or all of them
 * @example kindOf(bytes) === 'gguf'
 */
export function kindOf(start: Uint8Array): FileKind {
  if (start.length === 0) return 'empty';
  const text = String.fromCharCode(...start);
  const known = STARTS.find(([magic]) => text.startsWith(magic));
  if (known !== undefined) return known[1];
  if (text.slice(257, 262) === 'ustar') return 'archive';
  if (start.length > 8 && start[8] === 0x7b && start[6] === 0 && start[7] === 0) return 'safetensors';
  if (start[0] === 0x80 && start[1] !== undefined && start[1] <= 5) return 'pickle';
  if (isText(start)) return 'text';
  return OLD_PICKLE.test(text) ? 'pickle' : 'unknown';
}

/** What a name says that a file is; undefined where it says nothing. Example: `kindsOfName('a.pt') // ['zip', 'pickle']` */
export function kindsOfName(name: string): readonly FileKind[] | undefined {
  const ending = /\.([^.]+)$/.exec(name.toLowerCase())?.[1] ?? '';
  return ENDINGS[ending];
}

const PICKLED: readonly FileKind[] = ['pickle', 'zip'];
const TEXT: readonly FileKind[] = ['text', 'empty'];

const ENDINGS: Readonly<Record<string, readonly FileKind[]>> = {
  gguf: ['gguf'],
  safetensors: ['safetensors'],
  bin: PICKLED,
  pt: PICKLED,
  pth: PICKLED,
  ckpt: PICKLED,
  pkl: PICKLED,
  pickle: PICKLED,
  dat: PICKLED,
  joblib: PICKLED,
  npy: ['numpy'],
  npz: ['zip'],
  h5: ['hdf5'],
  json: TEXT,
  jsonl: TEXT,
  jinja: TEXT,
  md: TEXT,
  txt: TEXT,
  yaml: TEXT,
  yml: TEXT,
  csv: TEXT,
  py: ['text', 'program', 'empty'],
};

/** Endings that are pickles whatever is in the file. Example: `isPickleName('model.pt')` */
export function isPickleName(name: string): boolean {
  return kindsOfName(name) === PICKLED;
}

function isText(bytes: Uint8Array): boolean {
  if (bytes.some((byte) => byte < 9 || (byte > 13 && byte < 32 && byte !== 27))) return false;
  try {
    // A character may be cut at the end of what is looked at.
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
