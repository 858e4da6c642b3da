/**
 * Owns: taking one member out of a compressed tar archive (an npm package), strictly.
 * Refuses to know: what the member is, where the archive came from.
 *
 * Source: POSIX.1-1988 ustar, and the base-256 numbers of GNU tar for sizes of 8 GB and more.
 */
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { createGunzip } from 'node:zlib';
import { HadalError } from '../error.ts';

const BLOCK = 512;

/** A member whose bytes are handed out as they come. */
export interface TarMember {
  readonly name: string;
  readonly bytes: number;
}

/**
 * Goes through an archive from its beginning and hands on the bytes of the first regular member that is `wanted`.
 *
 * @returns that member, or undefined when there is none
 * @throws HadalError `archive-broken`
 * @example await tarMember('pkg.tgz', ({ name }) => name.endsWith('.gguf'), (chunk) => file.write(chunk));
 */
export async function tarMember(
  path: string,
  wanted: (member: TarMember) => boolean,
  onChunk: (chunk: Buffer, member: TarMember) => Promise<void>,
): Promise<TarMember | undefined> {
  const archive = basename(path);
  const raw = createReadStream(path, { highWaterMark: 1 << 18 });
  const stream = raw.pipe(createGunzip({ chunkSize: 1 << 18 }));
  raw.on('error', (error) => stream.destroy(error));
  let header = Buffer.alloc(0);
  let member: TarMember | undefined;
  let taking = false;
  let left = 0;
  let padding = 0;
  try {
    for await (const piece of stream) {
      let chunk = piece as Buffer;
      while (chunk.length > 0) {
        if (left > 0) {
          const part = chunk.subarray(0, left);
          if (taking && member) await onChunk(part, member);
          left -= part.length;
          chunk = chunk.subarray(part.length);
          if (left === 0 && taking) return member;
        } else if (padding > 0) {
          const skipped = Math.min(padding, chunk.length);
          padding -= skipped;
          chunk = chunk.subarray(skipped);
        } else {
          const part = chunk.subarray(0, BLOCK - header.length);
          header = Buffer.concat([header, part]);
          chunk = chunk.subarray(part.length);
          if (header.length < BLOCK) continue;
          if (header.every((byte) => byte === 0)) return undefined;
          member = parseHeader(header, archive);
          taking = /[0\0]/.test(String.fromCharCode(header[156] ?? 0)) && wanted(member);
          left = member.bytes;
          padding = (BLOCK - (left % BLOCK)) % BLOCK;
          header = Buffer.alloc(0);
          if (taking && left === 0) return member;
        }
      }
    }
  } catch (error) {
    if (error instanceof HadalError || (error instanceof Error && 'syscall' in error)) throw error;
    throw broken(archive, 'a compressed tar archive', error instanceof Error ? error.message : String(error));
  } finally {
    raw.destroy();
    stream.destroy();
  }
  if (left > 0) throw broken(archive, `${left} more bytes`, 'its end');
  return undefined;
}

function parseHeader(header: Buffer, archive: string): TarMember {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i] ?? 0;
  const stated = Number.parseInt(text(header, 148, 8), 8);
  if (stated !== sum) throw broken(archive, `a header with the sum ${sum}`, `${stated}`);
  const prefix = text(header, 257, 5) === 'ustar' ? text(header, 345, 155) : '';
  const name = text(header, 0, 100);
  const bytes =
    (header[124] ?? 0) >= 128
      ? Number(header.readBigUInt64BE(128))
      : Number.parseInt(text(header, 124, 12) || '0', 8);
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw broken(archive, `the length of ${name}`, `${bytes}`);
  return { name: prefix === '' ? name : `${prefix}/${name}`, bytes };
}

function text(header: Buffer, at: number, length: number): string {
  const field = header.toString('latin1', at, at + length);
  const end = field.indexOf('\0');
  return (end < 0 ? field : field.slice(0, end)).trim();
}

function broken(archive: string, expected: string, got: string): HadalError {
  return new HadalError('archive-broken', { what: archive, expected, got, next: 'fetch it again' });
}
