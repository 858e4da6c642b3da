/**
 * Owns: which schemas a strict tool may have, as DeepSeek's documentation of strict mode says.
 * Refuses to know: how a schema is enforced.
 */
import { HadalError } from '../../error.ts';

const TYPES = ['object', 'string', 'number', 'integer', 'boolean', 'array', 'null'];
const UNSUPPORTED = ['minLength', 'maxLength', 'minItems', 'maxItems'];
const FORMATS = ['email', 'hostname', 'ipv4', 'ipv6', 'uuid'];

/**
 * Refuses what strict mode does not take: open objects, optional properties, unknown types, lengths.
 *
 * @throws HadalError `schema-not-strict`, naming the place
 * @example checkStrictSchema({ type: 'object', properties: {}, required: [], additionalProperties: false }, 'parameters');
 */
export function checkStrictSchema(schema: unknown, at: string): void {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw notStrict(at, 'a schema', JSON.stringify(schema));
  }
  const fields = schema as Readonly<Record<string, unknown>>;
  for (const name of UNSUPPORTED)
    if (Object.hasOwn(fields, name)) throw notStrict(at, `none of ${name}`, name);
  for (const type of [fields.type ?? []].flat()) {
    if (!TYPES.includes(type as string))
      throw notStrict(`${at}.type`, TYPES.join(', '), JSON.stringify(type));
  }
  if (fields.format !== undefined && !FORMATS.includes(fields.format as string)) {
    throw notStrict(`${at}.format`, FORMATS.join(', '), JSON.stringify(fields.format));
  }
  if (fields.type === 'object' || fields.properties !== undefined) checkObject(fields, at);
  if (fields.items !== undefined) checkStrictSchema(fields.items, `${at}.items`);
  for (const [i, branch] of list(fields.anyOf, `${at}.anyOf`).entries()) {
    checkStrictSchema(branch, `${at}.anyOf[${i}]`);
  }
  for (const group of ['$defs', 'definitions']) {
    for (const [name, inner] of Object.entries(record(fields[group], `${at}.${group}`))) {
      checkStrictSchema(inner, `${at}.${group}.${name}`);
    }
  }
}

function checkObject(fields: Readonly<Record<string, unknown>>, at: string): void {
  if (fields.additionalProperties !== false) {
    throw notStrict(
      `${at}.additionalProperties`,
      'false',
      JSON.stringify(fields.additionalProperties) ?? 'nothing',
    );
  }
  const required = list(fields.required, `${at}.required`);
  for (const [name, inner] of Object.entries(record(fields.properties, `${at}.properties`))) {
    if (!required.includes(name)) throw notStrict(`${at}.required`, `every property`, `none named "${name}"`);
    checkStrictSchema(inner, `${at}.properties.${name}`);
  }
}

function list(value: unknown, at: string): readonly unknown[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw notStrict(at, 'a list', JSON.stringify(value));
}

function record(value: unknown, at: string): object {
  if (value === undefined) return {};
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw notStrict(at, 'an object', JSON.stringify(value));
}

function notStrict(what: string, expected: string, got: string): HadalError {
  const next = 'mend the schema, or leave out strict';
  return new HadalError('schema-not-strict', {
    what: what.slice(0, 200),
    expected,
    got: got.slice(0, 80),
    next,
  });
}
