/**
 * Owns: what the keywords of a JSON Schema say together, the refusal of those that are not supported, and merging.
 * Refuses to know: automata, how texts are made of it.
 */
import { HadalError } from '../../error.ts';
import type { Bound } from './decimal.ts';

/** The types of JSON Schema; `integer` is part of `number`. */
export const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
export type JsonType = (typeof TYPES)[number];

/** A schema with the place it stands at, for sentences. */
export interface Located {
  readonly schema: unknown;
  /** A JSON pointer. Example: `#/properties/name`. */
  readonly at: string;
}

/** Alternatives, of which one (`oneOf`) or at least one (`anyOf`) fits. */
export interface Alternatives {
  readonly keyword: 'anyOf' | 'oneOf';
  readonly options: readonly Located[];
}

/** What a schema says, keyword by keyword; merging two gives what both say. */
export interface Facts {
  readonly at: string;
  /** All where undefined. */
  readonly types?: ReadonlySet<JsonType>;
  /** Of `enum` and `const`. */
  readonly values?: readonly unknown[];
  readonly object: {
    readonly properties: ReadonlyMap<string, readonly Located[]>;
    readonly required: ReadonlySet<string>;
    readonly additional?: readonly Located[];
  };
  readonly array: {
    readonly prefix: readonly Located[];
    readonly items?: readonly Located[];
    readonly min: number;
    readonly max: number;
  };
  readonly string: {
    readonly patterns: readonly string[];
    readonly formats: readonly string[];
    readonly min: number;
    readonly max: number;
  };
  readonly number: {
    readonly lower: readonly Bound[];
    readonly upper: readonly Bound[];
    readonly multiples: readonly number[];
  };
  readonly alternatives?: Alternatives;
  /** Kinds of values that keywords were about, in their order. */
  readonly about: ReadonlySet<'object' | 'array' | 'string' | 'number'>;
}

/** Keywords that say nothing about what is valid. */
const ANNOTATIONS: ReadonlySet<string> = new Set([
  '$schema',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
]);

const KEYWORDS: ReadonlyMap<string, 'object' | 'array' | 'string' | 'number' | 'any'> = new Map([
  ['type', 'any'],
  ['enum', 'any'],
  ['const', 'any'],
  ['anyOf', 'any'],
  ['oneOf', 'any'],
  ['allOf', 'any'],
  ['$ref', 'any'],
  ['properties', 'object'],
  ['required', 'object'],
  ['additionalProperties', 'object'],
  ['items', 'array'],
  ['prefixItems', 'array'],
  ['minItems', 'array'],
  ['maxItems', 'array'],
  ['pattern', 'string'],
  ['format', 'string'],
  ['minLength', 'string'],
  ['maxLength', 'string'],
  ['minimum', 'number'],
  ['maximum', 'number'],
  ['exclusiveMinimum', 'number'],
  ['exclusiveMaximum', 'number'],
  ['multipleOf', 'number'],
]);

/** Largest least length or count: nothing that long is ever answered. */
const MOST_LEAST = 1_000_000;

