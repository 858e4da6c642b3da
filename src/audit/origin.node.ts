/**
 * Owns: holding files against what their publisher says of them: lists of digests, a hub's names of blobs, signatures.
 * Refuses to know: how signatures are read, what is in the files.
 */
import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { HadalError } from '../error.ts';
import { openFile } from '../formats/byte-source.node.ts';
import { readFolderText } from '../formats/open.node.ts';
import type { ByteSource } from '../formats/tensor-info.ts';
import { readCatalogue } from '../hub/catalogue.ts';
import { blobDigest } from '../hub/digest.node.ts';
import type { AuditedFile } from './audit.node.ts';
import { digestOfSource } from './digests.ts';
import { isPickleName } from './file-kind.ts';
import { type Finding, quoted } from './finding.ts';
import {
  type ModelSignature,
  readSignature,
  type SignedPart,
  type Trust,
  verifySignature,
} from './signature.ts';

/** What a signature is called where nothing else is said. */
export const SIGNATURE_NAME = 'model.sig';

/** A signature beside a model. */
export interface GivenSignature {
  readonly signature: ModelSignature;
  /** Its own place, which it cannot list. */
  readonly path: string;
}

/**
 * Findings about digests that the publisher gives.
 *
 * @param whole whether all files of a folder were looked at, so that what is missing is missing
 * @example digestFindings(files, readDigests(text, 'SHA256SUMS'), true)
 */
export function digestFindings(
  files: readonly AuditedFile[],
  listed: ReadonlyMap<string, string>,
  whole: boolean,
): Finding[] {
  const found: Finding[] = [];
  const seen = new Set<string>();
  for (const { name, sha256, kind } of files) {
    const path = name.split(sep).join('/');
    const key = listed.has(path)
      ? path
      : whole
        ? undefined
        : [...listed.keys()].find((one) => basename(one) === path);
    if (key !== undefined) seen.add(key);
    const wanted = key === undefined ? undefined : listed.get(key);
    if (wanted === sha256) continue;
    const model = kind === 'gguf' || kind === 'safetensors' || isPickleName(name);
    if (wanted !== undefined) {
      const says = `its SHA-256 is ${sha256}, and its publisher gives ${wanted}`;
      found.push({ level: 'refuse', code: 'digest-differs', where: name, says });
    } else if (model) {
      const says = 'the list of digests does not name it';
      found.push({ level: 'refuse', code: 'digest-unlisted', where: name, says });
    }
  }
  if (whole) {
    for (const name of listed.keys()) {
      if (seen.has(name)) continue;
      found.push({
        level: 'look',
        code: 'digest-missing',
        where: name,
        says: 'the list of digests names it, and it is not there',
      });
    }
  }
  if (found.length === 0) {
    found.push({
      level: 'note',
      code: 'digest-same',
      where: '.',
      says: `${seen.size} files have the digests that their publisher gives`,
    });
  }
  return found;
}

/**
 * Findings about what the catalogue, and a hub's cache, know of files. The cache names large blobs by their SHA-256, small ones
 * by git's digest of a blob.
 *
 * @param folder that the files' names are relative to
 * @example await hubFindings('/home/me/.cache/huggingface/hub/models--a--b/snapshots/0f3c…', files)
 */
export async function hubFindings(folder: string, files: readonly AuditedFile[]): Promise<Finding[]> {
  const found: Finding[] = [];
  let same = 0;
  for (const { name, bytes, sha256 } of files) {
    const target = await realpath(join(folder, name));
    const wanted = basename(dirname(target)) === 'blobs' ? (BLOB.exec(basename(target))?.[0] ?? '') : '';
    if (wanted !== '') {
      const large = wanted.length === 64;
      const is = large ? sha256 : await blobDigest(target);
      if (is === wanted) same++;
      else {
        const says = `its ${large ? 'SHA-256' : 'digest as a blob of git'} is ${is}, and the hub gives ${wanted}`;
        found.push({ level: 'refuse', code: 'digest-differs', where: name, says });
      }
    }
    const known = readCatalogue().find((model) => model.file === name && model.bytes === bytes);
    if (known === undefined) continue;
    found.push(
      known.sha256 === sha256
        ? { level: 'note', code: 'digest-same', where: name, says: `it is ${known.title}, as published` }
        : {
            level: 'refuse',
            code: 'digest-differs',
            where: name,
            says: `it has the name and the length of ${known.title}, and another SHA-256 (${sha256})`,
          },
    );
  }
  if (same > 0) {
    const says = `${same} of ${files.length} files have the digests by which their hub names them`;
    found.push({ level: 'note', code: 'digest-same', where: '.', says });
  }
  return found;
}

/** How a hub's cache names blobs. */
const BLOB = /^(?:[0-9a-f]{64}|[0-9a-f]{40})$/;

