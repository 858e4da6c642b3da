/**
 * Owns: judging a pickle by going through its opcodes: what would be imported and called if Python read it.
 * Refuses to know: which names are harmless (pickle-globals.ts), where the pickle lies. Nothing is ever made or called.
 *
 * The values on the stack are kept only as far as a judgement needs them. Every opcode that torch.save and numpy do not
 * write is refused, so is every name that is not in the list, and every stream that Python and this reader could read
 * differently. Source of the opcodes: Lib/pickletools.py of CPython 3.13.
 */
import { HadalError } from '../error.ts';
import { quoted } from './finding.ts';
import { type Use, useOf } from './pickle-globals.ts';

/** A storage that a pickle of torch refers to; its numbers lie elsewhere. */
export interface StorageReference {
  /** As torch calls it, e.g. `FloatStorage`. */
  readonly type: string;
  readonly key: string;
  readonly numbers: number;
}

/** What a pickle holds. */
export interface PickleContent {
  readonly storages: readonly StorageReference[];
  /** Names that it imports, each once. */
  readonly names: readonly string[];
  /** Tensors and arrays that are put together. */
  readonly tensors: number;
  /** Where the next byte after it is. */
  readonly end: number;
  /** The value itself where it is a whole number or a text. */
  readonly value: bigint | number | string | undefined;
}

/** A value, as far as it matters. */
type Value =
  | { readonly kind: 'global'; readonly module: string; readonly name: string; readonly use: Use }
  | { readonly kind: 'made'; readonly of: string; readonly buildable: boolean }
  | { readonly kind: 'text'; readonly text: string | undefined }
  | { readonly kind: 'number'; readonly number: bigint | number }
  | { readonly kind: 'tuple'; readonly items: readonly Value[] }
  | { readonly kind: 'dict'; keys?: (string | undefined)[] }
  | { readonly kind: 'list' }
  | { readonly kind: 'set' }
  | { readonly kind: 'mark' }
  | { readonly kind: 'plain' };

const PLAIN: Value = { kind: 'plain' };
const LIST: Value = { kind: 'list' };
const SET: Value = { kind: 'set' };
const EMPTY_TUPLE: Value = { kind: 'tuple', items: [] };
const MARK: Value = { kind: 'mark' };

/** A pickle of weights names tensors; their numbers lie outside of it. */
const MOST_BYTES = 64 << 20;
const MOST_MEMO = 1 << 22;
const MOST_STACK = 1 << 17;
const MOST_TUPLES = 1 << 18;
const MOST_LINE = 1 << 16;
/** Stands for a line that is no text: no name is spelt so. */
const UNREADABLE = '\ufffd';
/** Keys of a dict are only looked at where it becomes the state of something. */
const MOST_KEYS = 64;
const ENCODINGS = /^(latin1|latin-1|utf-8|utf8|ascii)$/;

/**
 * Judges the pickle that begins at `start`.
 *
 * @throws HadalError `pickle-name` for a name that no weights need, `pickle-call` for a call or a state that none needs,
 *   `pickle-opcode` for an opcode that none needs, `pickle-broken` for a stream that is cut or contradicts itself.
 * @example judgePickle(bytes, 'model.pt').storages
 */
export function judgePickle(bytes: Uint8Array, name: string, start = 0): PickleContent {
  return new PickleReader(bytes, name, start).read();
}

class PickleReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #name: string;
  #at: number;
  #opcodeAt = 0;
  readonly #stack: Value[] = [];
  readonly #memo = new Map<number, Value>();
  readonly #storages: StorageReference[] = [];
  readonly #names = new Set<string>();
  #tensors = 0;
  #tuples = 0;
  #frameEnd: number | undefined;
  #protocol = 0;

  constructor(bytes: Uint8Array, name: string, start: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#name = name;
    this.#at = start;
    if (bytes.length > MOST_BYTES) throw this.#broken(`at most ${MOST_BYTES} bytes`, `${bytes.length}`);
  }

  read(): PickleContent {
    const begin = this.#at;
    for (;;) {
      this.#opcodeAt = this.#at;
      const opcode = this.u8();
      if (opcode === STOP) break;
      if (opcode === PROTO && this.#opcodeAt !== begin)
        throw this.#broken('a protocol at the beginning only', 'another');
      const step = STEPS[opcode];
      if (step === undefined) throw this.#opcode(opcode);
      step(this);
      if (this.#stack.length > MOST_STACK) throw this.#broken(`at most ${MOST_STACK} values at once`, 'more');
    }
    const value = this.#pop();
    if (this.#stack.length !== 0) throw this.#broken('one value at the end', `${this.#stack.length + 1}`);
    if (this.#frameEnd !== undefined && this.#frameEnd !== this.#at) {
      throw this.#broken(
        `the end of the frame at byte ${this.#frameEnd}`,
        `the end of the pickle at ${this.#at}`,
      );
    }
    return {
      storages: this.#storages,
      names: [...this.#names],
      tensors: this.#tensors,
      end: this.#at,
      value: value.kind === 'number' ? value.number : value.kind === 'text' ? value.text : undefined,
    };
  }

  u8(): number {
    return this.#view.getUint8(this.#past(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#past(2), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#past(4), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#past(4), true);
  }

  u64(): number {
    const value = this.#view.getBigUint64(this.#past(8), true);
    if (value > BigInt(MOST_BYTES)) throw this.#broken('lengths inside of the file', `${value}`);
    return Number(value);
  }

  take(length: number): Uint8Array {
    const at = this.#past(length);
    return this.#bytes.subarray(at, at + length);
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw this.#broken('a line', 'the end of the file in it');
    if (end - this.#at > MOST_LINE) throw this.#broken('short lines', `one of ${end - this.#at} bytes`);
    const line = this.take(end - this.#at);
    this.#at++;
    return text(line) ?? UNREADABLE;
  }

  tuple(items: readonly Value[]): void {
    if (++this.#tuples > MOST_TUPLES) throw this.#broken(`at most ${MOST_TUPLES} tuples`, 'more');
    this.#stack.push({ kind: 'tuple', items });
  }

  push(value: Value): void {
    this.#stack.push(value);
  }

  pop(): Value {
    return this.#pop();
  }

  top(): Value {
    const value = this.#stack.at(-1);
    if (value === undefined || value.kind === 'mark') throw this.#broken('a value on the stack', 'none');
    return value;
  }

  /** The values above the last mark, which goes too. */
  popMark(): Value[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw this.#broken('a mark on the stack', 'none');
    const values = this.#stack.splice(mark);
    values.shift();
    return values;
  }

  memoize(index: number): void {
    if (index > MOST_MEMO || !Number.isSafeInteger(index) || index < 0) {
      throw this.#broken(`at most ${MOST_MEMO} memos`, `${index}`);
    }
    this.#memo.set(index, this.top());
  }

  memoSize(): number {
    return this.#memo.size;
  }

  recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.#broken('a memo that was written before', `memo ${index}`);
    this.#stack.push(value);
  }

  protocol(version: number): void {
    if (version > 5) throw this.#broken('a protocol up to 5', `${version}`);
    this.#protocol = version;
  }

  /** Frames follow one another; opcodes that cross their ends are read differently by different readers. */
  frame(length: number): void {
    if (this.#frameEnd !== undefined && this.#opcodeAt !== this.#frameEnd) {
      throw this.#broken(`a new frame at byte ${this.#frameEnd}`, `one at ${this.#opcodeAt}`);
    }
    if (this.#protocol < 4) throw this.#broken('frames from protocol 4 on', `them in ${this.#protocol}`);
    this.#frameEnd = this.#at + length;
    if (this.#frameEnd > this.#bytes.length) throw this.#broken('a frame inside of the file', 'a longer one');
  }

  global(module: string, name: string): void {
    const use = useOf(module, name);
    if (use === undefined) {
      throw this.#refused(
        'pickle-name',
        'only names that weights need',
        `it importing ${quoted(`${module}.${name}`)}`,
      );
    }
    this.#names.add(`${module}.${name}`);
    this.#stack.push({ kind: 'global', module, name, use });
  }

  stackGlobal(): void {
    const name = this.#pop();
    const module = this.#pop();
    if (
      name.kind !== 'text' ||
      module.kind !== 'text' ||
      name.text === undefined ||
      module.text === undefined
    ) {
      throw this.#refused('pickle-name', 'names in plain text', 'it importing what it puts together');
    }
    this.global(module.text, name.text);
  }

  reduce(): void {
    const given = this.#pop();
    const callee = this.#pop();
    if (callee.kind !== 'global' || callee.use === 'pass') {
      throw this.#refused('pickle-call', 'calls of what weights need only', `it calling ${wordsOf(callee)}`);
    }
    if (given.kind !== 'tuple') throw this.#broken('a tuple of arguments', wordsOf(given));
    const { module, name, use } = callee;
    const full = `${module}.${name}`;
    if (full === '_codecs.encode') this.#checkEncode(given.items);
    // A number would be a length to allocate. Protocols below 3 have no other way to write no bytes.
    if (/\.bytes$/.test(full) && given.items.length > 0)
      throw this.#refused('pickle-call', 'bytes of nothing', 'others');
    if (/\.bytearray$/.test(full) && given.items.some(({ kind }) => kind === 'number'))
      throw this.#refused('pickle-call', 'a bytearray of bytes', 'one of a length');
    if (name === '_reconstruct' && !isEmptyShape(given.items[1]))
      throw this.#refused('pickle-call', 'an array that begins empty', 'one of a length');
    if (/^(_rebuild_|_reconstruct|_frombuffer)/.test(name)) this.#tensors++;
    if (full === 'collections.OrderedDict' && given.items.some(({ kind }) => kind !== 'list')) {
      throw this.#refused('pickle-call', 'an OrderedDict of nothing or a list', 'another');
    }
    this.#stack.push(
      full === '_codecs.encode' ? PLAIN : { kind: 'made', of: full, buildable: use === 'call-and-build' },
    );
  }

  build(): void {
    const state = this.#pop();
    const object = this.top();
    if (object.kind !== 'made' || !object.buildable) {
      throw this.#refused(
        'pickle-call',
        'states of dicts and arrays only',
        `it setting the state of ${wordsOf(object)}`,
      );
    }
    if (object.of !== 'collections.OrderedDict') return;
    const keys = state.kind === 'dict' ? (state.keys ?? []) : undefined;
    if (
      keys === undefined ||
      keys.length === MOST_KEYS ||
      keys.some((key) => key === undefined || key.startsWith('__'))
    ) {
      throw this.#refused('pickle-call', 'plain fields of an OrderedDict', 'others');
    }
  }

  persistent(): void {
    const id = this.#pop();
    const [tag, type, key, , numbers] = id.kind === 'tuple' ? id.items : [];
    const known =
      tag?.kind === 'text' &&
      tag.text === 'storage' &&
      type?.kind === 'global' &&
      /Storage$/.test(type.name) &&
      key?.kind === 'text' &&
      key.text !== undefined &&
      numbers?.kind === 'number' &&
      numbers.number >= 0;
    if (!known) throw this.#refused('pickle-call', 'storages of torch as persistent ids', 'another');
    this.#storages.push({ type: type.name, key: key.text, numbers: Number(numbers.number) });
    this.#stack.push({ kind: 'made', of: 'storage', buildable: false });
  }

  /** Puts keys and values in the dict on top; what else has items set is only what was made of an OrderedDict. */
  setItems(items: readonly Value[]): void {
    const target = this.top();
    if (items.length % 2 !== 0) throw this.#broken('keys with their values', 'one of them alone');
    if (target.kind === 'dict') {
      target.keys ??= [];
      for (let i = 0; i < items.length && target.keys.length < MOST_KEYS; i += 2) {
        const key = items[i];
        target.keys.push(key?.kind === 'text' ? key.text : undefined);
      }
    } else if (target.kind !== 'made' || target.of !== 'collections.OrderedDict') {
      throw this.#refused('pickle-call', 'items of dicts only', `it setting items of ${wordsOf(target)}`);
    }
  }

  append(): void {
    const target = this.top();
    if (target.kind !== 'list') {
      throw this.#refused('pickle-call', 'lists that grow', `it appending to ${wordsOf(target)}`);
    }
  }

  addItems(): void {
    if (this.top().kind !== 'set') {
      throw this.#refused('pickle-call', 'sets that grow', `it adding to ${wordsOf(this.top())}`);
    }
  }

  broken(expected: string, got: string): HadalError {
    return this.#broken(expected, got);
  }

  #checkEncode(items: readonly Value[]): void {
    const [text, encoding] = items;
    const fits =
      items.length === 2 &&
      text?.kind === 'text' &&
      encoding?.kind === 'text' &&
      ENCODINGS.test(encoding.text ?? '');
    if (!fits) throw this.#refused('pickle-call', 'texts encoded as latin1', 'it encoding something else');
  }

  #pop(): Value {
    const value = this.#stack.pop();
    if (value === undefined || value.kind === 'mark') throw this.#broken('a value on the stack', 'none');
    return value;
  }

  /** Goes past so many bytes; where they began. */
  #past(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw this.#broken('a whole pickle', 'the end of the file in it');
    this.#at += length;
    return at;
  }

  #opcode(opcode: number): HadalError {
    const name = REFUSED[opcode];
    return name === undefined
      ? this.#broken('an opcode', `byte ${opcode}`)
      : this.#refused('pickle-opcode', 'opcodes that weights need', name);
  }

  #broken(expected: string, got: string): HadalError {
    return this.#refused('pickle-broken', expected, got);
  }

  #refused(code: string, expected: string, got: string): HadalError {
    return new HadalError(code, {
      what: `${this.#name}, the pickle at byte ${this.#opcodeAt}`,
      expected,
      got,
      next: 'do not let Python read it; take safetensors or GGUF files instead',
    });
  }
}