/** Says what a schema alone says: `$ref` and `allOf` are the caller's. */
export function factsOf({ schema, at }: Located): Facts {
  const object = checked(schema, at);
  const read = new FieldReader(object, at);
  const about = new Set<'object' | 'array' | 'string' | 'number'>();
  for (const keyword of Object.keys(object)) {
    const kind = KEYWORDS.get(keyword);
    // A format of a number ("int64") or the like is an annotation.
    if (kind !== undefined && kind !== 'any' && keyword !== 'format') about.add(kind);
  }
  const types = read.types();
  if ('format' in object && (types?.has('string') ?? true)) about.add('string');
  const values = read.values();
  const alternatives = read.alternatives();
  const additional = read.located('additionalProperties');
  const items = read.located('items');
  return {
    at,
    about,
    ...(types === undefined ? {} : { types }),
    ...(values === undefined ? {} : { values }),
    ...(alternatives === undefined ? {} : { alternatives }),
    object: {
      properties: read.properties(),
      required: new Set(read.strings('required')),
      ...(additional === undefined ? {} : { additional }),
    },
    array: {
      prefix: read.list('prefixItems'),
      ...(items === undefined ? {} : { items }),
      min: read.count('minItems', 0),
      max: read.count('maxItems', Number.POSITIVE_INFINITY),
    },
    string: {
      patterns: read.optionalString('pattern'),
      formats: about.has('string') ? read.optionalString('format') : [],
      min: read.count('minLength', 0),
      max: read.count('maxLength', Number.POSITIVE_INFINITY),
    },
    number: {
      lower: [...read.bound('minimum', false), ...read.bound('exclusiveMinimum', true)],
      upper: [...read.bound('maximum', false), ...read.bound('exclusiveMaximum', true)],
      multiples: read.number('multipleOf').map((value) => multiple(value, `${at}/multipleOf`)),
    },
  };
}

/** The keyword `$ref` or `allOf` of a schema, checked like all others. */
export function references({ schema, at }: Located): { ref?: string; allOf: readonly Located[] } {
  const object = checked(schema, at);
  const read = new FieldReader(object, at);
  const [ref] = read.optionalString('$ref');
  return { ...(ref === undefined ? {} : { ref }), allOf: read.list('allOf') };
}

/** Whether a schema says nothing besides `$ref`. */
export function onlyRef({ schema }: Located): boolean {
  if (typeof schema !== 'object' || schema === null || !('$ref' in schema)) return false;
  return Object.keys(schema).every((keyword) => keyword === '$ref' || ANNOTATIONS.has(keyword));
}

/** What both say. Throws `schema-unsupported` where two sets of alternatives would have to be multiplied. */
export function both(a: Facts, b: Facts): Facts {
  if (a.alternatives !== undefined && b.alternatives !== undefined) {
    throw unsupported(b.at, 'two sets of alternatives (anyOf, oneOf) for one value');
  }
  const types = a.types && b.types ? commonTypes(a.types, b.types) : (a.types ?? b.types);
  const values =
    a.values && b.values
      ? a.values.filter((one) => b.values!.some((other) => sameJson(one, other)))
      : (a.values ?? b.values);
  const alternatives = a.alternatives ?? b.alternatives;
  const additional = joined(a.object.additional, b.object.additional);
  const items = joined(a.array.items, b.array.items);
  return {
    at: a.at,
    about: new Set([...a.about, ...b.about]),
    ...(types === undefined ? {} : { types }),
    ...(values === undefined ? {} : { values }),
    ...(alternatives === undefined ? {} : { alternatives }),
    object: {
      properties: bothProperties(a.object, b.object),
      required: new Set([...a.object.required, ...b.object.required]),
      ...(additional === undefined ? {} : { additional }),
    },
    array: {
      prefix: bothPrefixes(a, b),
      ...(items === undefined ? {} : { items }),
      min: Math.max(a.array.min, b.array.min),
      max: Math.min(a.array.max, b.array.max),
    },
    string: {
      patterns: [...new Set([...a.string.patterns, ...b.string.patterns])],
      formats: [...new Set([...a.string.formats, ...b.string.formats])],
      min: Math.max(a.string.min, b.string.min),
      max: Math.min(a.string.max, b.string.max),
    },
    number: {
      lower: [...a.number.lower, ...b.number.lower],
      upper: [...a.number.upper, ...b.number.upper],
      multiples: [...new Set([...a.number.multiples, ...b.number.multiples])],
    },
  };
}

/** Facts without alternatives, to be merged with each of them. */
export function withoutAlternatives({ alternatives: _, ...facts }: Facts): Facts {
  return facts;
}

/** Whether facts say nothing at all besides alternatives. */
export function saysNothing({ types, values, about }: Facts): boolean {
  return types === undefined && values === undefined && about.size === 0;
}