/**
 * Findings about a signature: who made it, and whether the folder holds what it lists and nothing else.
 *
 * @param folder the root of the signed model
 * @param names its files, relative to it
 * @param open files that are open already, by their whole paths: these are digested as they are open
 * @param trust whom to trust; without anybody the signature is told of, and its files are still held against it
 * @example await signatureFindings(folder, names, { signature, path }, trust, Date.now())
 */
export async function signatureFindings(
  folder: string,
  names: readonly string[],
  { signature, path }: GivenSignature,
  trust: Trust,
  now: number,
  open: ReadonlyMap<string, ByteSource> = new Map(),
): Promise<Finding[]> {
  const where = basename(path);
  const told: Finding[] = [];
  if (trust.keys.length + trust.certificates.length === 0) {
    const says = `it is signed by a ${signature.method === 'sigstore' ? 'keyless signature' : signature.method}, and nobody is trusted: give --trust`;
    told.push({ level: 'look', code: 'signature-untrusted', where, says });
  } else {
    try {
      const says = `it is signed by ${verifySignature(signature, trust, now)}, who is trusted`;
      told.push({ level: 'note', code: 'signature-true', where, says });
    } catch (error) {
      if (!(error instanceof HadalError)) throw error;
      return [{ level: 'refuse', code: error.code, where, says: error.message }];
    }
  }
  return [...told, ...(await contentFindings(folder, names, { signature, path }, open))];
}

/**
 * The signature of a folder where there is one, or why it cannot be read.
 *
 * @example await signatureBeside(folder, names)
 */
export async function signatureBeside(
  folder: string,
  names: readonly string[],
): Promise<GivenSignature | HadalError | undefined> {
  if (!names.includes(SIGNATURE_NAME)) return undefined;
  try {
    const text = await readFolderText(folder, SIGNATURE_NAME);
    return { signature: readSignature(text ?? '', SIGNATURE_NAME), path: join(folder, SIGNATURE_NAME) };
  } catch (error) {
    if (error instanceof HadalError) return error;
    throw error;
  }
}

async function contentFindings(
  folder: string,
  names: readonly string[],
  { signature, path }: GivenSignature,
  open: ReadonlyMap<string, ByteSource>,
): Promise<Finding[]> {
  const found: Finding[] = [];
  const refuse = (code: string, where: string, says: string) =>
    found.push({ level: 'refuse', code, where, says });
  const listed = new Map<string, SignedPart[]>();
  for (const part of signature.parts) {
    const parts = listed.get(part.path);
    if (parts === undefined) listed.set(part.path, [part]);
    else parts.push(part);
  }
  const present = new Set(names.map((name) => name.split(sep).join('/')));
  for (const name of present) {
    if (join(folder, name) === path || isIgnored(name, signature.ignored) || listed.has(name)) continue;
    refuse('signature-unlisted', name, 'the signature does not list it');
  }
  for (const [name, parts] of listed) {
    if (!present.has(name)) refuse('signature-missing', name, 'the signature lists it, and it is not there');
    else {
      const facts = await lstat(join(folder, name));
      if (facts.isSymbolicLink() && !signature.allowSymlinks) {
        refuse('signature-link', name, 'it is a link, and the signature allows none');
        continue;
      }
      try {
        if (!(await hasParts(join(folder, name), parts, open)))
          refuse('signature-differs', name, 'it is not what was signed');
      } catch (error) {
        if (!(error instanceof HadalError)) throw error;
        refuse(error.code, name, error.message);
      }
    }
  }
  return found;
}

/** Whether a file is all of its parts, one behind the other, and nothing else. */
async function hasParts(
  path: string,
  parts: readonly SignedPart[],
  open: ReadonlyMap<string, ByteSource>,
): Promise<boolean> {
  const held = open.get(resolve(path));
  const source = held ?? (await openFile(path));
  try {
    let end = 0;
    for (const { range, digest, algorithm } of parts.toSorted(
      (a, b) => (a.range?.start ?? 0) - (b.range?.start ?? 0),
    )) {
      if (algorithm === 'blake3') {
        throw new HadalError('signature-untrusted', {
          what: quoted(path),
          expected: 'a digest by SHA-256 or BLAKE2b',
          got: 'one by BLAKE3, which is not computed here',
          next: 'ask the publisher for a signature over SHA-256',
        });
      }
      if (range !== undefined && (range.start !== end || range.end > source.size)) return false;
      const options = { algorithm, ...(range === undefined ? {} : { range }) };
      if ((await digestOfSource(source, options)) !== digest) return false;
      end = range?.end ?? source.size;
    }
    return end === source.size;
  } finally {
    if (held === undefined) await source.close();
  }
}

function isIgnored(name: string, ignored: readonly string[]): boolean {
  return ignored.some((path) => name === path || name.startsWith(`${path}/`));
}
