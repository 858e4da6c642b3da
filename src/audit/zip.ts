/**
 * Owns: reading zip archives strictly: one reading of a file only, or none. Zip64 included, as PyTorch writes it.
 * Refuses to know: what is in the entries.
 *
 * Readers differ in what they make of an archive that contradicts itself, and an archive can be made so that a scanner sees
 * other entries than the program that loads it. So here the entries have to fill the file from its first byte to the
 * directory without gap or overlap, and every fact that is written twice has to be the same twice.
 *
 * Source: APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16, 4.4.4 and 4.5.3.
 */
import { crc32, createInflateRaw } from 'node:zlib';
import { HadalError } from '../error.ts';
import type { ByteSource } from '../formats/tensor-info.ts';
import { quoted } from './finding.ts';

/** One entry of an archive; its data are the bytes [start, start + packedBytes) of the file. */
export interface ZipEntry {
  readonly name: string;
  /** 0 stored, 8 deflated. */
  readonly method: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly crc: number;
  readonly start: number;
}

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const DESCRIPTOR = 0x08074b50;
const LOCAL_BYTES = 30;
const CENTRAL_BYTES = 46;
const END_BYTES = 22;
const END64_BYTES = 56;
const LOCATOR64_BYTES = 20;
const ALL_16 = 0xffff;
const ALL_32 = 0xffffffff;

/** More than any checkpoint has. */
const MOST_ENTRIES = 100_000;
const MOST_DIRECTORY_BYTES = 32 << 20;
const MOST_NAME_BYTES = 1024;
/** Arrays of zeros are packed a thousand to one, and so are archives that are made to fill a disk. */
const MOST_RATIO = 200;
const MOST_UNPACKED_BYTES = 1 << 30;
/** Bits that change nothing of how an entry is read: how well it was deflated, a descriptor behind it, UTF-8. */
const KNOWN_FLAGS = 0b110 | (1 << 3) | (1 << 11);
const CHUNK_BYTES = 1 << 20;

/**
 * The entries of an archive, in the order in which they lie in it. Their data are not read.
 *
 * @throws HadalError `zip-broken` where anything contradicts anything, `zip-limits`, `zip-path` for a name that leads
 *   elsewhere or comes twice, and the source's own.
 * @example (await readZip(source)).map(({ name }) => name)
 */
export async function readZip(source: ByteSource): Promise<readonly ZipEntry[]> {
  const { start, bytes, count } = await readEnd(source);
  const directory = await view(source, start, bytes);
  const heads: CentralHead[] = [];
  const names = new Set<string>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const head = centralHead(source, directory, at);
    const key = head.name.normalize('NFC').toLowerCase();
    if (names.has(key)) throw path(source, head.name, 'every name once', 'it twice');
    names.add(key);
    heads.push(head);
    at = head.next;
  }
  if (at !== bytes)
    throw broken(source, 'the directory', `${count} entries in ${bytes} bytes`, `${at} bytes`);
  heads.sort((a, b) => a.offset - b.offset);
  const entries: ZipEntry[] = [];
  let unpacked = 0;
  let end = 0;
  for (const head of heads) {
    if (head.offset !== end) {
      const got = head.offset < end ? 'bytes of another entry too' : 'bytes before it that belong to none';
      throw broken(source, quoted(head.name), `it from byte ${end} on, where the last entry ended`, got);
    }
    const { entry, next } = await localEntry(source, head, start);
    entries.push(entry);
    unpacked += entry.method === 0 ? 0 : entry.bytes;
    end = next;
  }
  if (end !== start) throw broken(source, 'the directory', `it at byte ${end}`, `it at byte ${start}`);
  if (unpacked > MOST_UNPACKED_BYTES) {
    throw limits(source, 'its entries', `at most ${MOST_UNPACKED_BYTES} bytes unpacked`, `${unpacked}`);
  }
  return entries;
}

/**
 * The bytes of an entry in pieces, checked against its length and CRC when the last has come.
 *
 * @throws HadalError `zip-broken` where they are other bytes than the archive says.
 * @example for await (const piece of entryBytes(source, entry)) hash.update(piece);
 */
export async function* entryBytes(source: ByteSource, entry: ZipEntry): AsyncGenerator<Uint8Array> {
  let crc = 0;
  let bytes = 0;
  const what = quoted(entry.name);
  try {
    for await (const piece of entry.method === 0 ? packed(source, entry) : inflated(source, entry)) {
      bytes += piece.length;
      if (bytes > entry.bytes) throw broken(source, what, `${entry.bytes} bytes`, 'more');
      crc = crc32(piece, crc);
      yield piece;
    }
  } catch (error) {
    if (error instanceof HadalError) throw error;
    throw broken(
      source,
      what,
      'data that can be unpacked',
      error instanceof Error ? error.message : 'others',
    );
  }
  if (bytes !== entry.bytes) throw broken(source, what, `${entry.bytes} bytes`, `${bytes}`);
  if (crc !== entry.crc) throw broken(source, what, `the CRC ${hex(entry.crc)}`, `data of ${hex(crc)}`);
}