/** Whether two JSON values are the same, whatever the order of their properties. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every(
      (key) =>
        Object.hasOwn(b, key) &&
        sameJson((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
    )
  );
}

/** The types of JSON values that a value has. Example: `typesOf(1) // ['number', 'integer']`. */
export function typesOf(value: unknown): readonly JsonType[] {
  if (value === null) return ['null'];
  if (Array.isArray(value)) return ['array'];
  if (typeof value === 'number') return Number.isInteger(value) ? ['number', 'integer'] : ['number'];
  return [typeof value as 'object' | 'string' | 'boolean'];
}

export function unsupported(at: string, feature: string): HadalError {
  return new HadalError('schema-unsupported', {
    what: `the schema at ${at}`,
    expected: 'keywords and values that can be enforced',
    got: feature,
    next: 'leave it out, or see docs/guide/structured-output.md',
  });
}

export function invalid(at: string, expected: string, got: unknown): HadalError {
  const shown = got === undefined ? 'nothing' : (JSON.stringify(got) ?? typeof got).slice(0, 60);
  return new HadalError('schema-invalid', {
    what: `the schema at ${at}`,
    expected,
    got: shown,
    next: 'correct the schema',
  });
}

/** A pointer to something inside. Example: `inside('#', 'a/b') // '#/a~1b'`. */
export function inside(at: string, ...keys: readonly (string | number)[]): string {
  return [at, ...keys.map((key) => String(key).replaceAll('~', '~0').replaceAll('/', '~1'))].join('/');
}

function checked(schema: unknown, at: string): Readonly<Record<string, unknown>> {
  if (schema === true) return {};
  if (schema === false) return { enum: [] };
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw invalid(at, 'an object, true or false', schema);
  }
  for (const keyword of Object.keys(schema)) {
    if (KEYWORDS.has(keyword) || ANNOTATIONS.has(keyword)) continue;
    if (keyword === '$id' && at === '#') continue;
    throw unsupported(at, `the keyword ${JSON.stringify(keyword)}`);
  }
  return schema as Readonly<Record<string, unknown>>;
}

function commonTypes(a: ReadonlySet<JsonType>, b: ReadonlySet<JsonType>): ReadonlySet<JsonType> {
  const within = (type: JsonType, types: ReadonlySet<JsonType>) =>
    types.has(type) || (type === 'integer' && types.has('number'));
  return new Set([...[...a].filter((type) => within(type, b)), ...[...b].filter((type) => within(type, a))]);
}

const joined = (
  a: readonly Located[] | undefined,
  b: readonly Located[] | undefined,
): readonly Located[] | undefined => (a === undefined ? b : b === undefined ? a : [...a, ...b]);

/** A property that only one side names must also be what the other says of additional ones. */
function bothProperties(a: Facts['object'], b: Facts['object']): ReadonlyMap<string, readonly Located[]> {
  const merged = new Map<string, readonly Located[]>();
  for (const name of new Set([...a.properties.keys(), ...b.properties.keys()])) {
    const inA = a.properties.get(name) ?? a.additional ?? [];
    const inB = b.properties.get(name) ?? b.additional ?? [];
    merged.set(name, [...inA, ...inB]);
  }
  return merged;
}

function bothPrefixes(a: Facts, b: Facts): readonly Located[] {
  if (a.array.prefix.length > 0 && (b.array.prefix.length > 0 || b.array.items !== undefined)) {
    throw unsupported(b.at, 'prefixItems merged with other items');
  }
  if (b.array.prefix.length > 0 && a.array.items !== undefined) {
    throw unsupported(b.at, 'prefixItems merged with other items');
  }
  return a.array.prefix.length > 0 ? a.array.prefix : b.array.prefix;
}

function multiple(value: number, at: string): number {
  if (Number.isInteger(value) && value >= 1 && value <= 1000) return value;
  throw unsupported(at, `a multipleOf that is not a whole number from 1 to 1000: ${value}`);
}

