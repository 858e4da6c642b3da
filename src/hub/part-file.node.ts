/**
 * Owns: a file on its way in: appended to, hashed as it grows, kept across runs, renamed only when it is whole.
 * Refuses to know: where the bytes come from.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { HadalError } from '../error.ts';

/** What the finished file must be. */
export interface Expectation {
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/**
 * The unfinished form of a file, `<path>.part`. What an earlier run left there is kept and continued.
 *
 * @example
 * const part = await PartFile.open(path, { bytes, sha256 });
 * for await (const chunk of body) await part.append(chunk);
 * await part.finish();
 */
export class PartFile {
  readonly #path: string;
  readonly #expected: Expectation;
  readonly #file: FileHandle;
  #hash: Hash;
  #bytes: number;

  private constructor(path: string, expected: Expectation, file: FileHandle, hash: Hash, bytes: number) {
    this.#path = path;
    this.#expected = expected;
    this.#file = file;
    this.#hash = hash;
    this.#bytes = bytes;
  }

  static async open(path: string, expected: Expectation): Promise<PartFile> {
    const partPath = `${path}.part`;
    const file = await open(partPath, 'a+', 0o644);
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of createReadStream(partPath, { highWaterMark: 1 << 20 })) {
      hash.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
    }
    const part = new PartFile(path, expected, file, hash, bytes);
    if (bytes > expected.bytes) await part.restart();
    return part;
  }

  /** Bytes held so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws HadalError `download-too-long`, before a byte too many is written. */
  async append(chunk: Uint8Array): Promise<void> {
    if (this.#bytes + chunk.length > this.#expected.bytes) {
      throw new HadalError('download-too-long', {
        what: basename(this.#path),
        expected: `${this.#expected.bytes} bytes`,
        got: 'more',
      });
    }
    let done = 0;
    while (done < chunk.length) done += (await this.#file.write(chunk, done)).bytesWritten;
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
  }

  /** Throws away what is there. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash('sha256');
    this.#bytes = 0;
  }

  /**
   * Checks size and digest, and gives the file its name. A wrong file is thrown away.
   *
   * @throws HadalError `download-incomplete` (what is there stays, to be continued) or `digest-mismatch`.
   */
  async finish(): Promise<void> {
    const { bytes, sha256 } = this.#expected;
    if (this.#bytes !== bytes) {
      throw new HadalError('download-incomplete', {
        what: basename(this.#path),
        expected: `${bytes} bytes`,
        got: `${this.#bytes}`,
      });
    }
    const digest = this.#hash.copy().digest('hex');
    if (digest !== sha256) {
      await this.restart();
      throw new HadalError('digest-mismatch', {
        what: basename(this.#path),
        expected: `SHA-256 ${sha256}`,
        got: digest,
      });
    }
    await this.#file.sync();
    await this.#file.close();
    await rename(`${this.#path}.part`, this.#path);
  }

  /** Closes the file; an empty part is removed. */
  async close(): Promise<void> {
    await this.#file.close().catch(() => undefined);
    if (this.#bytes === 0) await rm(`${this.#path}.part`, { force: true });
  }
}