/** One for all texts: a hostile file has hundreds of thousands. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function text(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

function isEmptyShape(value: Value | undefined): boolean {
  return (
    value?.kind === 'tuple' &&
    value.items.every((item) => item.kind === 'number' && Number(item.number) === 0)
  );
}

function wordsOf(value: Value): string {
  if (value.kind === 'global') return quoted(`${value.module}.${value.name}`);
  if (value.kind === 'made') return `what ${value.of} made`;
  return `a ${value.kind}`;
}

/** A quoted literal of protocol 0; one with escapes has no text that could be a name. */
function literal(line: string): string | undefined {
  const inner = /^(['"])(.*)\1$/s.exec(line)?.[2];
  return inner === undefined || inner.includes('\\') ? undefined : inner;
}

function longOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  const negative = bytes.length > 0 && bytes[bytes.length - 1]! >= 128;
  return negative ? value - (1n << BigInt(8 * bytes.length)) : value;
}

const STOP = 0x2e;
const PROTO = 0x80;
/** Longer whole numbers than this are no sizes. */
const MOST_LONG_BYTES = 64;

type Step = (reader: PickleReader) => void;
type Length = (reader: PickleReader) => number;

const pushText =
  (length: Length): Step =>
  (reader) => {
    reader.push({ kind: 'text', text: text(reader.take(length(reader))) });
  };
const pushBytes =
  (length: Length): Step =>
  (reader) => {
    reader.take(length(reader));
    reader.push(PLAIN);
  };
const pushNumber =
  (number: Length): Step =>
  (reader) => {
    reader.push({ kind: 'number', number: number(reader) });
  };
const pushTuple =
  (count: number): Step =>
  (reader) => {
    reader.tuple(Array.from({ length: count }, () => reader.pop()).reverse());
  };
const long =
  (length: Length): Step =>
  (reader) => {
    const bytes = length(reader);
    if (bytes > MOST_LONG_BYTES || bytes < 0)
      throw reader.broken('numbers that are sizes', `one of ${bytes} bytes`);
    reader.push({ kind: 'number', number: longOf(reader.take(bytes)) });
  };

/** What each allowed opcode does, by its byte. */
const STEPS: Readonly<Record<number, Step>> = byByte({
  '(': (reader) => reader.push(MARK),
  '0': (reader) => void reader.pop(),
  '1': (reader) => void reader.popMark(),
  '2': (reader) => reader.push(reader.top()),
  F: (reader) => {
    reader.line();
    reader.push(PLAIN);
  },
  I: (reader) => {
    const line = reader.line();
    if (!/^-?\d{1,40}$/.test(line)) throw reader.broken('a whole number', quoted(line));
    reader.push(line === '00' || line === '01' ? PLAIN : { kind: 'number', number: BigInt(line) });
  },
  L: (reader) => {
    const line = reader.line().replace(/L$/, '');
    if (!/^-?\d{1,160}$/.test(line)) throw reader.broken('a whole number', quoted(line));
    reader.push({ kind: 'number', number: BigInt(line) });
  },
  J: pushNumber((reader) => reader.i32()),
  K: pushNumber((reader) => reader.u8()),
  M: pushNumber((reader) => reader.u16()),
  N: (reader) => reader.push(PLAIN),
  R: (reader) => reader.reduce(),
  S: (reader) => reader.push({ kind: 'text', text: literal(reader.line()) }),
  T: pushText((reader) => reader.u32()),
  U: pushText((reader) => reader.u8()),
  V: (reader) => {
    const line = reader.line();
    reader.push({ kind: 'text', text: line.includes('\\') ? undefined : line });
  },
  X: pushText((reader) => reader.u32()),
  '\u008c': pushText((reader) => reader.u8()),
  '\u008d': pushText((reader) => reader.u64()),
  B: pushBytes((reader) => reader.u32()),
  C: pushBytes((reader) => reader.u8()),
  '\u008e': pushBytes((reader) => reader.u64()),
  '\u0096': pushBytes((reader) => reader.u64()),
  G: (reader) => {
    reader.take(8);
    reader.push(PLAIN);
  },
  Q: (reader) => reader.persistent(),
  a: (reader) => {
    reader.pop();
    reader.append();
  },
  e: (reader) => {
    reader.popMark();
    reader.append();
  },
  b: (reader) => reader.build(),
  c: (reader) => {
    const module = reader.line();
    reader.global(module, reader.line());
  },
  '\u0093': (reader) => reader.stackGlobal(),
  d: (reader) => {
    const items = reader.popMark();
    reader.push({ kind: 'dict' });
    reader.setItems(items);
  },
  '}': (reader) => reader.push({ kind: 'dict' }),
  s: (reader) => {
    const value = reader.pop();
    reader.setItems([reader.pop(), value]);
  },
  u: (reader) => {
    reader.setItems(reader.popMark());
  },
  g: (reader) => reader.recall(indexOf(reader)),
  h: (reader) => reader.recall(reader.u8()),
  j: (reader) => reader.recall(reader.u32()),
  p: (reader) => reader.memoize(indexOf(reader)),
  q: (reader) => reader.memoize(reader.u8()),
  r: (reader) => reader.memoize(reader.u32()),
  '\u0094': (reader) => reader.memoize(reader.memoSize()),
  l: (reader) => {
    reader.popMark();
    reader.push(LIST);
  },
  ']': (reader) => reader.push(LIST),
  t: (reader) => reader.tuple(reader.popMark()),
  ')': (reader) => reader.push(EMPTY_TUPLE),
  '\u0085': pushTuple(1),
  '\u0086': pushTuple(2),
  '\u0087': pushTuple(3),
  '\u0080': (reader) => reader.protocol(reader.u8()),
  '\u0088': (reader) => reader.push(PLAIN),
  '\u0089': (reader) => reader.push(PLAIN),
  '\u008a': long((reader) => reader.u8()),
  '\u008b': long((reader) => reader.i32()),
  '\u008f': (reader) => reader.push(SET),
  '\u0090': (reader) => {
    reader.popMark();
    reader.addItems();
  },
  '\u0091': (reader) => {
    reader.popMark();
    reader.push(PLAIN);
  },
  '\u0095': (reader) => reader.frame(reader.u64()),
});

/** Opcodes that are known, and that no weights need. */
const REFUSED: Readonly<Record<number, string>> = byByte({
  P: 'PERSID',
  i: 'INST, which makes an instance of any class',
  o: 'OBJ, which makes an instance of any class',
  '\u0081': 'NEWOBJ, which makes an instance of any class',
  '\u0082': 'EXT1, a name out of a registry',
  '\u0083': 'EXT2, a name out of a registry',
  '\u0084': 'EXT4, a name out of a registry',
  '\u0092': 'NEWOBJ_EX, which makes an instance of any class',
  '\u0097': 'NEXT_BUFFER',
  '\u0098': 'READONLY_BUFFER',
});

function byByte<T>(table: Readonly<Record<string, T>>): Record<number, T> {
  return Object.fromEntries(Object.entries(table).map(([byte, value]) => [byte.charCodeAt(0), value]));
}

function indexOf(reader: PickleReader): number {
  const line = reader.line();
  if (!/^\d{1,10}$/.test(line)) throw reader.broken('the number of a memo', quoted(line));
  return Number(line);
}