/** Typed access to keywords, with errors that say where. */
class FieldReader {
  readonly #schema: Readonly<Record<string, unknown>>;
  readonly #at: string;

  constructor(schema: Readonly<Record<string, unknown>>, at: string) {
    this.#schema = schema;
    this.#at = at;
  }

  #get(keyword: string): unknown {
    return Object.hasOwn(this.#schema, keyword) ? this.#schema[keyword] : undefined;
  }

  #invalid(keyword: string, expected: string): HadalError {
    return invalid(inside(this.#at, keyword), expected, this.#get(keyword));
  }

  types(): ReadonlySet<JsonType> | undefined {
    const value = this.#get('type');
    if (value === undefined) return undefined;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    const known = (type: unknown): type is JsonType => TYPES.some((one) => one === type);
    if (list.length === 0 || !list.every(known))
      throw this.#invalid('type', `one of ${TYPES.join(', ')}, or a list`);
    return new Set(list);
  }

  values(): readonly unknown[] | undefined {
    const list = this.#get('enum');
    if (list !== undefined && !Array.isArray(list)) throw this.#invalid('enum', 'a list of values');
    const values = list as readonly unknown[] | undefined;
    if (!Object.hasOwn(this.#schema, 'const')) return values;
    const value = this.#schema.const;
    return values === undefined || values.some((one) => sameJson(one, value)) ? [value] : [];
  }

  alternatives(): Alternatives | undefined {
    const options = (['anyOf', 'oneOf'] as const).filter((keyword) => this.#get(keyword) !== undefined);
    if (options.length === 2) throw unsupported(this.#at, 'anyOf and oneOf for one value');
    const [keyword] = options;
    return keyword && { keyword, options: this.list(keyword) };
  }

  list(keyword: string): readonly Located[] {
    const value = this.#get(keyword);
    if (value === undefined) return [];
    if (!Array.isArray(value) || value.length === 0) throw this.#invalid(keyword, 'a list of schemas');
    return value.map((schema: unknown, i) => ({ schema, at: inside(this.#at, keyword, i) }));
  }

  located(keyword: string): readonly Located[] | undefined {
    const schema = this.#get(keyword);
    if (schema === undefined) return undefined;
    if (Array.isArray(schema)) throw this.#invalid(keyword, 'one schema (a list belongs in prefixItems)');
    return [{ schema, at: inside(this.#at, keyword) }];
  }

  properties(): ReadonlyMap<string, readonly Located[]> {
    const value = this.#get('properties');
    if (value === undefined) return new Map();
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#invalid('properties', 'an object of schemas');
    }
    return new Map(
      Object.entries(value).map(([name, schema]) => [
        name,
        [{ schema, at: inside(this.#at, 'properties', name) }],
      ]),
    );
  }

  strings(keyword: string): readonly string[] {
    const value = this.#get(keyword);
    if (value === undefined) return [];
    if (!Array.isArray(value) || !value.every((one) => typeof one === 'string')) {
      throw this.#invalid(keyword, 'a list of names');
    }
    return value;
  }

  optionalString(keyword: string): readonly string[] {
    const value = this.#get(keyword);
    if (value === undefined) return [];
    if (typeof value !== 'string') throw this.#invalid(keyword, 'a string');
    return [value];
  }

  number(keyword: string): readonly number[] {
    const value = this.#get(keyword);
    if (value === undefined) return [];
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.#invalid(keyword, 'a number');
    return [value];
  }

  bound(keyword: string, exclusive: boolean): readonly Bound[] {
    return this.number(keyword).map((value) => ({ value, exclusive }));
  }

  count(keyword: string, absent: number): number {
    const [value = absent] = this.number(keyword);
    if (value !== absent && (!Number.isInteger(value) || value < 0)) {
      throw this.#invalid(keyword, 'a whole number from 0');
    }
    if (keyword.startsWith('min') && value > MOST_LEAST) {
      throw unsupported(inside(this.#at, keyword), `a count above ${MOST_LEAST}`);
    }
    return value;
  }
}
