/**
 * Owns: typed access to a parsed tokenizer.json, with errors that name the place.
 * Refuses to know: what the fields mean.
 */
import { HadalError } from '../error.ts';

/** An object of a parsed JSON file and where it is in it. */
export class JsonFields {
  readonly #value: Readonly<Record<string, unknown>>;
  /** E.g. `tokenizer.json model`. */
  readonly place: string;

  /** @throws HadalError `tokenizer-field` when `value` is no object. */
  constructor(value: unknown, place: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw wrongField(place, 'an object', value);
    }
    this.#value = value as Readonly<Record<string, unknown>>;
    this.place = place;
  }

  /** Where a field is. Example: `fields.at('vocab') // 'tokenizer.json model.vocab'`. */
  at(name: string): string {
    return this.place.includes(' ') ? `${this.place}.${name}` : `${this.place} ${name}`;
  }

  /** A field as it is; null counts as missing. */
  get(name: string): unknown {
    return Object.hasOwn(this.#value, name) ? (this.#value[name] ?? undefined) : undefined;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  entries(): [string, unknown][] {
    return Object.entries(this.#value);
  }

  object(name: string): JsonFields {
    return new JsonFields(this.get(name), this.at(name));
  }

  /** Objects of an array; none where the field is missing. */
  objects(name: string): JsonFields[] {
    return this.array(name).map((item, at) => new JsonFields(item, `${this.at(name)}[${at}]`));
  }

  array(name: string): readonly unknown[] {
    const value = this.get(name);
    if (value === undefined) return [];
    if (!Array.isArray(value)) throw wrongField(this.at(name), 'an array', value);
    return value;
  }

  string(name: string): string {
    const value = this.get(name);
    if (typeof value !== 'string') throw wrongField(this.at(name), 'a string', value);
    return value;
  }

  optionalString(name: string): string | undefined {
    return this.has(name) ? this.string(name) : undefined;
  }

  boolean(name: string, missing: boolean): boolean {
    const value = this.get(name) ?? missing;
    if (typeof value !== 'boolean') throw wrongField(this.at(name), 'true or false', value);
    return value;
  }

  /** A field that must be what is expected, or missing. @throws HadalError `tokenizer-unsupported` otherwise. */
  only(name: string, ...accepted: readonly unknown[]): void {
    const value = this.get(name);
    if (value === undefined || accepted.includes(value)) return;
    const expected = ['none', ...accepted.map((item) => JSON.stringify(item))].join(' or ');
    throw unsupported(this.at(name), expected, show(value));
  }
}

/** The error of a field that is missing or of the wrong type. */
export function wrongField(what: string, expected: string, value: unknown): HadalError {
  return new HadalError('tokenizer-field', {
    what,
    expected,
    got: show(value),
    next: 'use an intact tokenizer.json',
  });
}

/** The error of a thing that a tokenizer.json may say and that is not supported. */
export function unsupported(what: string, expected: string, got: string): HadalError {
  return new HadalError('tokenizer-unsupported', {
    what,
    expected,
    got,
    next: 'use a model of a supported family',
  });
}

function show(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'object' ? 'an object' : JSON.stringify(value).slice(0, 60);
}