async function* packed(source: ByteSource, { start, packedBytes }: ZipEntry): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < packedBytes; at += CHUNK_BYTES) {
    yield await source.read(start + at, Math.min(CHUNK_BYTES, packedBytes - at));
  }
}

async function* inflated(source: ByteSource, entry: ZipEntry): AsyncGenerator<Uint8Array> {
  const stream = createInflateRaw({ chunkSize: 1 << 18 });
  const feed = async () => {
    for await (const piece of packed(source, entry)) {
      if (!stream.write(piece)) await new Promise((resolve) => stream.once('drain', resolve));
    }
    stream.end();
  };
  const feeding = feed().catch((error: Error) => stream.destroy(error));
  try {
    for await (const piece of stream) yield piece as Uint8Array;
    // A stream that ended earlier than its bytes hides the rest.
    if (stream.bytesWritten !== entry.packedBytes) {
      throw broken(source, quoted(entry.name), `${entry.packedBytes} packed bytes`, `${stream.bytesWritten}`);
    }
  } finally {
    stream.destroy();
    await feeding;
  }
}

interface Directory {
  readonly start: number;
  readonly bytes: number;
  readonly count: number;
}

/** The end record is the last thing in the file: with a comment behind it there could be two. */
async function readEnd(source: ByteSource): Promise<Directory> {
  const end = source.size - END_BYTES;
  const at = 'its end record';
  if (end < 0) throw broken(source, at, `${END_BYTES} bytes`, `a file of ${source.size}`);
  const record = await view(source, end, END_BYTES);
  if (record.getUint32(0, true) !== END || record.getUint16(20, true) !== 0) {
    throw broken(source, at, 'it as the last 22 bytes, without a comment', 'others');
  }
  const disks = [record.getUint16(4, true), record.getUint16(6, true)];
  const count = record.getUint16(10, true);
  const bytes = record.getUint32(12, true);
  const start = record.getUint32(16, true);
  if (disks.some((disk) => disk !== 0) || record.getUint16(8, true) !== count) {
    throw broken(source, at, 'an archive in one part', 'one of several');
  }
  const long = await readEnd64(source, end);
  if (long === undefined) {
    if (count === ALL_16 || bytes === ALL_32 || start === ALL_32) {
      throw broken(source, at, 'a Zip64 record for what does not fit', 'none');
    }
    return checkedEnd(source, { start, bytes, count }, end);
  }
  const agrees = (short: number, all: number, full: number) => short === all || short === full;
  if (
    !agrees(count, ALL_16, long.count) ||
    !agrees(bytes, ALL_32, long.bytes) ||
    !agrees(start, ALL_32, long.start)
  ) {
    throw broken(source, at, 'the same numbers as in its Zip64 record', 'others');
  }
  return checkedEnd(source, long, end - LOCATOR64_BYTES - END64_BYTES);
}

function checkedEnd(source: ByteSource, directory: Directory, end: number): Directory {
  const { start, bytes, count } = directory;
  if (start + bytes !== end)
    throw broken(source, 'the directory', `its end at byte ${end}`, `${start + bytes}`);
  if (bytes > MOST_DIRECTORY_BYTES || count > MOST_ENTRIES) {
    throw limits(source, 'the directory', `at most ${MOST_ENTRIES} entries`, `${count} in ${bytes} bytes`);
  }
  return directory;
}

async function readEnd64(source: ByteSource, end: number): Promise<Directory | undefined> {
  if (end < LOCATOR64_BYTES) return undefined;
  const locator = await view(source, end - LOCATOR64_BYTES, LOCATOR64_BYTES);
  if (locator.getUint32(0, true) !== LOCATOR64) return undefined;
  const at = end - LOCATOR64_BYTES - END64_BYTES;
  const what = 'its Zip64 end record';
  if (
    at < 0 ||
    long(source, locator, 8) !== at ||
    locator.getUint32(4, true) !== 0 ||
    locator.getUint32(16, true) !== 1
  ) {
    throw broken(source, what, 'it right before its locator', 'it elsewhere');
  }
  const record = await view(source, at, END64_BYTES);
  if (record.getUint32(0, true) !== END64 || long(source, record, 4) !== END64_BYTES - 12) {
    throw broken(source, what, `a record of ${END64_BYTES} bytes`, 'another');
  }
  const count = long(source, record, 32);
  if (
    record.getUint32(16, true) !== 0 ||
    record.getUint32(20, true) !== 0 ||
    long(source, record, 24) !== count
  ) {
    throw broken(source, what, 'an archive in one part', 'one of several');
  }
  return { count, bytes: long(source, record, 40), start: long(source, record, 48) };
}

