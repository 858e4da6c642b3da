/**
 * Owns: what becomes of each field of a protocol's request: honoured, accepted without effect, or refused.
 * Refuses to know: any one protocol, what the fields mean.
 */
import { z } from 'zod';
import { HadalError } from '../error.ts';

/** What is done with a field. */
export type Treatment = 'honoured' | 'no effect' | 'refused';

/** One line of a protocol's table. */
export interface FieldRule {
  readonly treatment: Treatment;
  /** For the documentation; of a refused field also the next step of the refusal. */
  readonly note: string;
  /** Values of a refused or ineffective field that ask for nothing, and so pass unmentioned. */
  readonly harmless?: readonly unknown[];
}

/** All known fields of one kind of request. Unknown ones are accepted without effect, as are those inside that its schema strips. */
export type FieldTable = Readonly<Record<string, FieldRule>>;

/** A field that does what it says. */
export const honoured = (note: string): FieldRule => ({ treatment: 'honoured', note });
/** A field that is taken and changes nothing. */
export const noEffect = (note: string, harmless: readonly unknown[] = []): FieldRule => ({
  treatment: 'no effect',
  note,
  harmless,
});
/** A field that would change the answer's meaning and cannot be done. */
export const refused = (note: string, harmless: readonly unknown[] = []): FieldRule => ({
  treatment: 'refused',
  note,
  harmless,
});

/** A request that was read: its fields, and the names of those without effect. */
export interface ParsedBody<T> {
  readonly fields: T;
  readonly withoutEffect: readonly string[];
}

/** Names in a response header are cut here: a request may hold thousands of unknown fields. */
const MOST_NAMED = 32;
/** More than anybody's protocol has; looking at a hundred thousand takes a second. */
const MOST_FIELDS = 1024;

/**
 * Reads a request by its schema and its table.
 *
 * @throws HadalError `field-refused`, `request-invalid`, each naming the field.
 * @example const { fields, withoutEffect } = parseBody(chatSchema, CHAT_FIELDS, body);
 */
export function parseBody<T extends z.ZodType>(
  schema: T,
  table: FieldTable,
  body: unknown,
): ParsedBody<z.output<T>> {
  const given = typeof body === 'object' && body !== null && !Array.isArray(body) ? body : {};
  const count = Object.keys(given).length;
  if (count > MOST_FIELDS) {
    throw new HadalError('request-invalid', {
      what: 'the request',
      expected: `at most ${MOST_FIELDS} fields`,
      got: `${count}`,
      next: 'leave out what is not meant for this server',
    });
  }
  const withoutEffect: string[] = [];
  for (const [name, value] of Object.entries(given)) {
    const rule = Object.hasOwn(table, name) ? table[name] : undefined;
    if (rule?.treatment === 'honoured' || value === null || rule?.harmless?.some((one) => same(one, value)))
      continue;
    if (rule?.treatment === 'refused') {
      throw new HadalError('field-refused', { what: name, got: shown(value), next: rule.note });
    }
    // A header takes printable ASCII only.
    if (withoutEffect.length < MOST_NAMED && /^[\w.-]{1,64}$/.test(name)) withoutEffect.push(name);
  }
  const result = schema.safeParse(body);
  if (result.success) {
    const inside = new Set<string>();
    collectStripped(given, result.data, '', inside);
    return { fields: result.data, withoutEffect: [...withoutEffect, ...inside].slice(0, MOST_NAMED) };
  }
  throw invalidField(result.error.issues[0]!, table, body);
}

/** Paths of what a schema left out and that asks for something, e.g. `messages[].name`. */
function collectStripped(given: unknown, read: unknown, path: string, into: Set<string>): void {
  if (typeof given !== 'object' || typeof read !== 'object' || given === null || read === null) return;
  if (given === read || into.size >= MOST_NAMED) return;
  if (Array.isArray(given)) {
    if (Array.isArray(read))
      for (const [i, one] of given.entries()) collectStripped(one, read[i], `${path}[]`, into);
    return;
  }
  for (const [name, value] of Object.entries(given)) {
    const at = path === '' ? name : `${path}.${name}`;
    if (Object.hasOwn(read, name)) collectStripped(value, (read as Record<string, unknown>)[name], at, into);
    else if (value !== null && !same(value, []) && /^[\w-]{1,64}$/.test(name)) into.add(at);
  }
}

/** What a schema found wrong, as an error that names the field. What may stand there the table says best, else the schema. */
function invalidField(found: z.core.$ZodIssue, table: FieldTable, body: unknown): HadalError {
  const issue = deepest(found);
  const [name] = issue.path;
  const rule = issue.path.length === 1 && Object.hasOwn(table, name!) ? table[name as string] : undefined;
  const [, expected = issue.message] = /^[^:]*: expected (.*?)(?:, received .*)?$/.exec(issue.message) ?? [];
  return new HadalError('request-invalid', {
    what: fieldPath(issue.path) || 'the request',
    expected: issue.code === 'invalid_union' && rule !== undefined ? rule.note : expected,
    got: shown(issue.path.reduce<unknown>(within, body)),
    next: 'correct the request',
  });
}

function within(value: unknown, key: PropertyKey): unknown {
  const has = typeof value === 'object' && value !== null && Object.hasOwn(value, key);
  return has ? (value as Record<PropertyKey, unknown>)[key] : undefined;
}

/** Of a union the branch that came furthest, which is the one that was meant; of a field where several did, the field. */
function deepest(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors.flatMap(([first]) => (first ? [deepest(first)] : []));
  const [best, second] = inner.toSorted((a, b) => b.path.length - a.path.length);
  if (best === undefined || best.path.length === 0) return issue;
  if (issue.path.length === 1 && second?.path.length === best.path.length) return issue;
  return { ...best, path: [...issue.path, ...best.path] };
}

function fieldPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i === 0 ? '' : '.'}${String(part)}`))
    .join('')
    .slice(0, 200);
}

function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/**
 * A table as Markdown rows, for the documentation.
 *
 * @example fieldRows({ model: honoured('which model') }); // '| `model` | honoured | which model |'
 */
export function fieldRows(table: FieldTable): string {
  return Object.entries(table)
    .map(([name, { treatment, note }]) => `| \`${name}\` | ${treatment} | ${note.replaceAll('|', '\\|')} |`)
    .join('\n');
}

/** A JSON object whose fields are somebody else's: a schema, for instance. */
export const anyObject = z.record(z.string(), z.unknown());
