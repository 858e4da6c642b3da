/**
 * Owns: auditing a file or a folder: which parts of it are looked at by whom, and the report over all of them.
 * Refuses to know: how each format is judged, terminals.
 */
import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { HadalError } from '../error.ts';
import { openFile } from '../formats/byte-source.node.ts';
import { shardNames } from '../formats/gguf/shards.ts';
import { INDEX_NAME } from '../formats/hf-folder.ts';
import { closeModelFile, openModelFile, readFolderText, readTextFile } from '../formats/open.node.ts';
import type { ByteSource, MetaValue, ModelFile } from '../formats/tensor-info.ts';
import { describeModel } from '../model/load.ts';
import { tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import { digestOfSource } from './digests.ts';
import {
  type FileKind,
  isPickleName,
  KIND_WORDS,
  kindOf,
  kindsOfName,
  LOOKED_AT_BYTES,
} from './file-kind.ts';
import { type Finding, quoted, type Verdict, verdictOf } from './finding.ts';
import { MOST_TEMPLATE } from './jinja-tree.ts';
import { ADAPTER_CONFIG_JSON, saidOf, saidOfAdapter } from './lineage.ts';
import {
  digestFindings,
  type GivenSignature,
  hubFindings,
  SIGNATURE_NAME,
  signatureBeside,
  signatureFindings,
} from './origin.node.ts';
import { judgePickleFile } from './pickle-file.ts';
import type { Trust } from './signature.ts';
import { auditTemplate, type KnownTemplates, readKnownTemplates, templateDigest } from './template.ts';
import { holdsTemplates, templatesOf, templatesOfJson } from './templates-of.ts';

/** A file that was looked at. */
export interface AuditedFile {
  /** Relative to the audited folder; the name of a single file. */
  readonly name: string;
  readonly bytes: number;
  readonly kind: FileKind;
  readonly sha256: string;
}

/** A chat template that was looked at. */
export interface AuditedTemplate {
  readonly where: string;
  readonly sha256: string;
  /** The published template that it is. */
  readonly known: string | null;
}

/** What the model is, as far as Hadal knows it. */
export interface AuditedModel {
  readonly format: 'gguf' | 'safetensors';
  readonly architecture: string | null;
  readonly tensors: number;
  readonly numbers: number;
  /** Bytes of tensors in each number format. */
  readonly types: Readonly<Record<string, number>>;
}

/** What an audit found. */
export interface AuditReport {
  readonly path: string;
  readonly verdict: Verdict;
  readonly model: AuditedModel | null;
  readonly files: readonly AuditedFile[];
  readonly templates: readonly AuditedTemplate[];
  readonly findings: readonly Finding[];
  /** What the model says of itself, lists apart. */
  readonly metadata: ReadonlyMap<string, MetaValue>;
}

/** Options of {@link auditPath}. */
export interface AuditOptions {
  /** Judges files of pickles by what they would do, instead of refusing them all. */
  readonly allowPickle?: boolean;
  /** The publisher's digests of the files, by name. */
  readonly digests?: ReadonlyMap<string, string>;
  /** A signature; `model.sig` in a folder where there is one. */
  readonly signature?: GivenSignature;
  /** Whom to trust; nobody when absent. */
  readonly trust?: Trust;
  /** Bytes read for digests so far. */
  readonly onRead?: (bytes: number) => void;
}

/** What a file with the name of a pickle can be that is certainly none. */
const DISGUISES: ReadonlySet<FileKind> = new Set([
  'gguf',
  'safetensors',
  'numpy',
  'archive',
  'hdf5',
  'program',
  'pointer',
]);
/** What no model needs beside its weights. */
const FOREIGN: ReadonlySet<FileKind> = new Set(['program', 'unknown', 'archive', 'zip']);
/** The finding about a pickle that was judged. */
const HARMLESS = 'pickle-harmless';
/** No character takes more in UTF-8. */
const MOST_TEMPLATE_BYTES = MOST_TEMPLATE * 4;
/** More files than any model has. */
const MOST_FILES = 10_000;

/**
 * Audits a model file, or all files of a folder. Nothing of them is run or loaded.
 *
 * @throws HadalError `file-missing`, `file-unreadable`, `audit-files` for more files than any model has.
 * @example (await auditPath('./model.gguf')).verdict // 'load'
 */
export async function auditPath(path: string, options: AuditOptions = {}): Promise<AuditReport> {
  const facts = await stat(path).catch(() => undefined);
  const auditor = new Auditor(readKnownTemplates(), options);
  if (facts?.isDirectory()) await auditor.folder(path);
  else await auditor.single(path);
  return auditor.report(path);
}

class Auditor {
  readonly #known: KnownTemplates;
  readonly #options: AuditOptions;
  readonly #findings: Finding[] = [];
  readonly #files: AuditedFile[] = [];
  readonly #templates: AuditedTemplate[] = [];
  #model: AuditedModel | null = null;
  readonly #metadata = new Map<string, MetaValue>();
  #readBytes = 0;

  constructor(known: KnownTemplates, options: AuditOptions) {
    this.#known = known;
    this.#options = options;
  }

  async single(path: string): Promise<void> {
    const name = basename(path);
    const kind = await this.#file(path, name);
    const names = [name];
    // The other shards are opened with this one; that one is missing is found when they are.
    for (const shard of kind === 'gguf' ? (shardNames(path) ?? []) : []) {
      const other = basename(shard);
      if (other === name || !(await stat(shard).catch(() => undefined))) continue;
      await this.#file(shard, other);
      names.push(other);
    }
    await this.#origin(dirname(path), names, false);
    if (kind === 'gguf' || kind === 'safetensors') await this.#open(path, name);
    else if (kind !== undefined && holdsTemplates(name) !== undefined) await this.#templatesIn(path, name);
    // What is refused, or was judged as a pickle, needs no other word for what it is.
    else if (
      kind !== undefined &&
      !this.#findings.some(({ level, code }) => level === 'refuse' || code === HARMLESS)
    )
      this.#tell('look', 'file-no-model', name, `it is ${KIND_WORDS[kind]}, and no model`);
  }

  async folder(folder: string): Promise<void> {
    const names = await this.#names(folder);
    const kinds = new Map<string, FileKind>();
    for (const name of names) {
      const kind = await this.#file(join(folder, name), name);
      if (kind === undefined) continue;
      kinds.set(name, kind);
      await this.#templatesIn(join(folder, name), name);
    }
    await this.#origin(folder, names, true);
    if (kinds.has(ADAPTER_CONFIG_JSON)) await this.#adapter(folder);
    for (const name of names) {
      if (kinds.get(name) === 'gguf') await this.#open(join(folder, name), name);
      else if (/\.py$/i.test(name)) {
        this.#tell(
          'note',
          'file-code',
          name,
          'it is Python code, which Hadal never runs; other programs may',
        );
      }
    }
    const safetensors = names.filter((name) => kinds.get(name) === 'safetensors');
    const top = safetensors.filter((name) => !name.includes(sep));
    if (top.length > 0 || names.includes(INDEX_NAME)) await this.#open(folder, '.');
    for (const name of safetensors) {
      const listed = this.#model?.format === 'safetensors' && !name.includes(sep);
      if (!listed) await this.#open(join(folder, name), name);
    }
    if (safetensors.length === 0 && ![...kinds.values()].includes('gguf')) {
      this.#tell('look', 'folder-no-model', '.', 'there is no GGUF or safetensors file in it');
    }
  }

  report(path: string): AuditReport {
    return {
      path,
      verdict: verdictOf(this.#findings),
      model: this.#model,
      files: this.#files,
      templates: this.#templates,
      findings: this.#findings,
      metadata: this.#metadata,
    };
  }

  #tell(level: Finding['level'], code: string, where: string, says: string): void {
    this.#findings.push({ level, code, where, says });
  }

  /** All files under a folder, by their paths in it. What leads out of it is told, unless to a hub's store of blobs. */
  async #names(folder: string): Promise<string[]> {
    const names: string[] = [];
    const entries = await readdir(folder, { withFileTypes: true, recursive: true });
    for (const entry of entries) {
      const path = join(entry.parentPath ?? entry.path, entry.name);
      const name = relative(folder, path);
      if (name.split(sep)[0] === '.git') continue;
      if (entry.isDirectory()) continue;
      if ((await lstat(path)).isSymbolicLink() && !(await this.#isKept(folder, path, name))) continue;
      names.push(name);
      if (names.length > MOST_FILES) {
        throw new HadalError('audit-files', {
          what: folder,
          expected: `at most ${MOST_FILES} files`,
          got: 'more',
          next: 'name the folder of one model',
        });
      }
    }
    return names.sort();
  }

  async #isKept(folder: string, path: string, name: string): Promise<boolean> {
    const target = await realpath(path).catch(() => undefined);
    if (target === undefined) {
      this.#tell('look', 'file-link', name, 'it is a link to nothing');
      return false;
    }
    const base = await realpath(folder);
    // The cache of Hugging Face keeps files as snapshots/COMMIT/NAME -> blobs/DIGEST.
    const blobs = join(base, '..', '..', 'blobs');
    const inside = [base, blobs].some((place) => target.startsWith(`${place}${sep}`));
    if (!inside)
      this.#tell(
        'refuse',
        'file-link',
        name,
        `it is a link that leads out of the folder, to ${quoted(target)}`,
      );
    return inside;
  }

  /** Looks at the first bytes of a file, and whether its name agrees; undefined for a pipe or a device. */
  async #file(path: string, name: string): Promise<FileKind | undefined> {
    const source = await openFile(path).catch((error: unknown) => {
      if (!(error instanceof HadalError) || error.code !== 'file-not-regular') throw error;
      this.#refuse(error, name);
    });
    if (source === undefined) return undefined;
    try {
      const kind = kindOf(await source.read(0, Math.min(source.size, LOOKED_AT_BYTES)));
      const onRead = (bytes: number) => {
        this.#readBytes += bytes;
        this.#options.onRead?.(this.#readBytes);
      };
      this.#files.push({ name, bytes: source.size, kind, sha256: await digestOfSource(source, { onRead }) });
      const pickled = kind === 'pickle' || (isPickleName(name) && !DISGUISES.has(kind));
      const said = kindsOfName(name);
      if (pickled && !this.#options.allowPickle) {
        const what =
          kind === 'zip' ? 'a zip archive of a pickle, which runs code when it is read' : KIND_WORDS.pickle;
        const says = `it is ${what}; take the model's safetensors or GGUF files instead`;
        this.#tell('refuse', 'pickle', name, says);
      } else if (said !== undefined && !said.includes(kind) && !(pickled && isPickleName(name))) {
        const should = said.map((one) => KIND_WORDS[one]).join(' or ');
        this.#tell(
          'refuse',
          'file-disguised',
          name,
          `its name says ${should}, and it is ${KIND_WORDS[kind]}`,
        );
      } else if (pickled || kind === 'numpy' || said?.includes('zip')) {
        await this.#pickle(source, kind, name);
      } else if (said === undefined && FOREIGN.has(kind)) {
        this.#tell('look', 'file-foreign', name, `it is ${KIND_WORDS[kind]}, which no model needs`);
      }
      return kind;
    } finally {
      await source.close();
    }
  }

  /** What the publisher, the hub and a signature say of the files. */
  async #origin(folder: string, names: readonly string[], whole: boolean): Promise<void> {
    const { digests, trust = NOBODY } = this.#options;
    if (digests !== undefined) this.#findings.push(...digestFindings(this.#files, digests, whole));
    this.#findings.push(...(await hubFindings(folder, this.#files)));
    const given = this.#options.signature ?? (whole ? await signatureBeside(folder, names) : undefined);
    if (given instanceof HadalError) this.#refuse(given, SIGNATURE_NAME);
    else if (given !== undefined) {
      this.#findings.push(...(await signatureFindings(folder, names, given, trust, Date.now())));
    } else if (trust !== NOBODY) {
      this.#tell('refuse', 'signature-missing', '.', 'somebody is to be trusted, and there is no signature');
    }
  }

  async #pickle(source: ByteSource, kind: FileKind, name: string): Promise<void> {
    try {
      const { what, tensors, names } = await judgePickleFile(source, kind);
      const imports = names.length === 0 ? '' : `; reading it imports ${names.join(', ')}`;
      const says = `it is ${what} with ${tensors} tensors and nothing that would run${imports}`;
      this.#tell('note', HARMLESS, name, says);
    } catch (error) {
      this.#refuse(error, name);
    }
  }

  /** The templates in a text of its own, whatever model is beside it. */
  async #templatesIn(path: string, name: string): Promise<void> {
    const holds = holdsTemplates(name);
    if (holds === undefined) return;
    try {
      const text = await readTextFile(path, holds === 'whole' ? MOST_TEMPLATE_BYTES : undefined);
      const found = holds === 'whole' ? [{ where: name, template: text }] : templatesOfJson(name, text);
      for (const { where, template } of found) this.#judgeTemplate(where, template);
    } catch (error) {
      this.#refuse(error, name);
    }
  }

  async #adapter(folder: string): Promise<void> {
    try {
      const text = (await readFolderText(folder, ADAPTER_CONFIG_JSON)) ?? '';
      for (const [key, value] of saidOfAdapter(text)) this.#metadata.set(key, value);
    } catch (error) {
      this.#refuse(error, ADAPTER_CONFIG_JSON);
    }
  }

  #judgeTemplate(where: string, template: string): void {
    const sha256 = templateDigest(template);
    if (this.#templates.some((one) => one.sha256 === sha256)) return;
    const report = auditTemplate(template, this.#known, where);
    this.#templates.push({ where, sha256, known: report.known ?? null });
    this.#findings.push(...report.findings);
  }

  /** Opens a model as `run` would, and looks at what it says of itself. */
  async #open(path: string, name: string): Promise<void> {
    let file: ModelFile;
    try {
      file = await openModelFile(path);
    } catch (error) {
      this.#refuse(error, name);
      return;
    }
    try {
      for (const { where, template } of templatesOf(file.metadata)) this.#judgeTemplate(where, template);
      this.#describe(file, name);
      if (file.format === 'gguf') this.#vocabulary(file, name);
    } finally {
      await closeModelFile(file);
    }
  }

  #describe(file: ModelFile, name: string): void {
    const tensors = [...file.tensors.values()];
    const types: Record<string, number> = {};
    for (const { dtype, bytes } of tensors) types[dtype] = (types[dtype] ?? 0) + bytes;
    if (this.#model === null) for (const [key, value] of saidOf(file)) this.#metadata.set(key, value);
    const numbers = tensors.reduce(
      (sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1),
      0,
    );
    const model = { format: file.format, tensors: tensors.length, numbers, types };
    try {
      this.#model ??= { ...model, architecture: describeModel(file).architecture };
    } catch (error) {
      if (!(error instanceof HadalError)) throw error;
      this.#model ??= { ...model, architecture: null };
      this.#tell('note', error.code, name, `Hadal cannot run it: ${error.message}`);
    }
  }

  #vocabulary(file: ModelFile, name: string): void {
    if (!file.metadata.has('tokenizer.ggml.tokens')) return;
    try {
      tokenizerFromGguf(file.metadata);
    } catch (error) {
      if (!(error instanceof HadalError)) throw error;
      this.#tell('look', error.code, name, `its vocabulary cannot be used: ${error.message}`);
    }
  }

  #refuse(error: unknown, name: string): void {
    if (!(error instanceof HadalError)) throw error;
    this.#tell('refuse', error.code, name, error.message);
  }
}

const NOBODY: Trust = { keys: [], certificates: [] };