interface CentralHead {
  readonly name: string;
  readonly rawName: Uint8Array;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly offset: number;
  /** Where the next one begins in the directory. */
  readonly next: number;
}

function centralHead(source: ByteSource, directory: DataView, at: number): CentralHead {
  const u16 = (offset: number) => directory.getUint16(at + offset, true);
  const u32 = (offset: number) => directory.getUint32(at + offset, true);
  const what = `the entry at byte ${at} of the directory`;
  if (at + CENTRAL_BYTES > directory.byteLength || u32(0) !== CENTRAL) {
    throw broken(source, what, 'an entry', 'other bytes');
  }
  const nameBytes = u16(28);
  const extraBytes = u16(30);
  const next = at + CENTRAL_BYTES + nameBytes + extraBytes;
  if (u16(32) !== 0 || u16(34) !== 0) throw broken(source, what, 'no comment, and one part', 'others');
  if (next > directory.byteLength) throw broken(source, what, 'it inside of the directory', 'more');
  const rawName = bytesOf(directory, at + CENTRAL_BYTES, nameBytes);
  const name = plainName(source, rawName);
  const flags = u16(8);
  const method = u16(10);
  if ((flags & ~KNOWN_FLAGS) !== 0) {
    throw broken(source, quoted(name), 'an entry in the clear', `flags of ${flags.toString(2)}`);
  }
  if (method !== 0 && method !== 8) {
    throw broken(source, quoted(name), 'it stored or deflated', `compression method ${method}`);
  }
  // The upper half is a mode of Unix where the first byte of the writer's version says so; 12 is a link.
  if (directory.getUint8(at + 5) === 3 && u32(38) >>> 28 === 0xa) {
    throw path(source, name, 'a file', 'a link');
  }
  const extra = extraField(source, directory, next - extraBytes, extraBytes, name);
  const wide = [u32(24), u32(20), u32(42)];
  const [bytes, packedBytes, offset] = widened(source, wide, extra, name) as [number, number, number];
  checkLengths(source, name, method, packedBytes, bytes);
  return { name, rawName, flags, method, crc: u32(16), packedBytes, bytes, offset, next };
}

function checkLengths(
  source: ByteSource,
  name: string,
  method: number,
  packedBytes: number,
  bytes: number,
): void {
  if (method === 0 && packedBytes !== bytes) {
    throw broken(source, quoted(name), `${bytes} stored bytes`, `${packedBytes}`);
  }
  if (name.endsWith('/') && bytes !== 0) throw path(source, name, 'a folder without data', `${bytes} bytes`);
  if (bytes > 4096 && bytes > packedBytes * MOST_RATIO) {
    throw limits(
      source,
      quoted(name),
      `at most ${MOST_RATIO} times its packed ${packedBytes} bytes`,
      `${bytes}`,
    );
  }
}

async function localEntry(
  source: ByteSource,
  head: CentralHead,
  limit: number,
): Promise<{ entry: ZipEntry; next: number }> {
  const { name, rawName, flags, method, crc, packedBytes, bytes, offset } = head;
  const what = quoted(name);
  const fixed = await view(source, offset, LOCAL_BYTES);
  const u16 = (at: number) => fixed.getUint16(at, true);
  if (fixed.getUint32(0, true) !== LOCAL)
    throw broken(source, what, 'a header before its data', 'other bytes');
  const extraBytes = u16(28);
  const rest = await view(source, offset + LOCAL_BYTES, u16(26) + extraBytes);
  const sameName =
    u16(26) === rawName.length && bytesOf(rest, 0, u16(26)).every((byte, i) => byte === rawName[i]);
  if (!sameName || u16(6) !== flags || u16(8) !== method) {
    throw broken(
      source,
      what,
      'the same name, flags and method in the directory and before its data',
      'others',
    );
  }
  const extra = extraField(source, rest, u16(26), extraBytes, name);
  const short = [fixed.getUint32(22, true), fixed.getUint32(18, true)];
  const [localBytes, localPacked] = widened(source, short, extra, name) as [number, number];
  const later = (flags & 8) !== 0;
  const local = [fixed.getUint32(14, true), localPacked, localBytes];
  const said = [crc, packedBytes, bytes];
  const empty = later && local.every((value) => value === 0);
  if (!empty && local.some((value, i) => value !== said[i])) {
    throw broken(source, what, 'the same CRC and lengths in the directory and before its data', 'others');
  }
  const start = offset + LOCAL_BYTES + u16(26) + extraBytes;
  const end = start + packedBytes;
  if (end > limit) throw broken(source, what, `its data before byte ${limit}`, `an end at ${end}`);
  const next = later ? await afterDescriptor(source, end, limit, head) : end;
  return { entry: { name, method, packedBytes, bytes, crc, start }, next };
}

/** Behind the data: a signature, the CRC and both lengths, in 32 or 64 bits. */
async function afterDescriptor(
  source: ByteSource,
  at: number,
  limit: number,
  head: CentralHead,
): Promise<number> {
  const most = await view(source, at, Math.min(24, limit - at));
  const { crc, packedBytes, bytes } = head;
  if (most.byteLength >= 16 && most.getUint32(0, true) === DESCRIPTOR && most.getUint32(4, true) === crc) {
    if (most.byteLength >= 24 && safe(most, 8) === packedBytes && safe(most, 16) === bytes) return at + 24;
    if (most.getUint32(8, true) === packedBytes && most.getUint32(12, true) === bytes) return at + 16;
  }
  throw broken(source, quoted(head.name), 'the same CRC and lengths behind its data', 'others');
}

/** The 64-bit numbers of an entry's extra field, by the only header that matters here. */
function extraField(
  source: ByteSource,
  data: DataView,
  start: number,
  length: number,
  name: string,
): number[] {
  let found: number[] | undefined;
  let at = start;
  const end = start + length;
  while (at < end) {
    if (at + 4 > end) throw broken(source, quoted(name), 'whole extra fields', 'a cut one');
    const id = data.getUint16(at, true);
    const bytes = data.getUint16(at + 2, true);
    if (at + 4 + bytes > end) throw broken(source, quoted(name), 'whole extra fields', 'a cut one');
    if (id === 1) {
      if (found !== undefined || bytes % 8 !== 0 || bytes > 24) {
        throw broken(source, quoted(name), 'one Zip64 field', 'another');
      }
      found = Array.from({ length: bytes / 8 }, (_, i) => long(source, data, at + 4 + 8 * i));
    } else if (id === 0x7075) {
      throw path(source, name, 'one name', 'a second one in an extra field');
    }
    at += 4 + bytes;
  }
  return found ?? [];
}

/** Numbers that do not fit in 32 bits come from the extra field, in order; nothing may be left over. */
function widened(
  source: ByteSource,
  short: readonly number[],
  extra: readonly number[],
  name: string,
): number[] {
  const rest = [...extra];
  const wide = short.map((value) => {
    if (value !== ALL_32) return value;
    const next = rest.shift();
    if (next === undefined) throw broken(source, quoted(name), 'a Zip64 field for its lengths', 'none');
    return next;
  });
  // Some writers repeat the lengths there although they fit.
  if (rest.length > 0 && !rest.every((value, i) => value === short[i])) {
    throw broken(source, quoted(name), 'no other lengths in its Zip64 field', 'others');
  }
  return wide;
}

function plainName(source: ByteSource, raw: Uint8Array): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
  } catch {
    throw path(source, new TextDecoder('latin1').decode(raw), 'a name in UTF-8', 'other bytes');
  }
  const parts = name.replace(/\/$/, '').split('/');
  const bad = parts.some((part) => part === '' || part === '.' || part === '..' || /[. ]$/.test(part));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: names with these are what is looked for
  if (bad || raw.length > MOST_NAME_BYTES || /[\u0000-\u001f\u007f\\:*?"<>|]/.test(name)) {
    throw path(source, name, 'a plain path inside of the archive', 'another');
  }
  return name;
}

async function view(source: ByteSource, offset: number, length: number): Promise<DataView> {
  const bytes = await source.read(offset, length);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(data: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset + at, length);
}

function safe(data: DataView, at: number): number {
  return Number(data.getBigUint64(at, true));
}

function long(source: ByteSource, data: DataView, at: number): number {
  const value = safe(data, at);
  if (!Number.isSafeInteger(value)) throw broken(source, 'a length', 'a possible one', `${value}`);
  return value;
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}

function broken(source: ByteSource, what: string, expected: string, got: string): HadalError {
  return problem('zip-broken', source, what, expected, got);
}

function limits(source: ByteSource, what: string, expected: string, got: string): HadalError {
  return problem('zip-limits', source, what, expected, got);
}

function path(source: ByteSource, name: string, expected: string, got: string): HadalError {
  return problem('zip-path', source, quoted(name), expected, got);
}

function problem(code: string, source: ByteSource, what: string, expected: string, got: string): HadalError {
  return new HadalError(code, {
    what: `${source.name}, ${what}`,
    expected,
    got,
    next: 'the archive is damaged or was made to mislead: fetch it again from a source you trust',
  });
}
